"""Generators: what turns a policy into the responses of many episodes at once."""
