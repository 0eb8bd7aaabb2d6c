"""The training loop: stages, steps, checkpoints, run folders, logs and progress."""
