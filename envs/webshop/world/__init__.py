"""The embedded world: a generated catalogue of any size with its instructions, the same everywhere.

Order of imports: `taxonomy` (kinds of product) and `phrases` (words), `instructions`, `catalogue` (product number i).
"""
