"""Figures on people the networks have not seen, with intervals and chance levels."""
