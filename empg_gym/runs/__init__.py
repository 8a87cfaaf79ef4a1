"""Run folders: lock, atomic writes, JSON, resuming, overrides, progress; shared by training and evaluation."""
