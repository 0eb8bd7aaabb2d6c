"""Live cameras: drivers in processes of their own, and their events as one source of packets."""
