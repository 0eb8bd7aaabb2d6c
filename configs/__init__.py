"""Ready configurations, one YAML file per use, every key explained in place."""
