"""The game engine: admissible commands and their effects on sets and tuples, without TextWorld.

Rules (upstream's behavior, oddities included):
    - a command must equal an admissible one after stripping white space at both ends; anything else changes nothing;
    - `go to` reaches every receptacle at another location and opens nothing;
    - heating, cooling, cleaning and `use` work with the door closed; `slice` needs the object at the location, open or not;
    - only a held object can be examined;
    - an object in several receptacles stays in the others when it is taken from one.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import ClassVar, NamedTuple, Protocol

from empg_gym.envs.alfworld import texts
from empg_gym.envs.alfworld.game import Game, GameState, Indices
from empg_gym.envs.alfworld.goals import LOOK, PROCESS, TWO
from empg_gym.envs.alfworld.texts import Wording, enumerate_names


class Answer(NamedTuple):
    """The result of a command."""

    text: str
    valid: bool
    """Whether the command was admissible."""


class Point(NamedTuple):
    """A point in a game."""

    state: GameState
    seen: Indices
    """Receptacles whose contents have been shown to the player."""


class Engine(Protocol):
    """What the environment needs from an engine: the fast one below, or TextWorld."""

    name: ClassVar[str]
    """Value of the environment's argument `engine`."""

    def start(self, game: Game, problem: Callable[[], str], goal: str) -> str:
        """Start a game and return its intro; `problem` returns its PDDL text and `goal` is its sentence."""

    def step(self, command: str) -> Answer:
        """Carry out a command."""

    @property
    def admissible(self) -> list[str]:
        """Admissible commands, sorted."""

    @property
    def won(self) -> bool:
        """Whether the goal holds in the current state."""

    def save(self) -> object:
        """Return the current point in the game: immutable and picklable."""

    def load(self, saved: object) -> None:
        """Restore a return value of `save`, in the same game."""

    def as_fast_engine(self) -> FastEngine:
        """Return a fast engine at the current point, for reading only."""

    def close(self) -> None:
        """Release the engine's resources."""


