"""Patterns of questions: the relations that a question follows, and its wording.

Rules:
    - A chain "work.creator.birthplace" starts at a work, goes to its creator and asks for the creator's birthplace: one hop per relation.
    - A comparison asks which of two things is earlier; a yes-no question asks whether two things agree. Their bridge forms first follow
      one more relation.
    - A hash of its name alone decides whether a pattern is held out ("ood"). One-hop chains are never held out, so every relation
      occurs in training; `ood` tests new combinations of relations.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from empg_gym.envs.deepsearch.world.facts import KINDS, RELATIONS, Kind

Shape = Literal["chain", "comparison", "yes_no"]

PHRASES: dict[tuple[Kind, str], str] = {
    ("country", "capital"): "the capital of {x}",
    ("country", "head"): "the head of state of {x}",
    ("city", "country"): "the country of {x}",
    ("city", "mayor"): "the mayor of {x}",
    ("city", "twin"): "the twin city of {x}",
    ("person", "birthplace"): "the birthplace of {x}",
    ("person", "spouse"): "the spouse of {x}",
    ("person", "teacher"): "the teacher of {x}",
    ("person", "employer"): "the employer of {x}",
    ("work", "creator"): "the creator of {x}",
    ("work", "publisher"): "the publisher of {x}",
    ("work", "setting"): "the setting of {x}",
    ("company", "founder"): "the founder of {x}",
    ("company", "headquarters"): "the city with the headquarters of {x}",
    ("company", "owner"): "the parent company of {x}",
    ("event", "location"): "the host city of {x}",
    ("event", "winner"): "the winner of {x}",
    ("event", "sponsor"): "the sponsor of {x}",
}
"""Description of a thing by a relation, within a longer question."""

QUESTIONS: dict[tuple[Kind, str], tuple[str, ...]] = {
    ("country", "capital"): ("What is the capital of {x}?", "Which city is the capital of {x}?"),
    ("country", "head"): ("Who is the head of state of {x}?",),
    ("country", "currency"): ("What is the currency of {x}?", "In which currency do people of {x} pay?"),
    ("country", "language"): ("What is the official language of {x}?", "Which language is spoken in {x}?"),
    ("country", "founded"): ("In which year was {x} founded?",),
    ("city", "country"): ("In which country does {x} lie?", "Which country does {x} belong to?"),
    ("city", "mayor"): ("Who is the mayor of {x}?",),
    ("city", "twin"): ("Which city is the twin city of {x}?", "With which city is {x} twinned?"),
    ("city", "river"): ("Which river runs through {x}?",),
    ("city", "founded"): ("In which year was {x} founded?", "When was {x} founded?"),
    ("person", "birthplace"): ("In which city was {x} born?", "What is the birthplace of {x}?"),
    ("person", "spouse"): ("Who is the spouse of {x}?", "Whom did {x} marry?"),
    ("person", "teacher"): ("Who was the teacher of {x}?",),
    ("person", "employer"): ("Which company employed {x}?", "Who was the employer of {x}?"),
    ("person", "occupation"): ("What was the occupation of {x}?", "What did {x} work as?"),
    ("person", "born"): ("In which year was {x} born?", "When was {x} born?"),
    ("work", "creator"): ("Who created {x}?", "Who is the creator of {x}?"),
    ("work", "publisher"): ("Which company published {x}?", "Who was the publisher of {x}?"),
    ("work", "setting"): ("In which city is {x} set?",),
    ("work", "genre"): ("What is the genre of {x}?",),
    ("work", "appeared"): ("In which year did {x} appear?", "When did {x} appear?"),
    ("company", "founder"): ("Who founded {x}?", "Who was the founder of {x}?"),
    ("company", "headquarters"): ("In which city are the headquarters of {x}?",),
    ("company", "owner"): ("What is the parent company of {x}?", "Which company owns {x}?"),
    ("company", "product"): ("What does {x} make?", "What is the product of {x}?"),
    ("company", "founded"): ("In which year was {x} set up?", "From which year does {x} date?"),
    ("event", "location"): ("In which city did {x} take place?", "Which city was the host city of {x}?"),
    ("event", "winner"): ("Who won {x}?", "Who was the winner of {x}?"),
    ("event", "sponsor"): ("Which company was the sponsor of {x}?",),
    ("event", "held"): ("In which year was {x} held?",),
}
"""Question for the last relation of a chain."""

EARLIER: dict[Kind, str] = {
    "country": "was founded earlier",
    "city": "was founded earlier",
    "person": "was born earlier",
    "work": "appeared earlier",
    "company": "was set up earlier",
    "event": "was held earlier",
}
SHARED: dict[str, str] = {
    "country": "country",
    "birthplace": "birthplace",
    "teacher": "teacher",
    "employer": "employer",
    "occupation": "occupation",
    "creator": "creator",
    "publisher": "publisher",
    "setting": "setting",
    "genre": "genre",
    "founder": "founder",
    "headquarters": "headquarters",
    "owner": "parent company",
    "product": "product",
    "location": "host city",
    "winner": "winner",
    "sponsor": "sponsor",
}
"""Relations in which two things can agree, so that "do they have the same …" can be answered by yes or no."""
_MAX_HOPS = 4


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern of questions."""

    shape: Shape
    start: Kind
    relations: tuple[str, ...]
    """The relations of a chain; those before the year in a comparison; those up to the compared value in a yes-no question."""

    @property
    def name(self) -> str:
        path = ".".join((self.start, *self.relations))
        return path if self.shape == "chain" else f"{self.shape}:{path}"

    @property
    def kind(self) -> str:
        """The kind of question, for reports: 1hop … 4hop, comparison, bridge_comparison, yes_no, bridge_yes_no."""
        if self.shape == "chain":
            return f"{len(self.relations)}hop"
        bridges = len(self.relations) > (0 if self.shape == "comparison" else 1)
        return f"bridge_{self.shape}" if bridges else self.shape

    @property
    def held_out(self) -> bool:
        """Whether the pattern occurs only in `ood`."""
        return self.kind != "1hop" and hashlib.sha256(self.name.encode()).digest()[0] % 4 == 0


@lru_cache(maxsize=1)
def patterns() -> tuple[Pattern, ...]:
    """Return all patterns, in a fixed order."""
    found: list[Pattern] = []
    for start in KINDS:
        found += [Pattern("chain", start, relations) for relations in _chains(start, _MAX_HOPS)]
        found.append(Pattern("comparison", start, ()))
        for relation, target in RELATIONS[start].items():
            if target is not None:
                found.append(Pattern("comparison", start, (relation,)))
                found += [Pattern("yes_no", start, (relation, last)) for last in RELATIONS[target] if last in SHARED]
            if relation in SHARED:
                found.append(Pattern("yes_no", start, (relation,)))
    return tuple(found)


def _chains(kind: Kind, hops: int) -> list[tuple[str, ...]]:
    chains: list[tuple[str, ...]] = [(relation,) for relation in RELATIONS[kind]]
    if hops > 1:
        for relation, target in RELATIONS[kind].items():
            if target is not None:
                chains += [(relation, *rest) for rest in _chains(target, hops - 1)]
    return chains
