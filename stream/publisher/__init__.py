"""The publisher. It alone opens a public socket and sends windows and gestures across the privacy boundary."""
