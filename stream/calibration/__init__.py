"""Compares what a camera sees with what the network was trained on."""
