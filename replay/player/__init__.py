"""Sources by their URI, and the player that turns recordings into streams at a chosen pace."""
