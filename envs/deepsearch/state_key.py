"""The canonical form of an episode's state, for `TextEnv.state_key`.

Rules:
    - While the episode runs, a state is the set of answered queries, which decides whether a query is searched or met with a notice; the
      searches that are left, where they are limited; and what the reward carries over from the steps so far (`Reward.progress`).
    - Once it has ended, a state is the verdict as `info` shows it. The reward has been paid and counts no longer.
    - Texts shown, the passages seen (only the expert reads them) and the kind of the last step don't count. A visited page leaves no trace,
      unless the reward counts it.
"""

from __future__ import annotations

from empg_gym.env import KeyPart
from empg_gym.envs.deepsearch.episode import Episode


def canonical_state(episode: Episode, *, max_searches: int | None, progress: KeyPart) -> KeyPart:
    """Return the state of an episode as nested tuples.

    Args:
        episode: the episode's state.
        max_searches: queries answered per episode; None = no limit.
        progress: the reward's part of the state; see `Reward.progress`.
    """
    searches_left = None if max_searches is None else max_searches - len(episode.asked)
    if (verdict := episode.verdict) is not None:
        return searches_left, (verdict.score, verdict.success, verdict.scored_by)
    return searches_left, tuple(sorted(set(episode.asked))), progress
