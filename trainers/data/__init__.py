"""From trajectories to tensors: token rows, batches, weights of tokens."""
