"""The training loop: steps, checkpoints, run folders, logs, progress."""
