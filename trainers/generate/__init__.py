"""Generators: they sample a policy's responses in many episodes at once."""
