"""The simulated camera: people, gestures, a room, and a sensor that watches them."""
