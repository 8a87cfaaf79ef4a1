"""The sentences of the game, word for word as in upstream's grammar.

Two wordings: "new" (releases since 0.4.0: `move X to Y`, `help`) and "old" (the 2.1.1 data: `put X in/on Y`,
"You arrive at loc N.", no `help`). Lists are in id order, so numbers count down; the article is always "a".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WELCOME = "-= Welcome to TextWorld, ALFRED! =-\n\n"
ROOM = "You are in the middle of a room. Looking quickly around you, you see {list}."
FAILURE = "Nothing happens."

# In upstream's grammar this text starts with a line break, which its parser drops.
HELP = "Available commands:\n" + "".join(
    f"  {command:<{width}}{meaning}\n"
    for command, width, meaning in (
        ("look:", 34, "look around your current location"),
        ("inventory:", 34, "check your current inventory"),
        ("go to (receptacle):", 34, "move to a receptacle"),
        ("open (receptacle):", 34, "open a receptacle"),
        ("close (receptacle):", 34, "close a receptacle"),
        ("take (object) from (receptacle):", 34, "take an object from a receptacle"),
        ("move (object) to (receptacle):", 32, "place an object in or on a receptacle"),
        ("examine (something):", 34, "examine a receptacle or an object"),
        ("use (object):", 34, "use an object"),
        ("heat (object) with (receptacle):", 34, "heat an object using a receptacle"),
        ("clean (object) with (receptacle):", 34, "clean an object using a receptacle"),
        ("cool (object) with (receptacle):", 34, "cool an object using a receptacle"),
        ("slice (object) with (object):", 34, "slice an object using a sharp object"),
    )
)


@dataclass(frozen=True, slots=True)
class Wording:
    """The differences between the two wordings."""

    name: str
    put: str
    """Template of the command to put an object down."""
    put_done: str
    """Template of its reply."""
    simple: tuple[str, ...]
    """Commands without arguments that are always admissible."""
    arrives_at_place: bool
    """Whether the arrival names the numbered location instead of the receptacle."""
    cleaners: frozenset[str]
    """Receptacle types that clean."""


WORDINGS: dict[str, Wording] = {
    "new": Wording(
        "new", "move {o} to {r}", "You move the {o} to the {r}.", ("help", "inventory", "look"), False, frozenset({"sinkbasin"})
    ),
    "old": Wording(
        "old", "put {o} in/on {r}", "You put the {o} in/on the {r}.", ("inventory", "look"), True, frozenset({"sinkbasin", "sink"})
    ),
}


def enumerate_names(names: Sequence[str], article: str = "a ") -> str:
    """Return the names as one list: "nothing", "a x 1" or "a x 2, and a x 1"."""
    if not names:
        return "nothing"
    if len(names) == 1:
        return article + names[0]
    return article + f", {article}".join(names[:-1]) + f", and {article}{names[-1]}"


def intro(receptacles: Sequence[str], goal: str) -> str:
    """Return the first observation."""
    return f"{WELCOME}{ROOM.format(list=enumerate_names(receptacles))}\n\nYour task is to: {goal}."


def strip_intro(text: str) -> str:
    """Return an intro without the welcome line, as most agents show it."""
    return text.removeprefix(WELCOME)


def condition(*, clean: bool, hot: bool, cool: bool, sliced: bool) -> str:
    """Return the adjectives shown when an object is examined, or "". As upstream, some combinations are not shown."""
    if clean and hot:
        words = "hot and clean"
    elif clean and cool:
        words = "cool and clean"
    elif sliced:
        words = "clean" if clean else "hot" if hot else "cool" if cool else ""
    else:
        words = "hot" if hot else "clean" if clean else "cold" if cool else ""
    return f"{words} sliced" if sliced and words else words
