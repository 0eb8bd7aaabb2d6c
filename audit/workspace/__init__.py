"""What jobs work with: people, their windows, and networks trained on a subject."""
