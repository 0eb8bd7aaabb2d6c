"""Losses and objectives: what the networks are trained for."""
