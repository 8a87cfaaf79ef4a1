"""The sections of docs/results.md, by subject."""
