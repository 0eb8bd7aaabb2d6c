"""The public side: the only code that opens a public socket and sends what passed the boundary."""
