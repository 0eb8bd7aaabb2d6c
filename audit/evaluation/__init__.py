"""How attackers are scored: protocols of linking, and intervals by person."""
