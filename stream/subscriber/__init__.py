"""The receiving side. It imports nothing of the publisher or the pipeline."""
