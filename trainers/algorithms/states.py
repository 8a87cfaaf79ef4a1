"""Ids of states, by which the step-level methods group steps.

Rules:
    - Two states are equal only inside a task group; ids are distinct between groups.
    - "exact" is transitive, cheap and free of parameters. Use it wherever the environment gives a state key.
    - "similar" merges texts that differ a little, as GiGPO does for Deep Search: a text joins the first cluster whose first member is
      similar enough, else it opens a cluster. The result depends on the order, so pass steps in order of (trajectory, step).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from difflib import SequenceMatcher
from typing import Literal

import torch
from torch import Tensor

from empg_gym.errors import ConfigError
from empg_gym.trainers.algorithms.checks import check_choice

How = Literal["exact", "similar"]


def state_ids(
    texts: Sequence[str],
    groups: Sequence[int],
    *,
    how: How | Callable[[str], Hashable] = "exact",
    threshold: float = 0.95,
) -> Tensor:
    """Return [n] int64 ids: equal for equal states of one group, numbered from 0 in order of appearance.

    To number the states before and after the steps alike, pass both in one call.

    Args:
        texts: [n] state keys or observation texts, in order of (trajectory, step).
        groups: [n] task group of each.
        how: "exact"; "similar" for texts whose `difflib` ratio reaches the threshold; or a function of a text whose equal results mean
            equal states.
        threshold: for "similar", above 0 and below 1. Cost grows with the number of clusters in a group and with the length of texts.

    Raises:
        ConfigError: `how` or `threshold` can't be used, or the lengths differ.
    """
    if len(texts) != len(groups):
        raise ConfigError(f"state_ids needs one group per text, not {len(groups)} for {len(texts)} texts")
    if callable(how):
        keys: list[Hashable] = [how(text) for text in texts]
    else:
        check_choice("way to compare states", how, How)
        keys = _clusters(texts, groups, threshold) if how == "similar" else list(texts)
    numbers: dict[tuple[int, Hashable], int] = {}
    pairs = zip(groups, keys, strict=True)
    return torch.tensor([numbers.setdefault(pair, len(numbers)) for pair in pairs], dtype=torch.int64)


def _clusters(texts: Sequence[str], groups: Sequence[int], threshold: float) -> list[Hashable]:
    """Return for each text the number of its cluster in its group."""
    if not 0 < threshold < 1:
        raise ConfigError(f"threshold of state_ids must be above 0 and below 1, not {threshold}")
    # One matcher per cluster: difflib indexes its second text, the cluster's first member, once. `autojunk` would ignore the frequent
    # characters of texts of 200 characters and more, so that near copies get a ratio near 0.
    members: dict[int, list[SequenceMatcher[str]]] = {}
    known: dict[tuple[int, str], int] = {}
    for group, text in zip(groups, texts, strict=True):
        if (group, text) not in known:
            matchers = members.setdefault(group, [])
            found = next((number for number, matcher in enumerate(matchers) if _similar(matcher, text, threshold)), len(matchers))
            if found == len(matchers):
                matchers.append(SequenceMatcher(None, "", text, autojunk=False))
            known[group, text] = found
    return [known[pair] for pair in zip(groups, texts, strict=True)]


def _similar(matcher: SequenceMatcher[str], text: str, threshold: float) -> bool:
    matcher.set_seq1(text)
    # Upper bounds first: by the lengths alone, by the characters in any order.
    return matcher.real_quick_ratio() >= threshold and matcher.quick_ratio() >= threshold and matcher.ratio() >= threshold
