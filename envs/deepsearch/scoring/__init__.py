"""The rewards, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from empg_gym.envs.deepsearch.scoring.answers import F1, CoverMatch, ExactMatch
from empg_gym.envs.deepsearch.scoring.arpo import ArpoReward
from empg_gym.envs.deepsearch.scoring.base import Reward, StepRecord, Transcript, Verdict
from empg_gym.envs.deepsearch.scoring.search_r1 import SearchR1Format
from empg_gym.errors import ConfigError, nearest

REWARDS: dict[str, type[Reward]] = {cls.name: cls for cls in (ExactMatch, F1, CoverMatch, SearchR1Format, ArpoReward)}
"""Name to class, except `llm_judge`, which needs an endpoint."""


def get_reward(reward: str | Reward, *, protocol: str, judge: Mapping[str, Any] | None = None) -> Reward:
    """Return the reward with this name, or `reward` itself if it is an instance.

    Args:
        reward: em, f1, cover_em, search_r1_format, arpo or llm_judge.
        protocol: name of the environment's protocol; a reward that reads tags must support it.
        judge: fields of `scoring.judge.JudgeConfig`, for llm_judge.

    Raises:
        ConfigError: the name is unknown, the reward can't read the protocol, or `judge` is missing or not applicable.
    """
    if isinstance(reward, str) and reward == "llm_judge":
        return _judge(judge)
    if judge is not None:
        raise ConfigError("judge applies to reward='llm_judge' only; omit it, or set reward='llm_judge'")
    if isinstance(reward, str):
        if reward not in REWARDS:
            raise ConfigError(f"unknown reward {reward!r}; {nearest(reward, [*REWARDS, 'llm_judge'])}")
        reward = REWARDS[reward]()
    if reward.protocols and protocol not in reward.protocols:
        raise ConfigError(f"reward {reward.name!r} reads the tags of protocol {' or '.join(reward.protocols)}, not of {protocol!r}")
    return reward


def _judge(judge: Mapping[str, Any] | None) -> Reward:
    from empg_gym.envs.deepsearch.scoring.judge import JudgeConfig, LLMJudge

    if judge is None:
        raise ConfigError("reward='llm_judge' needs judge={'base_url': 'http://…/v1', 'model': '…'}")
    known = set(JudgeConfig.__dataclass_fields__)
    unknown = set(judge) - known
    if unknown:
        raise ConfigError(f"unknown judge setting {min(unknown)!r}; {nearest(min(unknown), known)}")
    missing = {"base_url", "model"} - set(judge)
    if missing:
        raise ConfigError(f"the judge's {min(missing)} is missing")
    return LLMJudge(JudgeConfig(**judge))


__all__ = ["REWARDS", "Reward", "StepRecord", "Transcript", "Verdict", "get_reward"]
