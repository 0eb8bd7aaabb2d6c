"""Evaluates networks on people they have not seen, with confidence intervals and chance levels."""
