"""Adapters: the environments and EMPG in other people's frameworks, one folder and one extra per framework.

Rules:
    - An adapter passes text through. It has no rule of a game: one identity test judges all of them.
    - Importing an adapter imports its framework; a missing package or one of another version is one sentence that names the extra.
    - An episode is named by `EpisodeTask` (environment, split, task, seed), in the columns of each framework's data sets.
    - The extras exclude each other in part (docs/adapters.md): install one per environment.
"""
