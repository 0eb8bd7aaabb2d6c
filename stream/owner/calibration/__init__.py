"""Compares the view of a camera with the data that the network was trained on."""
