"""Plans a pipeline from its settings before it starts: what runs, and whether all of it fits together."""
