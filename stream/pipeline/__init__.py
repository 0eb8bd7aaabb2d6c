"""Starts the stages, watches them, restarts them, ends them."""
