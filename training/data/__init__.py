"""Splits datasets, bins trials into rows on disk, and samples training windows from them."""
