"""Live cameras: each driver runs in its own process, and its events become one source of packets."""
