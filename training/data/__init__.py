"""Trials as rows on disk, and the windows that training draws from them."""
