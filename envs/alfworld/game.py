"""A household compiled for fast play: entities become indices, and everything that no action changes is precomputed.

Objects, receptacles and locations are numbered in id order, the order of every list that the player sees.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from empg_gym.envs.alfworld.goals import LOOK, PROCESS, Goal
from empg_gym.envs.alfworld.names import demangle
from empg_gym.envs.alfworld.problem import FIXED_TRAITS, Problem

Indices = frozenset[int]


class GameState(NamedTuple):
    """Everything that actions change; immutable, so that a snapshot is the state itself."""

    location: int
    held: int
    """The object being carried, or -1."""
    contents: tuple[tuple[int, ...], ...]
    """Objects in each receptacle, ascending."""
    opened: Indices
    """Openable receptacles that are open."""
    at: frozenset[tuple[int, int]]
    """(object, location); may disagree with `contents` in released games; upstream keeps the two apart as well."""
    taken: frozenset[tuple[int, int]]
    """(object, receptacle): was taken from it and not put back; `look` may list such objects next to the receptacle."""
    clean: Indices
    hot: Indices
    cool: Indices
    sliced: Indices
    toggled: Indices


@dataclass(frozen=True, slots=True)
class Game:
    """A compiled household. Tuples are indexed by receptacle, object or location."""

    goal: Goal
    receptacles: tuple[str, ...]
    """Names, as "cabinet 3"."""
    things: tuple[str, ...]
    locations: tuple[str, ...]
    receptacle_types: tuple[str, ...]
    thing_types: tuple[str, ...]
    location_of: tuple[int, ...]
    """Location of each receptacle."""
    receptacles_at: tuple[tuple[int, ...], ...]
    travel: Mapping[str, int]
    """The `go to` commands and their receptacles; those at the current location are not admissible."""
    travel_from: tuple[tuple[str, ...], ...]
    """For each location the `go to` commands to other locations, sorted."""
    examine: tuple[str, ...]
    """The command that examines each receptacle."""
    openable: Indices
    fits: tuple[Indices, ...]
    """Objects that each receptacle accepts."""
    nested: tuple[tuple[int, ...], ...]
    """Objects inside each object."""
    traits: Mapping[str, Indices]
    """Objects by constant trait, for instance "heatable"."""
    knives: Indices
    goal_things: tuple[int, ...]
    """Objects that count for the goal."""
    goal_receptacles: tuple[int, ...]
    goal_lamps: Indices
    start: GameState


def compile_game(problem: Problem) -> Game:
    """Compile a household, in about 2 ms for a released game."""
    things = problem.things
    receptacles = problem.receptacles
    places = sorted({problem.start, *(r.location for r in receptacles), *(place for _, place in problem.at)})
    thing_index = {o.id: i for i, o in enumerate(things)}
    receptacle_index = {r.id: i for i, r in enumerate(receptacles)}
    place_index = {name: i for i, name in enumerate(places)}
    names = demangle([*thing_index, *receptacle_index, *place_index])

    receptacle_names = tuple(names[r.id] for r in receptacles)
    location_of = tuple(place_index[r.location] for r in receptacles)
    start = place_index[problem.start]
    travel = {f"go to {name}": r for r, name in enumerate(receptacle_names)}
    ways = sorted(travel.items())

    by_type: dict[str, list[int]] = defaultdict(list)
    by_trait: dict[str, list[int]] = defaultdict(list)
    for i, thing in enumerate(things):
        by_type[thing.type].append(i)
        for trait in thing.traits:
            by_trait[trait].append(i)
    accepted: dict[str, list[int]] = defaultdict(list)
    for place_type, thing_type in problem.can_contain:
        accepted[place_type] += by_type.get(thing_type, ())
    fits = {kind: frozenset(accepted[kind]) for kind in {r.type for r in receptacles}}

    contents: list[list[int]] = [[] for _ in receptacles]
    for thing_id, receptacle_id in problem.inside:
        contents[receptacle_index[receptacle_id]].append(thing_index[thing_id])
    nested: list[list[int]] = [[] for _ in things]
    for inner, outer in problem.nested:
        nested[thing_index[outer]].append(thing_index[inner])

    goal = problem.goal
    goal_things = by_type[goal.target]
    if goal.task_type in PROCESS:
        able = set(by_trait[PROCESS[goal.task_type].able])
        goal_things = [i for i in goal_things if i in able]
    return Game(
        goal=goal,
        receptacles=receptacle_names,
        things=tuple(names[o.id] for o in things),
        locations=tuple(names[place] for place in places),
        receptacle_types=tuple(r.type for r in receptacles),
        thing_types=tuple(o.type for o in things),
        location_of=location_of,
        receptacles_at=tuple(tuple(r for r, place in enumerate(location_of) if place == here) for here in range(len(places))),
        travel=travel,
        travel_from=tuple(tuple(way for way, r in ways if location_of[r] != here) for here in range(len(places))),
        examine=tuple(f"examine {name}" for name in receptacle_names),
        openable=frozenset(i for i, r in enumerate(receptacles) if r.openable),
        fits=tuple(fits[r.type] for r in receptacles),
        nested=tuple(tuple(sorted(inner)) for inner in nested),
        traits={trait: frozenset(by_trait[trait]) for trait in FIXED_TRAITS},
        knives=frozenset(by_type["knife"] + by_type["butterknife"]),
        goal_things=tuple(goal_things),
        goal_receptacles=tuple(i for i, r in enumerate(receptacles) if r.type == goal.receptacle),
        goal_lamps=frozenset(i for i in by_type[goal.lamp] if i in set(by_trait["toggleable"])) if goal.task_type == LOOK else frozenset(),
        start=GameState(
            location=start,
            held=thing_index[problem.held] if problem.held else -1,
            contents=tuple(tuple(sorted(inner)) for inner in contents),
            opened=frozenset(i for i, r in enumerate(receptacles) if r.opened),
            at=frozenset((thing_index[o], place_index[place]) for o, place in problem.at if o in thing_index),
            taken=frozenset(),
            clean=frozenset(by_trait["isclean"]),
            hot=frozenset(by_trait["ishot"]),
            cool=frozenset(by_trait["iscool"]),
            sliced=frozenset(by_trait["issliced"]),
            toggled=frozenset(by_trait["istoggled"]),
        ),
    )
