"""The canonical form of a session, for `TextEnv.state_key`.

Rules:
    - A state is the open page with the search that led to it, the chosen options, and the latest purchase.
    - Parts without any later effect are left out: the search after the purchase, and the random sample on upstream's item pages.
    - The opened products are included if the observation mode marks them in results. The order of choices and the session id are included
      only in the mode "url", whose addresses contain them.
    - The counters of actions are left out: nothing reads them.
"""

from __future__ import annotations

from empg_gym.env import KeyPart
from empg_gym.envs.webshop.page import PageKind
from empg_gym.envs.webshop.reward import Reward
from empg_gym.envs.webshop.session import SessionState

_MARKS_OPENED = ("text_rich", "html")
"""Observation modes that show which products have been opened."""


def canonical_state(state: SessionState, *, name: str, observation: str, upstream: bool) -> KeyPart:
    """Return the state of a session as nested tuples.

    Args:
        state: the session's state.
        name: its session id.
        observation: observation mode.
        upstream: whether the session behaves as upstream's.
    """
    over = state.kind is PageKind.DONE
    in_addresses = observation == "url"
    return (
        state.kind.value,
        None if over else (state.keywords, state.page),
        None if over or (upstream and state.kind is not PageKind.RESULTS) else state.results,
        state.asin,
        state.options if in_addresses else tuple(sorted(state.options)),
        None if state.sub is None else state.sub.value,
        tuple(sorted(state.asins)) if observation in _MARKS_OPENED and (upstream or not over) else None,
        None if state.outcome is None else _purchase(state.outcome),
        name if in_addresses else None,
    )


def _purchase(outcome: Reward) -> KeyPart:
    return outcome.total, tuple(outcome.details().items())
