"""The canonical form of a game's state, for `TextEnv.state_key`.

Rules:
    - All facts of the household count: where the player is and what it holds, which object is in which receptacle, which doors are open,
      what is clean, hot, cool, sliced or switched on, whether or not a later text can show it.
    - The bookkeeping of `GameState.taken` and `GameState.at` counts only where a command can still read it. `look` lists an object that
      was taken from a receptacle here and is at this location: possible only if it is so now, or if another receptacle at this
      location accepts the object. `slice` needs a sliceable object at the location. Otherwise an object that passed through a drawer
      would give another state than one that did not.
    - Which receptacles have been shown (`Point.seen`) is the knowledge of the expert "search", not a fact of the household.
"""

from __future__ import annotations

from empg_gym.env import KeyPart
from empg_gym.envs.alfworld.game import Game, GameState


def canonical_state(game: Game, state: GameState) -> KeyPart:
    """Return the state as nested tuples of numbers; what equals the start of the game is left out where that is shorter."""
    start = game.start
    contents = tuple([(r, row) for r, row in enumerate(state.contents) if row != start.contents[r]])
    taken = tuple(sorted([(o, r) for o, r in state.taken if _can_show(game, state, o, r)]))
    listed = {(o, game.location_of[r]) for o, r in taken}
    sliceable = game.traits["sliceable"]
    at = tuple(sorted([pair for pair in state.at ^ start.at if pair[0] in sliceable or pair in listed]))
    conditions = tuple([tuple(sorted(s)) for s in (state.opened, state.clean, state.hot, state.cool, state.sliced, state.toggled)])
    return state.location, state.held, contents, conditions, taken, at


def _can_show(game: Game, state: GameState, thing: int, receptacle: int) -> bool:
    """Return whether `look` lists, or may list later, a thing that was taken from a receptacle."""
    location = game.location_of[receptacle]
    return (thing, location) in state.at or any(thing in game.fits[other] for other in game.receptacles_at[location] if other != receptacle)
