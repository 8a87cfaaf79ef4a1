"""`EMPG/ALFWorld-v0`: household tasks in text, on the embedded world or on the released games.

Rules:
    - texts, admissible actions, reward and termination are upstream's; see `engine` and `texts`;
    - the reward of a step is 1 if the goal holds after it, else 0; the task ends when the goal holds;
    - `success` stays true once the goal has held;
    - an action must equal an admissible one after stripping white space; the reply to any other text is "Nothing happens."
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar, Literal

from empg_gym.env import KeyPart, Outcome, TextEnv
from empg_gym.envs.alfworld import texts
from empg_gym.envs.alfworld.engine import Engine, FastEngine
from empg_gym.envs.alfworld.expert import STRATEGIES, Expert
from empg_gym.envs.alfworld.goals import resolve_task_types
from empg_gym.envs.alfworld.source import GameSource, LoadedGame
from empg_gym.envs.alfworld.state_key import canonical_state
from empg_gym.envs.alfworld.texts import WORDINGS
from empg_gym.envs.alfworld.world.source import EmbeddedWorld
from empg_gym.envs.fetched import fetched
from empg_gym.envs.forgetful import Forgetful
from empg_gym.errors import ConfigError, nearest

_RULES = """\
You are in a room of a house and have a household task. You act by short text commands and read what happens.
You start in the middle of the room. Objects are seen only where you stand, and only in or on what is open.
You carry at most one object. Names end in a number, as in "mug 2"; use them exactly as they appear.

Commands:
  go to RECEPTACLE                 walk to it and look at it
  open RECEPTACLE, close RECEPTACLE
  take OBJECT from RECEPTACLE
  {put:<32} put down what you carry
  clean OBJECT with sinkbasin N    while you carry it and stand at the sink
  heat OBJECT with microwave N     while you carry it and stand at the microwave
  cool OBJECT with fridge N        while you carry it and stand at the fridge
  use LAMP                         switch on a lamp where you stand
  slice OBJECT with KNIFE          while you carry the knife
  examine RECEPTACLE or the object that you carry
  look, inventory{help}

