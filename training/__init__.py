"""Trains the anonymizer and its classifiers, and attacks the result."""
