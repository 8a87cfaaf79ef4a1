"""The embedded world: households generated from (split, size, index) alone."""
