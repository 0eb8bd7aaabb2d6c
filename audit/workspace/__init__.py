"""What jobs work with: people, their windows, networks trained on a subject."""
