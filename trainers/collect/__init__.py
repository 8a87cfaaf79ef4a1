"""Which episodes a training step needs, and how they are played."""
