"""Shared by the ALFWorld proof, its sample in the test suite and the benchmark: upstream's unchanged engine next to ours.

The reference is TextWorld's `PddlEnv` in upstream's `AlfredDemangler`, with upstream's domain and grammar: from a released game for
the old wording, from the PyPI package `alfworld` for the new one. Reference data: `../shared/data/alfworld`.
"""

from __future__ import annotations

import json
import lzma
import os
import random
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from empg_gym.envs.alfworld.engine import FastEngine
from empg_gym.envs.alfworld.expert import Expert
from empg_gym.envs.alfworld.game import compile_game
from empg_gym.envs.alfworld.goals import SENTENCES
from empg_gym.envs.alfworld.logic import game_file
from empg_gym.envs.alfworld.problem import parse_problem
from empg_gym.envs.alfworld.texts import WORDINGS, strip_intro
from empg_gym.envs.alfworld.world.household import Household

ODD_ACTIONS = (
    "",
    " ",
    "help",
    " look ",
    "Look",
    "xyzzy",
    "go to  cabinet 1",
    "go to the moon",
    "put mug 1 in/on desk 1",
    "take",
    "开",
    "\x00",
    "look\n",
)


def missing_packages() -> list[str]:
    """Return the packages required by the reference that are not installed."""
    return [name for name in ("textworld", "fast_downward", "alfworld") if find_spec(name) is None]


@dataclass(frozen=True)
class Case:
    """One game for both engines."""

    name: str
    wording: str
    problem: str
    goal: str
    game: dict[str, Any]
    """The contents of a `game.tw-pddl` file for TextWorld."""


def reference_games(data: Path, split: str) -> Iterator[dict[str, Any]]:
    """Yield the playable games of a split of the reference data."""
    with lzma.open(data / "games" / f"{split}.jsonl.xz", "rt") as lines:
        for line in lines:
            game = json.loads(line)
            if game["solvable"]:
                yield game


