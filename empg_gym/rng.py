"""Named random streams: every generator that a run draws from comes from here.

Rules:
    - A stream is a function of (seed, name, key) alone, so that it is the same in every process and after every resume.
    - The key of a stream has a fixed length. NumPy pads seeds with zeros, so that `default_rng([0, 3])` equals `default_rng([0, 3, 0])`:
      with keys of one length under a name, two streams of a seed never coincide.
    - The seed of an episode is data (`EpisodeSpec.seed`), drawn from one of these streams; what happens inside the episode follows from it.
"""

from __future__ import annotations

from enum import Enum

import numpy as np


class Stream(Enum):
    """Names of the streams, with their number and the length of their key."""

    TRAINING_TASKS = (1, 1)
    """Tasks and seeds of a training step; key (step)."""
    EVALUATION_TASKS = (2, 0)
    """The order in which a split's tasks are evaluated."""
    DEMONSTRATIONS = (3, 1)
    """Task, seed and detours of an expert episode; key (index)."""
    WARMSTART_ORDER = (4, 1)
    """The order of the expert episodes; key (epoch)."""
    MINIBATCHES = (5, 2)
    """The order in which trajectories are cut into mini-batches; key (step, epoch)."""
    MORE_TASKS = (6, 2)
    """Tasks and seeds of a further round of a training step; key (step, round)."""
    BRANCHES = (7, 2)
    """Where a tree of episodes branches; key (step, group)."""
    DAGGER_TASKS = (8, 1)
    """Tasks and seeds of the episodes that the policy plays in the warm start; key (step)."""


def stream(seed: int, name: Stream, *key: int) -> np.random.Generator:
    """Return the generator of a stream.

    Args:
        seed: of the run, at least 0.
        name: of the stream.
        key: non-negative integers, as many as the stream's name asks for.

    Raises:
        ValueError: the key has another length.
    """
    number, length = name.value
    if len(key) != length:
        raise ValueError(f"the stream {name.name} takes a key of {length} numbers, not {key}")
    return np.random.default_rng([seed, number, *key])
