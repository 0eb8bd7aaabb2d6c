"""A pipeline as a systemd service: what is installed where, with which rights, and how it is removed."""