class FastEngine:
    """Plays one game at a time. See the module docstring for the rules."""

    name: ClassVar[str] = "fast"

    def __init__(self, wording: Wording) -> None:
        self.wording = wording
        self.game: Game
        self.state: GameState
        self.seen: Indices
        """Receptacles whose contents have been shown."""
        self._commands: dict[str, tuple[str, int, int]]
        self._admissible: list[str]

    def start(self, game: Game, problem: Callable[[], str] | None = None, goal: str = "") -> str:
        """Start a game; see `Engine`. The PDDL text is not needed."""
        self.game = game
        self.load(Point(game.start, frozenset()))
        return texts.intro(game.receptacles, goal)

    def save(self) -> Point:
        return Point(self.state, self.seen)

    def load(self, saved: object) -> None:
        assert isinstance(saved, Point)
        self.state, self.seen = saved
        self._refresh()

    def as_fast_engine(self) -> FastEngine:
        return self

    def close(self) -> None:
        """Do nothing: there is nothing to release."""

    @property
    def admissible(self) -> list[str]:
        return self._admissible.copy()

    def step(self, command: str) -> Answer:
        command = command.strip()
        game, state = self.game, self.state
        target = game.travel.get(command)
        if target is not None and game.location_of[target] != state.location:
            self.state = state._replace(location=game.location_of[target])
            self._refresh()
            arrival = game.locations[self.state.location] if self.wording.arrives_at_place else game.receptacles[target]
            return Answer(f"You arrive at {arrival}. {self._view(target)}", True)
        action = self._commands.get(command)
        if action is None:
            return Answer(texts.FAILURE, False)
        verb, first, second = action
        text: str = getattr(self, "_" + verb)(first, second)
        if self.state is not state:
            self._refresh()
        return Answer(text, True)

    @property
    def won(self) -> bool:
        game, state = self.game, self.state
        goal = game.goal.task_type
        if goal == LOOK:
            if state.held < 0 or state.held not in game.goal_things:
                return False
            lit = state.toggled & game.goal_lamps
            return bool(lit) and any(not lit.isdisjoint(state.contents[r]) for r in game.receptacles_at[state.location])
        done = processed(game, state)
        needed = 2 if goal == TWO else 1
        wanted = frozenset(game.goal_things) if done is None else done.intersection(game.goal_things)
        return bool(wanted) and any(len(wanted.intersection(state.contents[r])) >= needed for r in game.goal_receptacles)

    # Admissible commands

    def _refresh(self) -> None:
        game, state = self.game, self.state
        commands: dict[str, tuple[str, int, int]] = {name: (name, 0, 0) for name in self.wording.simple}
        held, traits = state.held, game.traits
        for r in game.receptacles_at[state.location]:
            name, inside = game.receptacles[r], state.contents[r]
            commands[game.examine[r]] = ("examine", r, 0)
            reachable = True
            if r in game.openable:
                reachable = r in state.opened
                commands[f"close {name}" if reachable else f"open {name}"] = ("close" if reachable else "open", r, 0)
            if held < 0:
                if reachable:
                    for o in inside:
                        if o in traits["pickupable"]:
                            commands[f"take {game.things[o]} from {name}"] = ("take", o, r)
            else:
                thing, kind = game.things[held], game.receptacle_types[r]
                if reachable and held in game.fits[r]:
                    commands[self.wording.put.format(o=thing, r=name)] = ("put", held, r)
                if kind in self.wording.cleaners and held in traits["cleanable"]:
                    commands[f"clean {thing} with {name}"] = ("clean", held, r)
                elif kind == "microwave" and held in traits["heatable"]:
                    commands[f"heat {thing} with {name}"] = ("heat", held, r)
                elif kind == "fridge" and held in traits["coolable"]:
                    commands[f"cool {thing} with {name}"] = ("cool", held, r)
            for o in traits["toggleable"].intersection(inside):
                commands[f"use {game.things[o]}"] = ("use", o, r)
        if held >= 0:
            commands[f"examine {game.things[held]}"] = ("examine_thing", held, 0)
            if held in game.knives:
                for o in traits["sliceable"]:
                    if (o, state.location) in state.at:
                        commands[f"slice {game.things[o]} with {game.things[held]}"] = ("slice", o, held)
        self._commands = commands
        self._admissible = sorted(chain(game.travel_from[state.location], commands))

    # Effects; each returns the reply

    def _look(self, _first: int, _second: int) -> str:
        game, state = self.game, self.state
        here = game.receptacles_at[state.location]
        if not here:
            return texts.ROOM.format(list="nothing")
        floor = [game.things[o] for o, r in sorted(state.taken) if r in here and (o, state.location) in state.at]
        facing = enumerate_names([game.receptacles[r] for r in here], article="")
        return f"You are facing the {facing}. Next to it, you see {enumerate_names(floor)}."

    def _inventory(self, _first: int, _second: int) -> str:
        held = self.state.held
        return "You are not carrying anything." if held < 0 else f"You are carrying: a {self.game.things[held]}."

    def _help(self, _first: int, _second: int) -> str:
        return texts.HELP

    def _examine(self, r: int, _second: int) -> str:
        return self._view(r)

    def _view(self, r: int) -> str:
        game, name = self.game, self.game.receptacles[r]
        if r in game.openable and r not in self.state.opened:
            return f"The {name} is closed."
        if r not in self.seen:
            self.seen |= {r}
        seen = enumerate_names([game.things[o] for o in self.state.contents[r]])
        return f"The {name} is open. In it, you see {seen}." if r in game.openable else f"On the {name}, you see {seen}."

    def _examine_thing(self, o: int, _second: int) -> str:
        game, state, name = self.game, self.state, self.game.things[o]
        if o in game.traits["isreceptacleobject"]:
            return f"This is a normal {name}. In it, you see {enumerate_names([game.things[i] for i in game.nested[o]])}."
        words = texts.condition(clean=o in state.clean, hot=o in state.hot, cool=o in state.cool, sliced=o in state.sliced)
        if words:
            return f"This is a {words} {name}."
        if o in state.toggled and o in game.traits["toggleable"]:
            return f"This {name} is on."
        if o in state.sliced and o in game.traits["sliceable"]:
            return f"This is a sliced {name}."
        return f"There's nothing special about {name}."

    def _open(self, r: int, _second: int) -> str:
        self.state = self.state._replace(opened=self.state.opened | {r})
        return f"You open the {self.game.receptacles[r]}. {self._view(r)}"

    def _close(self, r: int, _second: int) -> str:
        self.state = self.state._replace(opened=self.state.opened - {r})
        return f"You close the {self.game.receptacles[r]}."

    def _take(self, o: int, r: int) -> str:
        state = self.state
        self.state = state._replace(
            held=o,
            contents=_with(state.contents, r, tuple(i for i in state.contents[r] if i != o)),
            at=state.at - {(o, state.location)},
            taken=state.taken | {(o, r)},
        )
        return f"You pick up the {self.game.things[o]} from the {self.game.receptacles[r]}."

    def _put(self, o: int, r: int) -> str:
        state = self.state
        self.state = state._replace(
            held=-1,
            contents=_with(state.contents, r, tuple(sorted({*state.contents[r], o}))),
            at=state.at | {(o, state.location)},
            taken=state.taken - {(o, r)},
        )
        return self.wording.put_done.format(o=self.game.things[o], r=self.game.receptacles[r])

    def _clean(self, o: int, r: int) -> str:
        self.state = self.state._replace(clean=self.state.clean | {o})
        return f"You clean the {self.game.things[o]} using the {self.game.receptacles[r]}."

    def _heat(self, o: int, r: int) -> str:
        self.state = self.state._replace(hot=self.state.hot | {o}, cool=self.state.cool - {o})
        return f"You heat the {self.game.things[o]} using the {self.game.receptacles[r]}."

    def _cool(self, o: int, r: int) -> str:
        self.state = self.state._replace(cool=self.state.cool | {o}, hot=self.state.hot - {o})
        return f"You cool the {self.game.things[o]} using the {self.game.receptacles[r]}."

    def _use(self, o: int, _r: int) -> str:
        self.state = self.state._replace(toggled=self.state.toggled | {o})
        return f"You turn on the {self.game.things[o]}."

    def _slice(self, o: int, knife: int) -> str:
        self.state = self.state._replace(sliced=self.state.sliced | {o})
        return f"You sliced the {self.game.things[o]} with the {self.game.things[knife]}."


def processed(game: Game, state: GameState) -> Indices | None:
    """Return the objects that meet the goal's condition (clean, hot or cool); None if the goal has no condition."""
    process = PROCESS.get(game.goal.task_type)
    return None if process is None else getattr(state, process.made)


def _with(rows: tuple[tuple[int, ...], ...], index: int, row: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    return (*rows[:index], row, *rows[index + 1 :])
