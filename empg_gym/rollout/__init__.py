"""Rollouts: episodes of an agent in an environment, many at once, with limits and retries."""

from empg_gym.rollout.backends import BACKENDS, EnvBackend
from empg_gym.rollout.episode import EpisodeSpec, run_episode
from empg_gym.rollout.limits import Limits
from empg_gym.rollout.runner import Rollout, run_sync

__all__ = ["BACKENDS", "EnvBackend", "EpisodeSpec", "Limits", "Rollout", "run_episode", "run_sync"]
