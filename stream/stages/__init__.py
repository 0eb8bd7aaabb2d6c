"""The stages on the private side of the boundary: recording, camera, anonymize, classify."""
