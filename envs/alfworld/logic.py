"""Games in TextWorld's own format: our domain and grammar filled in for a wording, and the `game.tw-pddl` file."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from string import Template

from empg_gym.envs.alfworld.texts import HELP, WELCOME, Wording
from empg_gym.errors import OutputExistsError

GOAL_PLACEHOLDER = "UNKNOWN GOAL"
"""Placeholder for the goal's sentence in the grammar, as in upstream's template."""

_HELP_ACTION = "\n  (:action help\n    :parameters (?a - agent)\n    :precondition ()\n    :effect (asked ?a))\n"


def _escape(text: str) -> str:
    return json.dumps(text)[1:-1]


@lru_cache(maxsize=2)
def domain(wording: Wording) -> str:
    """Return the PDDL domain. The old wording has no `help`, and its sinks clean like their basins."""
    kinds = [f"(receptacleType ?r {kind}Type)" for kind in sorted(wording.cleaners)]
    return _fill(
        "domain.pddl",
        help=_HELP_ACTION if "help" in wording.simple else "",
        cleaner=kinds[0] if len(kinds) == 1 else f"(or {' '.join(kinds)})",
    )


@lru_cache(maxsize=2)
def grammar(wording: Wording) -> str:
    """Return the grammar, with `GOAL_PLACEHOLDER` in place of the goal."""
    help_action = (
        'action help { template :: "help"; feedback :: "#help.answer#"; '
        f'grammar :: """ {{"help.answer": [{{"rhs": "{_escape(HELP)}"}}]}} """; }}'
    )
    return _fill(
        "grammar.twl2",
        welcome=_escape(WELCOME),
        arrival="to" if wording.arrives_at_place else "r",
        put=wording.put.format(o="{o}", r="{r}"),
        put_answer=wording.put_done.format(o="{o.name}", r="{r.name}"),
        help=help_action if "help" in wording.simple else "",
    )


def _fill(name: str, **values: str) -> str:
    return Template((files("empg_gym.envs.alfworld") / "pddl" / name).read_text("utf-8")).substitute(values)


def game_file(problem: str, goal: str, wording: Wording, walkthrough: list[str] | None = None) -> str:
    """Return the text of a `game.tw-pddl` file, which TextWorld can run.

    Args:
        problem: the PDDL problem.
        goal: the goal's sentence.
        wording: new or old.
        walkthrough: commands that win the game.
    """
    return json.dumps(
        {
            "pddl_domain": domain(wording),
            "grammar": grammar(wording).replace(GOAL_PLACEHOLDER, _escape(goal)),
            "pddl_problem": problem,
            "solvable": True,
            "walkthrough": walkthrough,
        }
    )


def write_game(path: Path, text: str) -> None:
    """Write a game file, creating its folder.

    Raises:
        OutputExistsError: the file exists already.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise OutputExistsError(f"{path} exists already; choose another folder or delete it") from None
