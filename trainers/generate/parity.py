"""The parity check: after weights were copied to a generator, a few of its tokens must have the training model's log-probabilities.

Rules:
    - The check runs after every copy, for every backend that does not share the trained model's tensors. It uses the backend as a rollout
      does (sessions, chat template, sampling), so that it also covers the temperature and the ids.
    - What is compared is the mean of |log pi_generator - log pi_train| over `SESSIONS` responses of at most `TOKENS` tokens. The tolerance
      depends on the number type of the generator's weights: rounding to bfloat16 moves a log-probability by some hundredths of a nat.
    - The check finds weights that did not arrive or arrived in the wrong place. In bfloat16 it can't find weights that are stale by one
      small update; `rollout/logprob_gap_mean` shows such a drift over the steps.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from empg_gym.errors import TrainingError
from empg_gym.rollout import run_sync
from empg_gym.trainers.data.rows import TokenRow
from empg_gym.trajectory import Completion

if TYPE_CHECKING:
    from empg_gym.agents.base import Message
    from empg_gym.trainers.generate.base import Generator

SESSIONS = 4
"""Responses that are compared."""
TOKENS = 8
"""Maximum length of each of them, in tokens."""
MESSAGES: Sequence[Message] = ({"role": "user", "content": "You are in a room with a desk, a shelf and a closed door. What do you do?"},)
"""The prompt of the check."""


def tolerance(dtype: torch.dtype) -> float:
    """Return the largest mean difference of log-probabilities, in nats, for weights of a number type."""
    return {torch.float32: 5e-3, torch.float16: 5e-2}.get(dtype, 2e-1)


def check_parity(generator: Generator, score: Callable[[Sequence[TokenRow]], torch.Tensor], version: int) -> float:
    """Compare a few tokens of a generator with the training model, and return the mean difference of log-probabilities, in nats.

    Args:
        generator: with the sampling temperature of training, and responses of at most `TOKENS` tokens.
        score: returns the training model's log-probabilities of the generated tokens of rows.
        version: of the weights.

    Raises:
        TrainingError: the difference is above the tolerance.
    """

    async def respond() -> list[Completion]:
        sessions = [generator.session(None, seed) for seed in range(SESSIONS)]
        try:
            return await asyncio.gather(*(session.act(MESSAGES) for session in sessions))
        finally:
            for session in sessions:
                session.close()

    completions = run_sync(respond())
    trained = score([_row(completion) for completion in completions]).double().numpy()
    given = np.concatenate([completion.logprobs for completion in completions if completion.logprobs is not None])
    if given.shape != trained.shape:
        raise TrainingError(
            f"the generator returned {len(given)} log-probabilities for {len(trained)} tokens; expected one per generated token: check the "
            "generator backend (rollout.backend)"
        )
    difference = float(np.abs(given - trained).mean())
    allowed = tolerance(generator.dtype)
    if not difference <= allowed:
        name = str(generator.dtype).removeprefix("torch.")
        raise TrainingError(
            f"the generator does not have the training model's weights (version {version}): expected log-probabilities that differ by at "
            f"most {allowed:g} nats on average ({name}), received {difference:.3g} over {len(given)} tokens; the backend does not support "
            'this model or its options, so use rollout.backend = "hf", or see the traps in docs/generation.md, then continue with --resume'
        )
    return difference


def _row(completion: Completion) -> TokenRow:
    assert completion.prompt_token_ids is not None and completion.token_ids is not None
    prompt, response = len(completion.prompt_token_ids), len(completion.token_ids)
    ids = np.concatenate([completion.prompt_token_ids, completion.token_ids]).astype(np.int64)
    generated = torch.arange(prompt + response) >= prompt
    return TokenRow(ids=torch.from_numpy(ids), generated=generated, step=torch.zeros(prompt + response, dtype=torch.long), trajectory=0)
