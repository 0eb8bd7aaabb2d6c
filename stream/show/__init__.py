"""A page for the owner of a camera: raw events beside what is published of them. On loopback only, with a token."""
