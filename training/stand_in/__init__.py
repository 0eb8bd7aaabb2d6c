"""Training of the stand-in: labels for every moment, variation of windows, and the rule's outcomes on recordings."""
