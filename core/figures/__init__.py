"""How tables and figures look, in training, audit and documentation."""
