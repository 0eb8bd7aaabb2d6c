"""A page for a camera's owner: raw events next to what a pipeline would publish; on loopback only, with a token."""
