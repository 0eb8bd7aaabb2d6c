"""Training and attacks: what makes the weights, and what tries to see through them."""
