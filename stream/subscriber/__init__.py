"""The subscriber. It imports nothing from the publisher or the pipeline."""
