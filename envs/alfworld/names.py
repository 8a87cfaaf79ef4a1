"""Names shown to the player, derived from the ids of a PDDL problem.

An id such as `Cabinet_bar__plus_00_dot_68_bar__minus_01_dot_21` becomes "cabinet 3". Rules (upstream's `Demangler`):
    - ids are compared in lower case; the name is the text before the first `_bar_`;
    - "basin" is appended if the id contains it anywhere (`Sink_bar_..._bar_SinkBasin` is a "sinkbasin");
    - ids are sorted, and the first of n ids with the same name gets the number n, the last one 1;
    - an id without `_bar_` gets no number; upstream keeps the space before the number, so the name ends in a space.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable


def demangle(ids: Iterable[str]) -> dict[str, str]:
    """Return the name of each lower-case id; all entities of a game must be numbered in one call.

    Example: `demangle(["mug_bar_1", "mug_bar_2"])` gives `{"mug_bar_1": "mug 2", "mug_bar_2": "mug 1"}`.
    """
    ordered = sorted(set(ids))
    stems = {name: _stem(name) for name in ordered if "_bar_" in name}
    left = Counter(stems.values())
    names = {}
    for name in ordered:
        stem = stems.get(name)
        if stem is None:
            names[name] = f"{name} "
        else:
            names[name] = f"{stem} {left[stem]}"
            left[stem] -= 1
    return names


def _stem(name: str) -> str:
    stem = name.split("_bar_", 1)[0]
    for coded, sign in (("_minus_", "-"), ("_plus_", "+"), ("_dot_", "."), ("_comma_", ",")):
        stem = stem.replace(coded, sign)
    return stem + "basin" if "basin" in name else stem
