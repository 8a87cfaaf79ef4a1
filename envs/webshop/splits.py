"""The goals for training, validation and test: slices of the shuffled order that defines goal numbers.

Rules:
    - With at least 3,000 goals the slices are upstream's: test 0-499, valid 500-1499, train the rest.
    - With fewer, test is the first sixth, valid the next third and train the remaining half, rounded in favor of train; at 3,000
      both rules agree.
    - The order never depends on a seed, a worker or a price, so all workers agree on the split of a goal.
"""

from __future__ import annotations

SPLITS = ("train", "valid", "test", "all")
FULL = 3000
"""Number of goals from which the slices have upstream's fixed sizes."""


def split_range(split: str, goals: int) -> range:
    """Return the goal numbers of a split.

    Args:
        split: one of `SPLITS`.
        goals: total number of goals.
    """
    test = 500 if goals >= FULL else goals // 6
    valid = test + (1000 if goals >= FULL else goals // 3)
    return {"test": range(test), "valid": range(test, valid), "train": range(valid, goals), "all": range(goals)}[split]
