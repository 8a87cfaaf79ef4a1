"""The embedded world: a catalogue of any size and its instructions, made up from words, the same everywhere.

From inside to outside: `taxonomy` (kinds of product) and `phrases` (words) -> `catalogue` (product number i) with `instructions`.
"""
