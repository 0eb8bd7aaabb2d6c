"""Runs the jobs of an audit: here, in several processes, or on a Ray cluster."""
