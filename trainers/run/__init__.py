"""A training run: its loop, folder, checkpoints and metrics."""
