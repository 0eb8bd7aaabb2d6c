"""Scores attackers: protocols of re-identification, and intervals by person."""
