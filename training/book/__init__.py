"""Makes books of the stand-in from simulated clips, and draws them."""
