"""The embedded world: households made from (split, size, index) alone."""
