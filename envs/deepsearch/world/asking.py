"""Generate questions from things and patterns.

Rules:
    - Every thing whose passage is needed for the answer belongs to the split's group, so no passage supports both a question of `train`
      and one of `test` or `ood`.
    - Passages are listed in the order of reasoning. The question names the first thing; each further thing is named in an earlier passage.
    - A chain never returns to an earlier thing, and a question never contains its own answer (except comparisons of two named things).
    - Yes and no are equally frequent; only different things are compared.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from empg_gym.envs.deepsearch.questions import Question
from empg_gym.envs.deepsearch.world.facts import Kind, Thing
from empg_gym.envs.deepsearch.world.patterns import EARLIER, PHRASES, QUESTIONS, SHARED, Pattern, patterns

WorldSplit = Literal["train", "test", "ood"]
_MIX = {
    "1hop": 0.14,
    "2hop": 0.24,
    "3hop": 0.18,
    "4hop": 0.12,
    "comparison": 0.10,
    "bridge_comparison": 0.08,
    "yes_no": 0.07,
    "bridge_yes_no": 0.07,
}
"""Shares of the kinds of questions; in `ood`, which has no single hops, their share is distributed over the others."""
_TRIES = 400
"""Draws after which a split is left incomplete: a small world may run out of questions."""

_PARTNERS = 20
"""Maximum number of draws of a second thing for a yes-no question."""


class _Draft(NamedTuple):
    text: str
    answer: str
    support: tuple[Thing, ...]


class Asker:
    """Generator of questions about `things` in one split, drawn from `rng`."""

    def __init__(self, things: Sequence[Thing], split: WorldSplit, rng: random.Random) -> None:
        self.things = things
        self.split = split
        self.rng = rng
        self.group = "train" if split == "train" else "test"
        self._shared: dict[Pattern, dict[str, list[Thing]]] = {}
        self._yes = 0
        """Number of yes answers so far minus the number of no answers."""
        self._of_kind: dict[Kind, list[Thing]] = defaultdict(list)
        for thing in things:
            if thing.group == self.group:
                self._of_kind[thing.kind].append(thing)
        self._patterns: dict[str, list[Pattern]] = defaultdict(list)
        for pattern in patterns():
            if pattern.held_out == (split == "ood"):
                self._patterns[pattern.kind].append(pattern)

    def ask(self, count: int) -> Iterator[Question]:
        """Yield up to `count` different questions."""
        kinds = [kind for kind in _MIX if self._patterns[kind]]
        weights = [_MIX[kind] for kind in kinds]
        seen: set[str] = set()
        while len(seen) < count:
            for _ in range(_TRIES):
                pattern = self.rng.choice(self._patterns[self.rng.choices(kinds, weights)[0]])
                draft = self._draft(pattern)
                if draft is not None and draft.text not in seen:
                    break
            else:
                return
            yield Question(
                id=f"{self.split}-{len(seen):05d}",
                text=draft.text,
                golden_answers=(draft.answer,),
                dataset="embedded",
                split="train" if self.split == "train" else "test",
                domain="out_of_domain" if self.split == "ood" else "in_domain",
                kind=pattern.kind,
                support=tuple(str(thing.number) for thing in draft.support),
                pattern=pattern.name,
            )
            seen.add(draft.text)
            self._yes += {"yes": 1, "no": -1}.get(draft.answer, 0)

    def _draft(self, pattern: Pattern) -> _Draft | None:
        if pattern.shape == "chain":
            return self._chain(pattern)
        if pattern.shape == "comparison":
            return self._comparison(pattern)
        return self._yes_no(pattern)

    def _start(self, kind: Kind) -> Thing:
        return self.rng.choice(self._of_kind[kind])

    def _walk(self, start: Thing, relations: Sequence[str]) -> list[Thing] | None:
        """Follow relations from thing to thing within the group, without returning to one."""
        path = [start]
        for relation in relations:
            number = path[-1].things.get(relation)
            if number is None or self.things[number].group != self.group or any(number == thing.number for thing in path):
                return None
            path.append(self.things[number])
        return path

    def _value(self, thing: Thing, relation: str) -> str | None:
        if relation in thing.things:
            return self.things[thing.things[relation]].name
        return thing.values.get(relation)

    def _chain(self, pattern: Pattern) -> _Draft | None:
        path = self._walk(self._start(pattern.start), pattern.relations[:-1])
        if path is None:
            return None
        answer = self._value(path[-1], pattern.relations[-1])
        if answer is None or any(answer == thing.name for thing in path):
            return None
        last = self.rng.choice(QUESTIONS[path[-1].kind, pattern.relations[-1]])
        return _Draft(last.format(x=_phrase(path, pattern.relations)), answer, tuple(path))

    def _comparison(self, pattern: Pattern) -> _Draft | None:
        pair = [self._walk(self._start(pattern.start), pattern.relations) for _ in range(2)]
        first, second = pair
        if first is None or second is None or {thing.number for thing in first} & {thing.number for thing in second}:
            return None
        if first[-1].year() == second[-1].year():
            return None
        earlier = min(first[-1], second[-1], key=Thing.year)
        who = "Who" if earlier.kind == "person" else "Which"
        names = f"{_phrase(first, pattern.relations)} or {_phrase(second, pattern.relations)}"
        return _Draft(f"{who} {EARLIER[earlier.kind]}, {names}?", earlier.name, (*first, *second))

    def _yes_no(self, pattern: Pattern) -> _Draft | None:
        bridge, last = pattern.relations[:-1], pattern.relations[-1]
        first = self._walk(self._start(pattern.start), bridge)
        value = None if first is None else self._value(first[-1], last)
        if first is None or value is None:
            return None
        agree = self._yes <= 0
        candidates = self._sharing(pattern)[value] if agree else self._of_kind[pattern.start]
        for _ in range(_PARTNERS):
            second = self._walk(self.rng.choice(candidates), bridge)
            other = None if second is None else self._value(second[-1], last)
            if second is None or other is None or {thing.number for thing in first} & {thing.number for thing in second}:
                continue
            if (other == value) == agree:
                text = f"Do {_phrase(first, bridge)} and {_phrase(second, bridge)} have the same {SHARED[last]}?"
                return _Draft(text, "yes" if agree else "no", (*first, *second))
        return None

    def _sharing(self, pattern: Pattern) -> dict[str, list[Thing]]:
        """Group the possible first things of the pattern by the value to which it leads."""
        if pattern not in self._shared:
            groups: dict[str, list[Thing]] = defaultdict(list)
            for thing in self._of_kind[pattern.start]:
                path = self._walk(thing, pattern.relations[:-1])
                value = None if path is None else self._value(path[-1], pattern.relations[-1])
                if value is not None:
                    groups[value].append(thing)
            self._shared[pattern] = groups
        return self._shared[pattern]


def _phrase(path: Sequence[Thing], relations: Sequence[str]) -> str:
    """Describe the last thing of a path by the first one and the relations that lead to it."""
    phrase = f"the {path[0].name}" if path[0].kind == "event" else path[0].name
    for thing, relation in zip(path[:-1], relations[: len(path) - 1], strict=True):
        phrase = PHRASES[thing.kind, relation].format(x=phrase)
    return phrase
