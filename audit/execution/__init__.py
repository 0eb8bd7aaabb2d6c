"""Runs the jobs of an audit: in this process, in several, or on a Ray cluster."""
