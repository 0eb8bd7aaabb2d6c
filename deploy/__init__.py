"""Templates to run a pipeline as a service; `eventveil service install` fills in the unit."""
