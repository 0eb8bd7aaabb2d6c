"""A web page that shows what a pipeline publishes. It is a subscriber: it imports nothing of publisher or pipeline."""
