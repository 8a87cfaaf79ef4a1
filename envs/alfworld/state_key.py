"""The canonical form of a game's state, for `TextEnv.state_key`.

Rules:
    - All facts of the household are part of it: the player's location and what it carries, the contents of every receptacle, which are
      open, and which objects are clean, hot, cool, sliced or switched on, whether or not a later text can show them.
    - `GameState.taken` and `GameState.at` record history; they count only where a command can still read them. `look` lists an object
      that was taken from a receptacle at this location and is at this location. That is possible only if it is true now, or if
      another receptacle at this location accepts the object. `slice` reads the location of sliceable objects. All else is left out:
      otherwise the state would depend on the drawers that an object has passed through.
    - The receptacles that have been shown (`Point.seen`) are knowledge of the expert "search", not a fact of the household.
"""

from __future__ import annotations

from empg_gym.env import KeyPart
from empg_gym.envs.alfworld.game import Game, GameState


def canonical_state(game: Game, state: GameState) -> KeyPart:
    """Return the state as nested tuples of integers; contents and locations are given as differences from the start of the game."""
    start = game.start
    contents = tuple([(r, row) for r, row in enumerate(state.contents) if row != start.contents[r]])
    taken = tuple(sorted([(o, r) for o, r in state.taken if _can_show(game, state, o, r)]))
    listed = {(o, game.location_of[r]) for o, r in taken}
    sliceable = game.traits["sliceable"]
    at = tuple(sorted([pair for pair in state.at ^ start.at if pair[0] in sliceable or pair in listed]))
    conditions = tuple([tuple(sorted(s)) for s in (state.opened, state.clean, state.hot, state.cool, state.sliced, state.toggled)])
    return state.location, state.held, contents, conditions, taken, at


def _can_show(game: Game, state: GameState, thing: int, receptacle: int) -> bool:
    """Return whether `look` can list, now or later, a thing that was taken from a receptacle."""
    location = game.location_of[receptacle]
    return (thing, location) in state.at or any(thing in game.fits[other] for other in game.receptacles_at[location] if other != receptacle)