def pick_games(data: Path, split: str, per_type: int) -> list[dict[str, Any]]:
    """Return evenly spaced games of the split, the same number for each task type."""
    by_type: dict[str, list[dict[str, Any]]] = {kind: [] for kind in SENTENCES}
    for game in reference_games(data, split):
        by_type[game["task_type"]].append(game)
    return [games[i * len(games) // per_type] for games in by_type.values() for i in range(per_type)]


@lru_cache(maxsize=4)
def upstream_logic(data: Path, wording: str) -> tuple[str, str]:
    """Return upstream's domain and grammar, with "UNKNOWN GOAL" as the goal."""
    if wording == "new":
        folder = Path(find_spec("alfworld").submodule_search_locations[0]) / "data"  # type: ignore[union-attr,index]
        return (folder / "alfred.pddl").read_text(), (folder / "alfred.twl2").read_text()
    sample = json.loads(next((data / "raw_samples").glob("*/*/*/game.tw-pddl")).read_text())
    goal = re.search(r"Your task is to: ([^\"]*)\.\"", sample["grammar"])
    assert goal is not None
    return sample["pddl_domain"], sample["grammar"].replace(goal[1], "UNKNOWN GOAL")


def official_case(data: Path, game: dict[str, Any], wording: str) -> Case:
    """Return a released game with upstream's own domain and grammar."""
    domain, grammar = upstream_logic(data, wording)
    contents = {"pddl_domain": domain, "grammar": grammar.replace("UNKNOWN GOAL", game["task"]), "pddl_problem": game["pddl_problem"]}
    return Case(game["id"], wording, game["pddl_problem"], game["task"], contents)


def generated_case(household: Household, problem: str, wording: str) -> Case:
    """Return a generated game in the form that we write for TextWorld, with our domain and grammar."""
    text = game_file(problem, household.goal, WORDINGS[wording])
    return Case(household.folder, wording, problem, household.goal, json.loads(text))


class Upstream:
    """Upstream's engine on one game. A new instance ends the previous one: all share one copy of the planner's library."""

    def __init__(self, game: dict[str, Any]) -> None:
        self._env = _upstream_env()
        self._env.load(game)
        self._state = self._env.reset()

    @property
    def view(self) -> tuple[str, list[str], bool]:
        """Feedback, admissible commands and whether the game is won."""
        return self._state.feedback, list(self._state["admissible_commands"]), bool(self._state["won"])

    def step(self, command: str) -> None:
        self._state, _, _ = self._env.step(command)


@lru_cache(maxsize=1)
def _upstream_env() -> Any:
    import textworld
    from textworld.envs.pddl import PddlEnv

    return _demangler()(PddlEnv(textworld.EnvInfos(feedback=True, won=True, admissible_commands=True)))


def _demangler() -> Any:
    """Import upstream's wrapper, hiding from the user the data folder and the variable that its import creates."""
    before = os.environ.get("ALFWORLD_DATA")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ALFWORLD_DATA"] = folder
        try:
            from alfworld.agents.environment.alfred_tw_env import AlfredDemangler
        finally:
            os.environ.pop("ALFWORLD_DATA")
            if before is not None:
                os.environ["ALFWORLD_DATA"] = before
    return AlfredDemangler


@dataclass
class Walk:
    """The result of a comparison."""

    steps: int = 0
    odd: int = 0
    """Number of steps with a text other than an admissible command."""
    won: int = 0
    """Number of states in which the goal held."""
    verbs: frozenset[str] = frozenset()
    differences: tuple[str, ...] = ()


def compare(case: Case, steps: int, seed: int) -> Walk:
    """Walk at random, preferring interactions, and compare feedback, admissible commands and `won` after every step."""
    rng = random.Random(seed)
    walk = Walk()
    engine = FastEngine(WORDINGS[case.wording])
    text = engine.start(compile_game(parse_problem(case.problem)), goal=case.goal)
    upstream = Upstream(case.game)
    command = "(start)"
    for _ in range(steps + 1):
        ours, theirs = (text, engine.admissible, engine.won), upstream.view
        if ours != theirs:
            parts = [f"{ours[i]!r} != {theirs[i]!r}" for i in range(3) if ours[i] != theirs[i]]
            walk.differences += (f"{case.name} [{case.wording}] after {command!r}: {'; '.join(parts)}",)
        walk.won += theirs[2]
        if walk.steps == steps:
            break
        command = _choose(engine, rng)
        walk.odd += command not in engine.admissible
        walk.verbs |= {command.split(" ", 1)[0]} if command in engine.admissible else set()
        text = engine.step(command).text
        upstream.step(command)
        walk.steps += 1
    return walk


def _choose(engine: FastEngine, rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.06:
        return rng.choice(ODD_ACTIONS)
    if kind < 0.4:
        advice = Expert(engine).act()
        if advice is not None:
            return advice
    commands = engine.admissible
    moving = [c for c in commands if c.startswith("go to ")]
    acting = [c for c in commands if not c.startswith(("go to ", "examine ", "look", "inventory", "help"))]
    informing = [c for c in commands if c.startswith(("examine ", "look", "inventory", "help"))]
    groups = [group for group, weight in ((acting, 5), (moving, 3), (informing, 2)) for _ in range(weight) if group]
    return rng.choice(rng.choice(groups))


# Transcripts


@dataclass(frozen=True)
class Transcript:
    """A recorded episode: first observation, goal, and (action, observation) pairs without thoughts."""

    names: tuple[str, ...]
    """Where it occurs; the same episode occurs several times."""
    intro: str
    steps: tuple[tuple[str, str], ...]


def transcripts(data: Path) -> list[Transcript]:
    """Return the distinct episodes in the ReAct and Reflexion prompts."""
    texts: list[tuple[str, str]] = []
    for name in ("react/alfworld_3prompts.json", "reflexion/alfworld_3prompts.json", "reflexion/alfworld.json"):
        prompts = json.loads((data / "transcripts" / name).read_text())
        texts += [(f"{name}:{key}", text) for key, text in prompts.items()]
    name = "reflexion/reflexion_few_shot_examples.txt"
    opening = r"(?=You are in the middle of a room\. Looking quickly around you, you see a )"
    shots = re.split(opening, (data / "transcripts" / name).read_text())
    texts += [(f"{name}:{i}", text) for i, text in enumerate(shots) if text.strip()]
    found: dict[tuple[str, tuple[tuple[str, str], ...]], list[str]] = {}
    for name, text in texts:
        head, *rest = re.split(r"\n> ?", text)
        steps = []
        for step in rest:
            action, _, observation = step.partition("\n")
            if not action.startswith("think:"):
                steps.append((action.strip(), observation.split("\nSTATUS")[0].rstrip("\n")))
        intro = re.match(r".*?\nYour task is to: [^\n]*", head.strip(), re.DOTALL)
        found.setdefault((intro[0] if intro else head, tuple(steps)), []).append(name)
    return [Transcript(tuple(names), intro, steps) for (intro, steps), names in found.items()]


def index_intros(data: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the playable games that have a goal of the transcripts, keyed by intro in the format of the transcripts."""
    goals = {transcript.intro.rsplit("Your task is to: ", 1)[-1].rstrip(".") for transcript in transcripts(data)}
    index: dict[str, list[dict[str, Any]]] = {}
    engine = FastEngine(WORDINGS["old"])
    for split in ("train", "valid_seen"):
        for game in reference_games(data, split):
            if game["task"] not in goals:
                continue
            text = strip_intro(engine.start(compile_game(parse_problem(game["pddl_problem"])), goal=game["task"]))
            index.setdefault(text.replace("\n\n", "\n"), []).append(game)
    return index


def _without_arrival(text: str) -> str:
    """Return the reply to `go to` without its first sentence, as in the transcripts."""
    return text.split(". ", 1)[1] if text.startswith("You arrive at ") and ". " in text else text


def replay(transcript: Transcript, game: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return (action, recorded, ours) for every observation that differs from the recorded one."""
    engine = FastEngine(WORDINGS["old"])
    engine.start(compile_game(parse_problem(game["pddl_problem"])), goal=game["task"])
    answers = [(action, seen, _without_arrival(engine.step(action).text)) for action, seen in transcript.steps]
    return [(action, seen, ours) for action, seen, ours in answers if seen != ours]


def upstream_agrees(data: Path, transcript: Transcript, game: dict[str, Any]) -> bool:
    """Return whether upstream's engine gives our replies to all actions of a transcript."""
    case = official_case(data, game, "old")
    engine = FastEngine(WORDINGS["old"])
    upstream = Upstream(case.game)
    same = engine.start(compile_game(parse_problem(case.problem)), goal=case.goal) == upstream.view[0]
    for action, _ in transcript.steps:
        upstream.step(action)
        same = same and engine.step(action).text == upstream.view[0]
    return same
