"""Networks for the roles of training, and what they are compared with."""
