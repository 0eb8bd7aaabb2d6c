"""Losses, and the objectives of the anonymizer."""
