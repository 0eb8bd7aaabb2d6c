"""The simulated camera: people, gestures, a room, and an event sensor that records them."""
