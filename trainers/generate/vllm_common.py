"""What the backends `vllm` and `vllm-server` share: sessions, limits, sampling parameters and the model folder that vLLM reads.

Rules:
    - vLLM receives token ids and returns token ids with their log-probabilities; nothing is encoded again.
    - Each response has a seed, drawn from its session: it does not depend on the other requests (up to rounding).
    - Log-probabilities are those of the sampling distribution (`logprobs_mode = "processed_logprobs"`); vLLM's default ignores the
      temperature. Every parameter of the sampling is sent: else vLLM takes defaults from the model's `generation_config.json` (a repetition
      penalty, top-k) without notice.
    - Entropies are not requested: vLLM returns the full vocabulary only at a fraction of its speed. The trainer's scoring pass has them.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from empg_gym.trainers.generate.base import GenerationSettings, Response, Usage
from empg_gym.trainers.generate.chat import ChatCodec
from empg_gym.trainers.generate.sampling import Sampling
from empg_gym.trainers.generate.session import Prompt, RowSession, row_limits, stop_ids

if TYPE_CHECKING:
    from empg_gym.agent_env import LLMAgentEnv

Self = TypeVar("Self", bound="VLLMGenerator")


class VLLMGenerator(ABC):
    """A generator whose rows have no place of their own: vLLM's prefix cache finds what it read before.

    Args:
        model: the model to sample from.
        tokenizer: with a chat template.
        settings: sampling and limits.
        dtype: number type of vLLM's weights, "float32"; None uses that of `settings`, or the model's.
    """

    shares_weights = False

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, settings: GenerationSettings, *, dtype: str | None = None
    ) -> None:
        self.codec = ChatCodec(tokenizer)
        self.policy_version = 0
        self.usage = Usage()
        self.max_response_tokens, self.max_row_tokens = row_limits(model, settings.max_response_tokens, settings.max_row_tokens)
        self.dtype: torch.dtype = (settings.dtype or model.dtype) if dtype is None else getattr(torch, dtype)
        self._sampling = settings.sampling
        self._stop_ids = stop_ids(model, tokenizer, self.codec)
        self._siblings: list[VLLMGenerator] = [self]
        """This generator and those of `with_sampling`: they share the engine and its weights."""

    def session(self, env: LLMAgentEnv | None, seed: int) -> RowSession[None]:
        """Return a session for one episode; that of a branched episode continues its row."""
        return RowSession(self, seed, () if env is None else env.path)

    def with_sampling(self: Self, sampling: Sampling, max_response_tokens: int | None = None) -> Self:
        """Return a generator on the same engine that draws tokens with `sampling`."""
        sibling = copy.copy(self)
        sibling._sampling, sibling.usage = sampling, Usage()
        if max_response_tokens is not None:
            sibling.max_response_tokens = min(max_response_tokens, self.max_response_tokens)
        self._siblings.append(sibling)
        return sibling

    @torch.no_grad()
    def update_weights(self, named_tensors: Iterable[tuple[str, torch.Tensor]], version: int) -> None:
        """Use new weights, and discard all keys and values of the old ones.

        Raises:
            ConfigError: vLLM's model lacks a parameter of that name.
            TrainingError: the engine has failed.
        """
        self._load(named_tensors, version)
        for sibling in self._siblings:
            sibling.policy_version = version

    def open_row(self, ids: Sequence[int]) -> None:
        """Do nothing: each prompt has the whole row."""
        return

    def release(self, place: None) -> None:
        """Do nothing: a request ends with its response."""
        return

    async def respond(self, place: None, prompt: Prompt) -> Response:
        """Return the response to a prompt."""
        ids, logprobs = await self._generate(prompt.row_ids, self._parameters(prompt))
        self.usage.prompt_tokens += len(prompt.row_ids)
        self.usage.response_tokens += len(ids)
        self.usage.responses += 1
        return Response(
            ids=torch.tensor(ids, dtype=torch.int32).numpy(),
            logprobs=torch.tensor(logprobs, dtype=torch.float32).numpy(),
            entropies=None,
            stopped=ids[-1] in self._stop_ids,
        )

    def _parameters(self, prompt: Prompt) -> dict[str, Any]:
        """Return vLLM's sampling parameters, by the names that its engine and its server have in common."""
        return {
            "temperature": self._sampling.temperature,
            "top_p": self._sampling.top_p,
            "top_k": self._sampling.top_k,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "seed": int(prompt.rng.integers(2**62)),
            "max_tokens": prompt.limit,
            "stop_token_ids": sorted(self._stop_ids),
            "ignore_eos": True,
            "skip_special_tokens": False,
            "logprobs": 0,
        }

    @abstractmethod
    async def _generate(self, ids: list[int], parameters: dict[str, Any]) -> tuple[list[int], list[float]]:
        """Return the generated ids, at least one, and their log-probabilities."""

    @abstractmethod
    def _load(self, named_tensors: Iterable[tuple[str, torch.Tensor]], version: int) -> None:
        """Pass the weights to the engine and drop its cache."""

    @abstractmethod
    def close(self) -> None:
        """Release memory and processes."""


def write_config(model: PreTrainedModel, folder: Path) -> None:
    """Write the configuration from which vLLM builds its model."""
    config = copy.deepcopy(model.config)
    config.architectures = [type(model).__name__]
    config.save_pretrained(folder)


def dtype_name(dtype: torch.dtype) -> str:
    """Return the name of a number type as vLLM has it: "float32"."""
    return str(dtype).removeprefix("torch.")