To look at an object under a lamp, carry the object to the lamp and use the lamp.
A command that can't be carried out is answered "Nothing happens."
"""


class ALFWorldEnv(TextEnv):
    """ALFWorld as a Gymnasium environment. The card (`README.md` in this folder) documents `info`.

    Args:
        split: "train", "valid_seen" or "valid_unseen"; released data may also have "valid_train".
        data: None for the embedded world, the folder of the released games (`json_2.1.1` or its parent), or "official" for the
            folder in the environment variable `ALFWORLD_DATA` or, if it is not set, the release that `empg-gym data get` downloaded.
        max_steps: number of actions after which the episode is truncated.
        wording: "new" (releases since 0.4.0) or "old" (the 2.1.1 data).
        engine: "fast", or "textworld" to play on the `textworld` package (slow; for reference).
        goals: "template", or "human" for the annotators' sentences (released data only), one of which is drawn at each reset.
        task_types: names or numbers (1-6) of the task types to keep; None keeps all.
        size: "full" or "small" households of the embedded world.
        rooms: "templates", or "varied": in the embedded world's `train`, replace some receptacles of each household's room at random.
        expert: what `expert()` knows: "direct" (the whole state), or "search" and "systematic" (what has been shown); see the module
            `expert`.
        expert_forgets: share of the tasks, from 0 to 1, in which `expert()` leaves out a part of the goal, where it has one to leave out,
            and fails; see the module `expert`. It is always the same tasks.
        strip_intro: omit the line "-= Welcome to TextWorld, ALFRED! =-", as most agents do.
        render_mode: None or "ansi".

    Raises:
        ConfigError: an argument is invalid.
        DataError: the folder is missing or holds no released games, or a game file is damaged.
        MissingDependencyError: `engine="textworld"` is used without the package.
    """

    benchmark = "ALFWorld"
    splits: ClassVar[tuple[str, ...]] = ("train", "valid_seen", "valid_unseen", "valid_train")
    version: ClassVar[str] = "0"
    inheritable = frozenset({"max_steps", "wording", "goals", "task_types", "size", "rooms", "expert", "expert_forgets", "strip_intro"})

    def __init__(
        self,
        split: str = "train",
        data: str | Path | None = None,
        *,
        max_steps: int = 50,
        wording: Literal["new", "old"] = "new",
        engine: Literal["fast", "textworld"] = "fast",
        goals: Literal["template", "human"] = "template",
        task_types: list[str | int] | tuple[str | int, ...] | str | int | None = None,
        size: Literal["full", "small"] = "full",
        rooms: Literal["templates", "varied"] = "templates",
        expert: Literal["direct", "search", "systematic"] = "direct",
        expert_forgets: float = 0.0,
        strip_intro: bool = False,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(split=split, max_steps=max_steps, render_mode=render_mode)
        self.wording = WORDINGS[_choice("wording", wording, WORDINGS)]
        self._strategy = _choice("expert", expert, STRATEGIES)
        self._forgetful = Forgetful(expert_forgets)
        self._strip_intro = strip_intro
        human = _choice("goals", goals, ("template", "human")) == "human"
        self._source = _source(split, data, human, resolve_task_types(task_types), size, rooms)
        self._engine = _engine(_choice("engine", engine, ("fast", "textworld")), self)
        self._loaded: LoadedGame
        self._goal = ""
        self._won = False

    @property
    def num_tasks(self) -> int:
        return len(self._source)

    def task_id(self, index: int) -> str:
        return self._source.task_id(index)

    def _has_task(self, task: str) -> bool:
        return self._source.has(task)

    def _start(self, task: str) -> str:
        self._loaded = self._source.load(task)
        goals = self._loaded.goals
        self._goal = goals[0] if len(goals) == 1 else goals[int(self.np_random.integers(len(goals)))]
        return self._begin()

    def _begin(self) -> str:
        text = self._engine.start(self._loaded.game, self._loaded.problem, self._goal)
        self._won = self._engine.won
        return texts.strip_intro(text) if self._strip_intro else text

    def _apply(self, action: str) -> Outcome:
        answer = self._engine.step(action)
        won = self._engine.won
        self._won = self._won or won
        return Outcome(answer.text, 1.0 if won else 0.0, won, answer.valid)

    def _admissible(self) -> list[str]:
        return self._engine.admissible

    @property
    def _variant(self) -> str:
        return f"{self.wording.name} wording, {self._engine.name} engine"

    def _save(self) -> Any:
        return self._goal, self._won, self._engine.save()

    def _load(self, payload: Any) -> None:
        goal, won, point = payload
        if goal != self._goal:
            self._goal = goal
            self._begin()
        self._won = won
        self._engine.load(point)

    def _state_key(self) -> KeyPart:
        """Return the goal's sentence, whether the goal has held, and the household; see the module `state_key`."""
        engine = self._engine.as_fast_engine()
        return self._goal, self._won, canonical_state(engine.game, engine.state)

    @property
    def instruction(self) -> str:
        return self._goal

    @property
    def success(self) -> bool:
        return self._won

    @property
    def score(self) -> float:
        return 1.0 if self._won else 0.0

    @property
    def task_type(self) -> str:
        return self._loaded.game.goal.task_type

    def expert(self) -> str | None:
        return self._consulted()[0]

    def expert_thought(self) -> str:
        return self._consulted()[1]

    def _consulted(self) -> tuple[str | None, str]:
        """Return the expert's next action and its thought."""
        forgetful = self._forgetful.in_task(self.task)  # raises before the first reset
        expert = Expert(self._engine.as_fast_engine(), self._strategy, forgetful=forgetful)
        return expert.act(), expert.thought

    @property
    def rules(self) -> str:
        put = self.wording.put.format(o="OBJECT", r="RECEPTACLE")
        return _RULES.format(put=put, help=", help" if "help" in self.wording.simple else "")

    @property
    def fingerprint(self) -> str:
        return self._source.fingerprint

    def _extras(self) -> dict[str, Any]:
        domain = "out_of_domain" if self.split == "valid_unseen" else "in_domain"
        return {"task_type": self._loaded.game.goal.task_type, "gamefile": self._loaded.file, "domain": domain}

    @property
    def split_rule(self) -> str:
        return "valid_seen: rooms of train with new layouts; valid_unseen: rooms that train never has; every game is of one split"

    def close(self) -> None:
        self._engine.close()


def _choice(name: str, value: object, known: Any) -> str:
    if not isinstance(value, str) or value not in known:
        raise ConfigError(f"{name}={value!r} is unknown in ALFWorld; {nearest(str(value), known)}")
    return value


def _engine(name: str, env: ALFWorldEnv) -> Engine:
    if name == "fast":
        return FastEngine(env.wording)
    from empg_gym.envs.alfworld.textworld_engine import TextWorldEngine

    return TextWorldEngine(env.wording)


def _source(split: str, data: str | Path | None, human: bool, task_types: tuple[str, ...], size: str, rooms: str) -> GameSource:
    if data is None:
        if human:
            raise ConfigError("the embedded ALFWorld has no human goals; pass data=PATH with the released games, or goals='template'")
        if split == "valid_train":
            raise ConfigError("the embedded ALFWorld has no split 'valid_train'; known: train, valid_seen, valid_unseen")
        return EmbeddedWorld(split, size, task_types, rooms)
    for name, value, default in (("size", size, "full"), ("rooms", rooms, "templates")):
        if value != default:
            raise ConfigError(f"{name}={value!r} applies to the embedded ALFWorld only; omit it when data=PATH is given")
    if data == "official":
        data = os.environ.get("ALFWORLD_DATA") or _fetched(human)
    if not isinstance(data, str | Path):
        raise ConfigError(f"data={data!r} is not a folder of released games; pass a path, 'official', or None")
    from empg_gym.envs.alfworld.official import OfficialGames

    return OfficialGames(Path(data).expanduser(), split, human, task_types)


def _fetched(human: bool) -> Path:
    """Return the folder of the newest downloaded release; only the older one has human goals."""
    names = ("alfworld-2.1.1",) if human else ("alfworld-2.1.3", "alfworld-2.1.1")
    folder = next(iter(fetched(names).values()), None)
    if folder is None:
        raise ConfigError(
            f"data='official' found no released games; run `empg-gym data get {names[0]}`, set ALFWORLD_DATA to their folder, "
            "or pass data=PATH"
        )
    return folder
