"""A household as facts, parsed from and written to the PDDL problem of a game.

Everything is lower case, as Fast Downward reads it. Types lose their suffix: `AppleType` is "apple".
Only entities that occur in a fact exist; upstream numbers them in the same way.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass

from empg_gym.envs.alfworld.goals import Goal, parse_goal
from empg_gym.errors import DataError

_FACT = re.compile(r"\((\w+)\s+([^\s()]+)(?:\s+([^\s()]+))?\s*\)")

FIXED_TRAITS = ("pickupable", "toggleable", "heatable", "coolable", "cleanable", "sliceable", "isreceptacleobject")
"""Facts about a single object that no action changes."""

TRAITS = frozenset({*FIXED_TRAITS, "isclean", "ishot", "iscool", "issliced", "istoggled"})
"""All facts about a single object that the engine uses."""


@dataclass(frozen=True, slots=True)
class Receptacle:
    """Something that holds objects, in or on it.

    Example: `Receptacle("cabinet_bar_03", "cabinet", "loc_bar_07", openable=True)`.
    """

    id: str
    type: str
    location: str
    openable: bool = False
    opened: bool = False


@dataclass(frozen=True, slots=True)
class Thing:
    """An object of the household.

    Example: `Thing("mug_bar_01", "mug", frozenset({"pickupable", "heatable"}))`.
    """

    id: str
    type: str
    traits: frozenset[str]
    """A subset of `TRAITS`."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One game without its texts. Pairs are (object id, receptacle id), (object id, location id), (inner id, outer id)."""

    start: str
    """Location of the agent."""
    receptacles: tuple[Receptacle, ...]
    things: tuple[Thing, ...]
    inside: frozenset[tuple[str, str]]
    """An object may be in several receptacles at once (a drawer and the desk around it)."""
    at: frozenset[tuple[str, str]]
    nested: frozenset[tuple[str, str]]
    """Objects inside other objects (a pencil in a mug); no action changes this."""
    can_contain: frozenset[tuple[str, str]]
    """(receptacle type, object type)"""
    goal: Goal
    held: str = ""
    """The object that the agent carries; empty in all released games."""


def parse_problem(text: str) -> Problem:
    """Parse a PDDL problem.

    Raises:
        DataError: a part is missing, or the facts do not describe a household.
    """
    text = re.sub(r";[^\n]*", "", text).lower()
    begin, end = text.find("(:init"), text.find("(:goal")
    if begin < 0 or end < begin:
        raise DataError("this PDDL problem has no (:init ...) followed by a (:goal ...)")
    facts: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for predicate, first, second in _FACT.findall(text, begin, end):
        facts[predicate].append((first, second))
    start = {place for _, place in facts["atlocation"]}
    if len(start) != 1:
        raise DataError(f"the agent must be at one location, not at {len(start)}")
    locations = dict(facts["receptacleatlocation"])
    if len(locations) != len(set(facts["receptacleatlocation"])):
        raise DataError("a receptacle is at two locations")
    kinds = dict(facts["receptacletype"])
    if kinds.keys() != locations.keys():
        odd = min(kinds.keys() ^ locations.keys())
        raise DataError(f"the receptacle {odd!r} has no location or no type")
    openable, opened = {r for r, _ in facts["openable"]}, {r for r, _ in facts["opened"]}
    traits: dict[str, set[str]] = defaultdict(set)
    for trait in TRAITS & facts.keys():
        for thing, _ in facts[trait]:
            traits[thing].add(trait)
    types = dict(facts["objecttype"])
    inside = frozenset(facts["inreceptacle"])
    for thing, receptacle in inside:
        if thing not in types or receptacle not in kinds:
            raise DataError(f"({thing} in {receptacle}) names an object or a receptacle without a type")
    nested, held = frozenset(facts["inreceptacleobject"]), next((o for _, o in facts["holds"]), "")
    unknown = ({o for pair in nested for o in pair} | {o for _, o in facts["holds"]}) - types.keys()
    if unknown:
        raise DataError(f"the object {min(unknown)!r}, which is inside another object or held, has no type")
    return Problem(
        start=start.pop(),
        receptacles=tuple(Receptacle(r, kinds[r].removesuffix("type"), locations[r], r in openable, r in opened) for r in sorted(kinds)),
        things=tuple(Thing(o, types[o].removesuffix("type"), frozenset(traits[o])) for o in sorted(types)),
        inside=inside,
        at=frozenset(facts["objectatlocation"]),
        nested=nested,
        can_contain=frozenset((r.removesuffix("type"), o.removesuffix("type")) for r, o in facts["cancontain"]),
        goal=parse_goal(text[end:]),
        held=held,
    )


_CONSTANTS = ("sinkbasintype", "sinktype", "microwavetype", "fridgetype"), ("knifetype", "butterknifetype")
"""Types named by the domain; TextWorld requires their declaration even if a household has none."""


def write_problem(problem: Problem) -> str:
    """Return the PDDL problem; `parse_problem` inverts this."""
    places = {problem.start} | {r.location for r in problem.receptacles} | {place for _, place in problem.at}
    receptacle_types = {f"{r.type}type" for r in problem.receptacles} | {f"{r}type" for r, _ in problem.can_contain}
    object_types = {f"{o.type}type" for o in problem.things} | {f"{o}type" for _, o in problem.can_contain}
    goal = problem.goal
    receptacle_types |= {*_CONSTANTS[0]} | ({f"{goal.receptacle}type"} if goal.receptacle else set())
    object_types |= {*_CONSTANTS[1], f"{goal.target}type"} | ({f"{goal.lamp}type"} if goal.lamp else set())
    declared = ["agent1 - agent"]
    declared += [f"{name} - location" for name in sorted(places)]
    declared += [f"{r.id} - receptacle" for r in problem.receptacles]
    declared += [f"{o.id} - object" for o in problem.things]
    declared += [f"{name} - rtype" for name in sorted(receptacle_types)]
    declared += [f"{name} - otype" for name in sorted(object_types)]

    facts = [f"(atlocation agent1 {problem.start})", "(= (total-cost) 0)"]
    if problem.held:
        facts += [f"(holds agent1 {problem.held})", "(holdsany agent1)"]
    for r in problem.receptacles:
        facts += [f"(receptacletype {r.id} {r.type}type)", f"(receptacleatlocation {r.id} {r.location})"]
        facts += [f"(openable {r.id})"] * r.openable + [f"(opened {r.id})"] * r.opened
    for o in problem.things:
        facts.append(f"(objecttype {o.id} {o.type}type)")
        facts += [f"({trait} {o.id})" for trait in sorted(o.traits)]
    for predicate, pairs in (("inreceptacle", problem.inside), ("objectatlocation", problem.at), ("inreceptacleobject", problem.nested)):
        facts += [f"({predicate} {first} {second})" for first, second in sorted(pairs)]
    facts += [f"(cancontain {r}type {o}type)" for r, o in sorted(problem.can_contain)]
    lines = "\n    ".join
    return (
        f"(define (problem household)\n  (:domain alfred)\n  (:objects\n    {lines(declared)}\n  )\n"
        f"  (:init\n    {lines(facts)}\n  )\n  (:goal {goal.pddl()})\n)\n"
    )
