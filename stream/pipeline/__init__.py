"""The pipeline: starts, supervises, restarts and ends the stages."""
