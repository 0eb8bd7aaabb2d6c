"""Builds and exports the networks of training, and the rule-based anonymizers they are compared with."""
