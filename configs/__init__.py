"""Ready-made configurations, one YAML file per use, with every key explained in place."""
