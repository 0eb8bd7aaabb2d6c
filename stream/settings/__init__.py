"""The settings of a pipeline: each key of the YAML files is checked here."""
