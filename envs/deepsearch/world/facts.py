"""The contents of the encyclopedia: kinds of things, and relations between them.

Rules:
    - A relation is a function: a thing has at most one value for it, either another thing or a plain value.
    - Things are divided into two groups, "train" and "test"; the questions of a split concern things of one group only.
    - A fact that would violate chronology (a work before its creator's birth) is omitted, not adjusted.
"""

# ruff: noqa: SIM905 (lists of words read better as text)

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from empg_gym.envs.deepsearch.world.names import Namer

Kind = Literal["country", "city", "person", "work", "company", "event"]
KINDS: tuple[Kind, ...] = ("country", "city", "person", "work", "company", "event")

RELATIONS: dict[Kind, dict[str, Kind | None]] = {
    "country": {"capital": "city", "head": "person", "currency": None, "language": None, "founded": None},
    "city": {"country": "country", "mayor": "person", "twin": "city", "river": None, "founded": None},
    "person": {"birthplace": "city", "spouse": "person", "teacher": "person", "employer": "company", "occupation": None, "born": None},
    "work": {"creator": "person", "publisher": "company", "setting": "city", "genre": None, "appeared": None},
    "company": {"founder": "person", "headquarters": "city", "owner": "company", "product": None, "founded": None},
    "event": {"location": "city", "winner": "person", "sponsor": "company", "held": None},
}
"""Relations of each kind, with the kind of thing to which they lead; None for a plain value."""

_SHARES: dict[Kind, float] = {"country": 0.02, "city": 0.16, "person": 0.40, "work": 0.20, "company": 0.12, "event": 0.10}
_SAME_GROUP = 0.85
"""Share of relations that stay within a thing's group, so that long chains within one group exist."""
_TEST_PLACES = (1, 4, 7)
"""Positions, modulo ten, of the things of a kind in the group "test": three tenths, and at least one of every kind."""
OCCUPATIONS = tuple(
    (
        "architect astronomer baker botanist cartographer cellist chemist clockmaker composer diplomat engineer engraver explorer "
        "geologist glassblower historian judge linguist mathematician navigator painter physician playwright poet potter sculptor "
        "surveyor tailor violinist zoologist"
    ).split()
)
GENRES = ("novel", "opera", "film", "play", "painting", "symphony", "poem", "ballet", "comic", "documentary")
PRODUCTS = tuple(
    (
        "anchors barometers bicycles candles carpets clocks compasses cutlery engines furniture gloves kites lamps locks maps "
        "mirrors paper pianos pottery pumps ropes sails soap telescopes tiles umbrellas"
    ).split()
)


@dataclass(slots=True)
class Thing:
    """One entry of the encyclopedia."""

    number: int
    """Position in the encyclopedia, and id of its passage."""
    kind: Kind
    name: str
    group: Literal["train", "test"]
    things: dict[str, int] = field(default_factory=dict)
    """Number of the related thing, by relation."""
    values: dict[str, str] = field(default_factory=dict)
    """Plain value, by relation."""

    def year(self) -> int:
        """The year by which things of this kind are ordered: birth, foundation, publication or event."""
        return int(self.values[ORDER[self.kind]])


ORDER: dict[Kind, str] = {
    "country": "founded",
    "city": "founded",
    "person": "born",
    "work": "appeared",
    "company": "founded",
    "event": "held",
}
"""The relation by which things of each kind are compared."""
_YEARS: dict[Kind, tuple[int, int]] = {
    "country": (1100, 1750),
    "city": (700, 1650),
    "person": (1690, 1940),
    "work": (1740, 1990),
    "company": (1740, 1985),
    "event": (1740, 1990),
}


def populate(rng: random.Random, size: int) -> list[Thing]:
    """Return `size` things with their relations, determined by the state of `rng`."""
    things = _create(rng, size)
    by_kind = {kind: [thing for thing in things if thing.kind == kind] for kind in KINDS}
    namer_words = Namer(random.Random(rng.getrandbits(64)))
    for thing in things:
        _give_values(rng, thing, namer_words)
    for thing in things:
        for relation, target in RELATIONS[thing.kind].items():
            if target is not None and relation not in thing.things:
                _relate(rng, thing, relation, by_kind[target])
    cities: dict[int, list[int]] = defaultdict(list)
    for city in by_kind["city"]:
        if "country" in city.things:
            cities[city.things["country"]].append(city.number)
    for country, own in cities.items():
        things[country].things["capital"] = rng.choice(own)
    return things


def _create(rng: random.Random, size: int) -> list[Thing]:
    namer = Namer(rng)
    names = {
        "country": namer.country,
        "city": namer.city,
        "person": namer.person,
        "work": namer.work,
        "company": namer.company,
        "event": namer.event,
    }
    counts = {kind: max(4, int(size * share)) for kind, share in _SHARES.items()}
    counts["person"] += size - sum(counts.values())
    kinds: list[Kind] = [kind for kind in KINDS for _ in range(counts[kind])]
    rng.shuffle(kinds)
    things: list[Thing] = []
    met: Counter[Kind] = Counter()
    for number, kind in enumerate(kinds):
        things.append(Thing(number, kind, names[kind](), "test" if met[kind] % 10 in _TEST_PLACES else "train"))
        met[kind] += 1
    return things


def _give_values(rng: random.Random, thing: Thing, namer: Namer) -> None:
    thing.values[ORDER[thing.kind]] = str(rng.randint(*_YEARS[thing.kind]))
    if thing.kind == "country":
        thing.values["currency"] = namer.word().lower()
        thing.values["language"] = namer.word() + "ish"
    elif thing.kind == "city":
        thing.values["river"] = namer.word()
    elif thing.kind == "person":
        thing.values["occupation"] = rng.choice(OCCUPATIONS)
    elif thing.kind == "work":
        thing.values["genre"] = rng.choice(GENRES)
    elif thing.kind == "company":
        thing.values["product"] = rng.choice(PRODUCTS)


_AFTER_PERSON = {"creator": 20, "founder": 20, "winner": 16, "teacher": 18}
"""Minimum age of the person in a relation, in years."""


def _fits(thing: Thing, relation: str) -> Callable[[Thing], bool]:
    if relation in _AFTER_PERSON:
        return lambda other: other.number != thing.number and _AFTER_PERSON[relation] <= thing.year() - other.year() <= 70
    if relation == "spouse":
        return lambda other: other.number != thing.number and "spouse" not in other.things and abs(other.year() - thing.year()) <= 25
    if relation == "owner":
        return lambda other: other.number < thing.number
    if relation in ("publisher", "sponsor"):
        return lambda other: other.year() <= thing.year()
    if relation == "employer":
        return lambda other: thing.year() + 16 <= other.year() + 60
    return lambda other: other.number != thing.number


def _relate(rng: random.Random, thing: Thing, relation: str, candidates: Sequence[Thing]) -> None:
    if relation == "capital":
        return
    fits = _fits(thing, relation)
    same = rng.random() < _SAME_GROUP
    for _ in range(60):
        other = rng.choice(candidates)
        if fits(other) and (not same or other.group == thing.group):
            thing.things[relation] = other.number
            if relation == "spouse":
                other.things["spouse"] = thing.number
            return
