"""Networks, the weights files that hold them, and the runtime that runs them."""
