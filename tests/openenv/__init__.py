"""Tests with the real package `openenv`, which pins packages that exclude this project's: run by `make test-adapters`."""
