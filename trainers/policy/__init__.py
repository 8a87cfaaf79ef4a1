"""The policy: models, their scores of generated tokens, and the optimizer that updates them."""
