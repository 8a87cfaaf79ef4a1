"""Experts that know the rules: one sees the whole state, the others only what has been shown.

`direct` takes a short path to the goal: go (open), take, process, go (open), put. It always wins if the game can be won.
`search` acts like a careful person: it opens and examines one receptacle after another until it has seen what it needs, and then
continues as `direct` with that knowledge. An agent without hidden knowledge can imitate its episodes.
`systematic` searches in the order in which the room names its receptacles, `search` begins where the object is likely to be. The thoughts
of `systematic` have a bookmark, the last receptacle of the part that it has examined.
(It has one piece of hidden knowledge: in some released games the objects in the fridge are cool from the start.)

A forgetful expert leaves out a part of the goal: the lamp, or that an object has to be hot, cool or clean. Then it looks around until the
episode ends, as it thinks that it is done. Where the goal is no more than objects at their place, it forgets nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from empg_gym.envs.alfworld.engine import FastEngine, processed
from empg_gym.envs.alfworld.goals import LOOK, PROCESS, TWO

STRATEGIES = ("direct", "search", "systematic")


class Expert:
    """Proposes the next command in the game that `engine` runs.

    Args:
        engine: the game; only read, never changed.
        strategy: one of `STRATEGIES` (see the module docstring).
        forgetful: whether it leaves out a part of the goal.
    """

    def __init__(self, engine: FastEngine, strategy: str = "direct", *, forgetful: bool = False) -> None:
        self.engine = engine
        self.game = engine.game
        self.state = engine.state
        self.strategy = strategy
        self.known = range(len(engine.game.receptacles)) if strategy == "direct" else sorted(engine.seen)
        """Receptacles whose contents are known."""
        self.done = None if forgetful else processed(self.game, self.state)
        """Objects that meet the goal's condition; None if it has none, or the expert has forgotten it."""
        self._forgetful = forgetful
        self.thought = ""
        """The purpose of the command that `act` returned last, in words: what is to be found, made or brought where."""

    def act(self) -> str | None:
        """Return a command on a path to the goal, or None if the goal holds or can't be reached."""
        if self.engine.won:
            return None
        action = self._light() if self.game.goal.task_type == LOOK else self._deliver()
        if self.strategy == "systematic" and (examined := self._examined()):
            notes = f"After {self.game.receptacles[examined - 1]}{self._noted()}"
            self.thought = f"{notes}: {self.thought[:1].lower()}{self.thought[1:]}"
        return action

    # The two kinds of task

    def _light(self) -> str | None:
        game, state = self.game, self.state
        wanted = frozenset(game.goal_things)
        if state.held not in wanted:
            return self._drop() if state.held >= 0 else self._fetch(wanted)
        if self._forgetful:
            return self._rest()
        self.thought = f"Use the {game.goal.lamp}."
        lamps = self._holding(game.goal_lamps)
        if not lamps:
            return self._search(None)
        here = [r for r in lamps if game.location_of[r] == state.location]
        if not here:
            return self._reach(lamps[0], lambda: None)
        lamp = next(o for o in state.contents[here[0]] if o in game.goal_lamps)
        return f"use {game.things[lamp]}"

    def _deliver(self) -> str | None:
        game, state = self.game, self.state
        target = self._destination()
        if target is None:
            return None
        fitting = game.fits[target].intersection(game.goal_things)
        if state.held >= 0 and state.held not in fitting:
            return self._drop()
        if state.held >= 0:
            if self.done is not None and state.held not in self.done:
                return self._process()
            self.thought = f"Put it in the {game.goal.receptacle}."
            return self._reach(target, lambda: self._put(target))
        settled = fitting.intersection(o for o in state.contents[target] if self.done is None or o in self.done)
        if settled and self._forgetful and game.goal.task_type != TWO:
            return self._rest()
        return self._fetch(fitting - settled, another=game.goal.task_type == TWO and bool(settled) and target in self.known)

    def _destination(self) -> int | None:
        """Return the goal receptacle to use: for two objects the one known to hold most of them, else the nearest."""
        game, state = self.game, self.state
        places = [r for r in game.goal_receptacles if game.fits[r].intersection(game.goal_things)]
        if not places:
            return None
        if game.goal.task_type != TWO:
            return min(places, key=lambda r: (game.location_of[r] != state.location, r not in self._open_now(), r))
        wanted = set(game.goal_things)
        return max(places, key=lambda r: (len(wanted.intersection(state.contents[r])) if r in self.known else 0, -r))

    # Subtasks

    def _fetch(self, wanted: frozenset[int], *, another: bool = False) -> str | None:
        game, state = self.game, self.state
        self.thought = f"Find {'another' if another else 'one'} {game.goal.target}."
        wanted = wanted & game.traits["pickupable"]
        places = self._holding(wanted)
        if not places:
            return self._search(wanted)
        done = self.done or frozenset()

        def effort(r: int) -> tuple[bool, bool, bool, int]:
            ready = not done.isdisjoint(wanted.intersection(state.contents[r]))
            return not ready, game.location_of[r] != state.location, r not in self._open_now(), r

        place = min(places, key=effort)
        choice = min(wanted.intersection(state.contents[place]), key=lambda o: (o not in done, -o))
        return self._reach(place, lambda: f"take {game.things[choice]} from {game.receptacles[place]}")

    def _process(self) -> str | None:
        game = self.game
        process = PROCESS[game.goal.task_type]
        places = [r for r, kind in enumerate(game.receptacle_types) if kind == process.station]
        if not places:
            return None
        place = min(places, key=lambda r: (game.location_of[r] != self.state.location, r))
        self.thought = f"{process.verb.capitalize()} it with the {process.station}."
        if game.location_of[place] != self.state.location:
            return f"go to {game.receptacles[place]}"
        return f"{process.verb} {game.things[self.state.held]} with {game.receptacles[place]}"

    def _rest(self) -> str:
        self.thought = "It is done."
        return "look"

    def _drop(self) -> str | None:
        """Put down an object that is not wanted, as near as possible."""
        game, state = self.game, self.state
        self.thought = "Put it down."
        places = [r for r, fits in enumerate(game.fits) if state.held in fits]
        if not places:
            return None
        place = min(places, key=lambda r: (game.location_of[r] != state.location, r not in self._open_now(), r))
        return self._reach(place, lambda: self._put(place))

    def _put(self, place: int) -> str:
        return self.engine.wording.put.format(o=self.game.things[self.state.held], r=self.game.receptacles[place])

    def _reach(self, place: int, act: Callable[[], str | None]) -> str | None:
        """Go to a receptacle and open it if necessary, then `act`."""
        game, name = self.game, self.game.receptacles[place]
        if game.location_of[place] != self.state.location:
            return f"go to {name}"
        if place not in self._open_now():
            return f"open {name}"
        return act()

    def _search(self, wanted: Iterable[int] | None) -> str | None:
        """Look into the next unseen receptacle: first those at this location, then, if not systematic, those that could hold the object."""
        game = self.game
        left = [r for r in range(len(game.receptacles)) if r not in self.known]
        if not left:
            return None
        likely = set() if wanted is None or self.strategy == "systematic" else set(wanted)

        def order(r: int) -> tuple[bool, bool, int]:
            return game.location_of[r] != self.state.location, bool(likely) and game.fits[r].isdisjoint(likely), r

        place = min(left, key=order)
        return self._reach(place, lambda: game.examine[place])

    # Knowledge

    def _noted(self) -> str:
        """Return a note of where the lamp, or the second of two objects, has been seen."""
        game, state = self.game, self.state
        kind, needed = "lamp", frozenset(game.goal_lamps)
        if game.goal.task_type == TWO:
            settled = frozenset(o for r in game.goal_receptacles for o in state.contents[r])
            kind, needed = "another", frozenset(game.goal_things) - settled
            if state.held not in game.goal_things and settled.isdisjoint(game.goal_things):
                return ""  # neither of the two is found yet
        places = self._holding(needed)
        return f", {kind} at {game.receptacles[places[0]]}" if places else ""

    def _examined(self) -> int:
        """Return how many receptacles from the first one on are known without a gap."""
        known = set(self.known)
        return next((r for r in range(len(self.game.receptacles)) if r not in known), len(known))

    def _holding(self, wanted: Iterable[int]) -> list[int]:
        """Return the receptacles known to hold one of `wanted`."""
        return [r for r in self.known if not set(wanted).isdisjoint(self.state.contents[r])]

    def _open_now(self) -> frozenset[int]:
        """Return the receptacles that are open or have no door."""
        return frozenset(r for r in range(len(self.game.receptacles)) if r not in self.game.openable or r in self.state.opened)
