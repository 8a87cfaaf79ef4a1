"""The `textworld` package as an engine: the reference, made usable by caching its repeated work.

The grammar is ours, in the requested wording; the problem is the game's. TextWorld's costs, and what is done about them:
    - every reset translates the PDDL twice: translations are cached in memory and in the user's cache folder, and the second one,
      which only the planner needs, is skipped;
    - every step parses the same grammar texts and queries for each admissible command: the parsed forms are cached;
    - contexts are copied deeply: here only the dictionaries are copied, as their values never change.
These replacements are active only during a call into this module. TextWorld captures `sys.stdout` and sets `sys.argv` while it
translates, so only one thread of a process should use it; `sys.argv` is restored.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import lru_cache
from hashlib import blake2b
from importlib.metadata import version
from typing import Any, ClassVar

from empg_gym.cache import cache_root
from empg_gym.envs.alfworld.engine import Answer, FastEngine
from empg_gym.envs.alfworld.game import Game
from empg_gym.envs.alfworld.logic import GOAL_PLACEHOLDER, domain, grammar
from empg_gym.envs.alfworld.names import demangle
from empg_gym.envs.alfworld.texts import Wording
from empg_gym.errors import require
from empg_gym.runs.atomic_write import atomic_write


class TextWorldEngine:
    """Runs one game at a time on TextWorld; see `engine.Engine`.

    A fast engine mirrors every command, for the expert and the state key. A point in the game is the list of commands that led there:
    TextWorld can't go back, so `load` replays them.

    Raises:
        MissingDependencyError: `textworld[pddl]` is not installed.
    """

    name: ClassVar[str] = "textworld"

    def __init__(self, wording: Wording) -> None:
        for module in ("textworld", "fast_downward"):
            require(module, "textworld", "engine='textworld'")
        self.wording = wording
        self._env: Any = None
        self._state: Any = None
        self._mirror = FastEngine(wording)
        self._game: Game
        self._done: tuple[str, ...] = ()

    def start(self, game: Game, problem: Callable[[], str], goal: str) -> str:
        self._game, self._done = game, ()
        self._mirror.start(game)
        if self._env is None:
            self._env = _environment()
        data = {"pddl_domain": domain(self.wording), "grammar": grammar(self.wording), "pddl_problem": problem()}
        with _cached():
            self._env.load(data)
            # Before the first observation is generated, which uses all names.
            names = demangle(self._env._entity_infos)
            for info in self._env._entity_infos.values():
                info.name = names[info.id]
            self._state = self._env.reset()
        text: str = self._state.feedback
        return text.replace(GOAL_PLACEHOLDER, goal)

    def step(self, command: str) -> Answer:
        valid = command.strip() in self._state["admissible_commands"]
        with _cached():
            self._state, _, _ = self._env.step(command)
        if valid:
            self._done = (*self._done, command.strip())
            self._mirror.step(command)
        return Answer(self._state.feedback, valid)

    @property
    def admissible(self) -> list[str]:
        return list(self._state["admissible_commands"])

    @property
    def won(self) -> bool:
        return bool(self._state["won"])

    def save(self) -> tuple[str, ...]:
        return self._done

    def load(self, saved: object) -> None:
        assert isinstance(saved, tuple)
        if saved[: len(self._done)] != self._done:
            with _cached():
                self._state = self._env.reset()
            self._mirror.start(self._game)
            self._done = ()
        for command in saved[len(self._done) :]:
            self.step(command)

    def as_fast_engine(self) -> FastEngine:
        return self._mirror

    def close(self) -> None:
        if self._env is not None:
            # Not `fast_downward.close_lib`: it unloads the library, and loading another copy after that can crash the process.
            self._env.downward_lib.cleanup()
            self._env = None


def _environment() -> Any:
    import textworld
    from textworld.envs.pddl import PddlEnv

    return PddlEnv(textworld.EnvInfos(feedback=True, won=True, admissible_commands=True))


@contextmanager
def _cached() -> Iterator[None]:
    """Install the cached functions for the duration of a block."""
    import fast_downward
    from textworld.envs.pddl import logic, textgen
    from textworld.logic import Rule

    replaced = (
        (textgen, "_parse_and_convert", _parse_text),
        (textgen, "copy_context", _copy_context),
        (logic, "_parse_and_convert", _parse_logic),
        (Rule, "parse_conjunctive_query", staticmethod(_parse_query)),
        (fast_downward, "pddl2sas", _translate),
    )
    originals = [(owner, name, vars(owner)[name]) for owner, name, _ in replaced]
    argv = list(sys.argv)
    for owner, name, function in replaced:
        setattr(owner, name, function)
    try:
        yield
    finally:
        for owner, name, function in originals:
            setattr(owner, name, function)
        sys.argv[:] = argv


def _translate(domain: str, problem: str, verbose: bool = False, optimize: bool = False) -> tuple[Any, str]:
    """Replace `fast_downward.pddl2sas`; `optimize` is ignored, since nothing here plans."""
    return _translated(domain, problem)


@lru_cache(maxsize=16)
def _translated(domain: str, problem: str) -> tuple[Any, str]:
    from fast_downward.interface import pddl2sas

    key = blake2b(digest_size=12)
    for part in (version("fast_downward_textworld"), version("textworld"), sys.version, domain, problem):
        key.update(part.encode() + b"\0")
    path = cache_root() / "alfworld" / "translations" / f"{key.hexdigest()}.pickle"
    try:
        kept: tuple[Any, str] = pickle.loads(path.read_bytes())
        return kept
    except (OSError, EOFError, pickle.UnpicklingError, AttributeError, ImportError):
        made: tuple[Any, str] = pddl2sas(domain, problem)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, pickle.dumps(made))
    except OSError:
        pass  # Without a writable cache folder it is translated again next time.
    return made


def _parse_text(text: str, rule_name: str, **_: object) -> Any:
    return deepcopy(_parsed_text(text, rule_name))


@lru_cache(maxsize=4096)
def _parsed_text(text: str, rule_name: str) -> Any:
    from textworld.envs.pddl import textgen

    return textgen._Converter().walk(textgen._PARSER.parse(text, rule_name=rule_name))


@lru_cache(maxsize=4)
def _parse_logic(text: str, rule_name: str) -> Any:
    from textworld.envs.pddl import logic

    return logic._ModelConverter().walk(logic._PARSER.parse(text, rule_name=rule_name))


@lru_cache(maxsize=4096)
def _parse_query(text: str) -> Any:
    from textworld import logic

    return logic.Rule("query", logic._parse_and_convert(text, rule_name="conjunctiveQuery"), [])


def _copy_context(context: dict[str, Any]) -> dict[str, Any]:
    return {**context, "variables": dict(context["variables"]), "mapping": dict(context["mapping"])}
