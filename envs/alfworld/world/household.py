"""The generator of households: a pure function of (split, size, rooms, index).

Rules:
    - the task type is `TASK_TYPES[1 + index % 6]`, so any six consecutive tasks have one of each;
    - everything else is drawn from a generator seeded with (version, size, split, index), and with a 1 where rooms vary;
    - `train` and `valid_seen` share room templates but never a household: a household belongs to `valid_seen` if a digest of its
      facts is divisible by eight, to `train` otherwise; draws that belong to the other split are rejected;
    - `valid_unseen` has its own room templates;
    - rooms vary in `train` alone (`rooms.vary`), so that the validation splits stay what they are;
    - no object of the wanted type starts in a receptacle of the wanted type, so that no game is won or half won at the start;
    - every game can be won: an object of the wanted type can be carried, and the room can produce the required condition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TypeVar

import numpy as np

from empg_gym.envs.alfworld.goals import LOOK, PROCESS, TASK_TYPES, TWO, Goal
from empg_gym.envs.alfworld.problem import Problem, Receptacle, Thing
from empg_gym.envs.alfworld.world.kinds import FOUND, HOLDS, LAMP_STANDS, LAMPS, OPENABLE, TRAITS
from empg_gym.envs.alfworld.world.rooms import ROOMS, ROOMS_FOR, Room, vary

VERSION = 1
"""Changes whenever a household could differ."""

SPLIT_SIZES: dict[str, int] = {"train": 120_000, "valid_seen": 6_000, "valid_unseen": 6_000}
"""Number of households of each split."""

SIZES = ("full", "small")
VARIATIONS = ("templates", "varied")
"""Rooms of `train`."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Household:
    """A generated game."""

    problem: Problem
    goal: str
    """The goal in words."""
    room: Room
    folder: str
    """Name in the style of the released folders: type-Object-None-Receptacle-scene."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The amounts in households of one size."""

    things: tuple[int, int]
    """Minimum and maximum number of objects in addition to the wanted ones."""
    spare: float
    """Probability of an extra object of the wanted type."""
    shared: float
    """Probability that a receptacle shares the location of the previous one."""


PLANS = {"full": Plan(things=(18, 42), spare=0.5, shared=0.25), "small": Plan(things=(3, 5), spare=0.0, shared=0.0)}


def generate(split: str, size: str, index: int, rooms: str = "templates") -> Household:
    """Return the household at `index` of a split, 0 <= index < SPLIT_SIZES[split]."""
    varied = split == "train" and rooms == "varied"
    rng = np.random.default_rng([VERSION, SIZES.index(size), list(SPLIT_SIZES).index(split), index, *[1] * varied])
    task_type = TASK_TYPES[1 + index % 6]
    while True:
        household = _draw(rng, size, split == "valid_unseen", varied, task_type)
        if split == "valid_unseen" or _is_validation(household.problem) == (split == "valid_seen"):
            return household


def _is_validation(problem: Problem) -> bool:
    text = repr((sorted(problem.inside), sorted(problem.at), problem.goal))
    return blake2b(text.encode(), digest_size=4).digest()[0] % 8 == 0


def _draw(rng: np.random.Generator, size: str, unseen: bool, varied: bool, task_type: str) -> Household:
    plan = PLANS[size]
    kind = _pick(rng, ROOMS_FOR[task_type])
    room = _pick(rng, [room for room in ROOMS[size, unseen] if room.kind == kind])
    if varied:
        room = vary(room, size, rng)
    goal = _goal(rng, room, task_type)

    wanted = [goal.target] * ((2 if task_type == TWO else 1) + int(rng.random() < plan.spare))
    others = [name for name in FOUND[kind] if name != goal.target and _places(name, room, "")]
    count = int(rng.integers(plan.things[0], plan.things[1] + 1))
    placed = [(name, _pick(rng, _places(name, room, goal.receptacle))) for name in wanted]
    placed += [(name, _pick(rng, _places(name, room, ""))) for name in (_pick(rng, others) for _ in range(count))]
    lamps = [goal.lamp] if goal.lamp else [lamp for lamp in LAMPS.get(kind, ())[-1:] if rng.random() < 0.5]
    stands = [i for i, name in enumerate(room.receptacles) if name in LAMP_STANDS]
    placed += [(lamp, _pick(rng, stands)) for lamp in lamps]

    problem = _problem(rng, room, placed, goal, plan.shared)
    sentence = goal.sentence(int(rng.integers(2)))
    place = goal.receptacle or goal.lamp
    return Household(problem, sentence, room, f"{task_type}-{goal.target}-None-{place}-{room.number}")


def _goal(rng: np.random.Generator, room: Room, task_type: str) -> Goal:
    """Draw a goal that the room allows."""
    able = PROCESS[task_type].able if task_type in PROCESS else "pickupable"
    targets = [name for name in FOUND[room.kind] if able in TRAITS[name]]
    if task_type == LOOK:
        targets = [name for name in targets if _places(name, room, "")]
        return Goal(LOOK, _pick(rng, targets), lamp=_pick(rng, LAMPS[room.kind]))
    pairs = {
        name: places
        for name in targets
        if (places := [kind for kind in sorted(set(room.receptacles)) if name in HOLDS[kind] and _places(name, room, kind)])
    }
    target = _pick(rng, list(pairs))
    return Goal(task_type, target, _pick(rng, pairs[target]))


def _places(name: str, room: Room, avoid: str) -> list[int]:
    """Return the receptacles of the room that accept an object, except those of one type."""
    return [i for i, kind in enumerate(room.receptacles) if kind != avoid and name in HOLDS[kind]]


def _problem(rng: np.random.Generator, room: Room, placed: list[tuple[str, int]], goal: Goal, shared: float) -> Problem:
    receptacles: list[Receptacle] = []
    location = 0
    for i, kind in enumerate(room.receptacles):
        # Only receptacles of the same type share a location, like a stack of drawers.
        if not (i and kind == room.receptacles[i - 1] and rng.random() < shared):
            location += 1
        number = 1 + i - room.receptacles.index(kind)
        receptacles.append(Receptacle(_receptacle_id(kind, number), kind, f"loc_bar_{location:02d}", kind in OPENABLE))
    numbers = rng.permutation(len(placed))
    things, inside, at = [], set(), set()
    for (name, place), number in zip(placed, numbers, strict=True):
        thing = Thing(f"{name}_bar_{number:02d}", name, TRAITS[name])
        things.append(thing)
        inside.add((thing.id, receptacles[place].id))
        at.add((thing.id, receptacles[place].location))
    types = {thing.type for thing in things}
    return Problem(
        start="loc_bar_00",
        receptacles=tuple(sorted(receptacles, key=lambda r: r.id)),
        things=tuple(sorted(things, key=lambda o: o.id)),
        inside=frozenset(inside),
        at=frozenset(at),
        nested=frozenset(),
        can_contain=frozenset((kind, name) for kind in set(room.receptacles) for name in HOLDS[kind] & types),
        goal=goal,
    )


def _receptacle_id(kind: str, number: int) -> str:
    """Return an id; as upstream, a basin is named after the object that it is part of."""
    stem = kind.removesuffix("basin")
    return f"{kind}_bar_{number:02d}" if stem == kind else f"{stem}_bar_{number:02d}_bar_{kind}"


def _pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    return options[int(rng.integers(len(options)))]
