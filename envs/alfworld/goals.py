"""The six task types: their ids, their goal conditions in PDDL and their sentences.

A goal names types only (lower case): the object to bring, the receptacle to bring it to, the lamp to look under.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from empg_gym.errors import ConfigError, DataError, nearest

PICK = "pick_and_place_simple"
LOOK = "look_at_obj_in_light"
CLEAN = "pick_clean_then_place_in_recep"
HEAT = "pick_heat_then_place_in_recep"
COOL = "pick_cool_then_place_in_recep"
TWO = "pick_two_obj_and_place"

TASK_TYPES: dict[int, str] = {1: PICK, 2: LOOK, 3: CLEAN, 4: HEAT, 5: COOL, 6: TWO}
"""Upstream's number of each task type."""

SENTENCES: dict[str, tuple[str, str]] = {
    PICK: ("put a {target} in {receptacle}", "put some {target} on {receptacle}"),
    LOOK: ("look at {target} under the {lamp}", "examine the {target} with the {lamp}"),
    CLEAN: ("put a clean {target} in {receptacle}", "clean some {target} and put it in {receptacle}"),
    HEAT: ("put a hot {target} in {receptacle}", "heat some {target} and put it in {receptacle}"),
    COOL: ("put a cool {target} in {receptacle}", "cool some {target} and put it in {receptacle}"),
    TWO: ("put two {target} in {receptacle}", "find two {target} and put them in {receptacle}"),
}
"""The two sentences of each task type; a game uses one of them."""


class Process(NamedTuple):
    """A condition that a task requires, and how to produce it."""

    verb: str
    able: str
    """Required trait of the object."""
    made: str
    """Resulting condition; the PDDL predicate has the prefix "is"."""
    station: str
    """Type of receptacle where it is done."""


PROCESS: dict[str, Process] = {
    CLEAN: Process("clean", "cleanable", "clean", "sinkbasin"),
    HEAT: Process("heat", "heatable", "hot", "microwave"),
    COOL: Process("cool", "coolable", "cool", "fridge"),
}
"""The condition required by a task type, if any."""


@dataclass(frozen=True, slots=True)
class Goal:
    """The goal of a game.

    Example: `Goal(HEAT, target="mug", receptacle="cabinet")`.
    """

    task_type: str
    target: str
    """Type of the object, for instance "mug"."""
    receptacle: str = ""
    """Type of the receptacle to put it in; empty for `LOOK`."""
    lamp: str = ""
    """Type of the lamp; empty except for `LOOK`."""

    def sentence(self, variant: int) -> str:
        """Return the goal in words, 0 <= variant < 2."""
        return SENTENCES[self.task_type][variant].format(target=self.target, receptacle=self.receptacle, lamp=self.lamp)

    def pddl(self) -> str:
        """Return the goal condition in PDDL; `parse_goal` inverts this."""
        target, place = f"(objectType ?o {self.target}Type)", f"(receptacleType ?r {self.receptacle}Type)"
        if self.task_type == LOOK:
            return (
                "(and (exists (?p - object ?r - receptacle ?a - agent ?l - location) (and"
                f" (objectType ?p {self.lamp}Type) (toggleable ?p) (isToggled ?p)"
                " (receptacleAtLocation ?r ?l) (atLocation ?a ?l) (inReceptacle ?p ?r)))"
                f" (exists (?o - object ?a - agent) (and {target} (holds ?a ?o))))"
            )
        if self.task_type == TWO:
            return (
                f"(exists (?r - receptacle) (exists (?o - object) (and {target} {place} (inReceptacle ?o ?r)"
                f" (exists (?q - object) (and (not (= ?o ?q)) (objectType ?q {self.target}Type) (inReceptacle ?q ?r))))))"
            )
        extra = ""
        if self.task_type in PROCESS:
            process = PROCESS[self.task_type]
            extra = f" ({process.able} ?o) (is{process.made} ?o)"
        return f"(exists (?r - receptacle) (exists (?o - object) (and {target} {place}{extra} (inReceptacle ?o ?r))))"


def parse_goal(text: str) -> Goal:
    """Parse a goal condition in lower-case PDDL.

    Raises:
        DataError: the condition belongs to none of the six task types.
    """
    objects = [name.removesuffix("type") for name in re.findall(r"\(objecttype \?\w+ (\w+)\)", text)]
    places = {name.removesuffix("type") for name in re.findall(r"\(receptacletype \?\w+ (\w+)\)", text)}
    predicates = set(re.findall(r"\((\w+) \?", text))
    if {"istoggled", "holds"} <= predicates and len(objects) == 2 and not places:
        return Goal(LOOK, target=objects[1], lamp=objects[0])
    if "inreceptacle" in predicates and "istoggled" not in predicates and len(places) == 1 and len(set(objects)) == 1:
        place = places.pop()
        if re.search(r"\(not \(= ", text):
            return Goal(TWO, objects[0], place)
        made = [kind for kind, process in PROCESS.items() if f"is{process.made}" in predicates]
        if len(made) <= 1 and len(objects) == 1:
            return Goal(made[0] if made else PICK, objects[0], place)
    raise DataError("the goal of this problem belongs to none of ALFWorld's six task types: " + " ".join(text.split())[:200])


def resolve_task_types(wanted: object) -> tuple[str, ...]:
    """Return the task types selected by a filter (names or numbers 1-6; None = all), in numerical order.

    Raises:
        ConfigError: a task type is unknown, or the filter is empty.
    """
    if wanted is None:
        return tuple(TASK_TYPES.values())
    entries = list(wanted) if isinstance(wanted, Iterable) and not isinstance(wanted, str) else [wanted]
    chosen = set()
    for entry in entries:
        name = TASK_TYPES.get(entry, entry) if isinstance(entry, int) else str(entry)
        if name not in SENTENCES:
            raise ConfigError(f"ALFWorld has no task type {entry!r} (a name or a number 1-6); {nearest(str(entry), SENTENCES)}")
        chosen.add(name)
    if not chosen:
        raise ConfigError("task_types is empty; omit it for all six, or choose from: " + ", ".join(SENTENCES))
    return tuple(name for name in SENTENCES if name in chosen)
