"""`HFGenerator`: responses of a Hugging Face model for many episodes at once, in this process.

Rules:
    - Each session keeps its token row and its keys and values across the steps of the episode; a step reads only the new tokens.
    - Sessions are batched continuously by `empg_gym.trainers.generate.engine`; there is no barrier between episodes.
    - Each response consumes `max_response_tokens` uniform numbers of its session, whatever its length, so that an episode does not depend
      on the others (see `empg_gym.trainers.generate.session`).

When the weights change, call `update_weights(named_tensors, version)`. Keys and values of the old weights are dropped, running episodes
are read again with the new ones, and a response in progress continues from its tokens so far (under the version that started it).
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from empg_gym.errors import ConfigError
from empg_gym.trainers.generate.base import Response, Usage
from empg_gym.trainers.generate.cache import block_bytes
from empg_gym.trainers.generate.chat import ChatCodec
from empg_gym.trainers.generate.engine import Engine
from empg_gym.trainers.generate.memory import budget_bytes, check_budget
from empg_gym.trainers.generate.rows import Request, Row
from empg_gym.trainers.generate.sampling import Sampling
from empg_gym.trainers.generate.session import Prompt, RowSession, row_limits, stop_ids
from empg_gym.trainers.generate.weights import cast_weights

if TYPE_CHECKING:
    from empg_gym.agent_env import LLMAgentEnv

_SETTLE = 5
"""Iterations of the event loop after which the episodes have submitted their next prompt (unless they wait for I/O)."""


class HFGenerator:
    """A `Generator` on `transformers`.

    Args:
        model: a causal language model with full attention in every layer, loaded with SDPA or eager attention.
        tokenizer: with a chat template.
        temperature: divides the logits; 0 is greedy (log-probabilities and entropies are then those of temperature 1).
        top_p: 1 is off. See `empg_gym.trainers.generate.sampling`.
        top_k: 0 is off.
        max_response_tokens: maximum response length, in tokens.
        max_row_tokens: maximum row length (prompts and responses), in tokens; None uses the model's number of positions.
        max_batch: sessions that may have a place in the cache at the same time; others wait.
        max_read_tokens: prompt tokens, padding included, in one forward pass.
        policy_version: of the current weights.
        dtype: number type for generation; if it differs from the model's, the generator uses a copy in that type, which
            `update_weights` keeps up to date.
        cache_gb: memory for keys and values, in GB; None uses `cache_share`.
        cache_share: memory for keys and values as a share of the memory that is free when the cache is first filled.

    Raises:
        ConfigError: a layer of the model does not attend to the whole row, its positions depend on the row's length, its attention
            implementation is not supported, or a limit or a budget is out of range.

    Example:
        >>> rollout = Rollout(make_env, HFGenerator(model, tokenizer))
        >>> trajectories = rollout.run([EpisodeSpec(seed=seed) for seed in range(128)])
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        max_response_tokens: int = 64,
        max_row_tokens: int | None = None,
        max_batch: int = 256,
        max_read_tokens: int = 16_384,
        policy_version: int = 0,
        dtype: torch.dtype | None = None,
        cache_gb: float | None = None,
        cache_share: float = 0.6,
    ) -> None:
        for name, value in (("max_batch", max_batch), ("max_read_tokens", max_read_tokens)):
            if value < 1:
                raise ConfigError(f"{name} must be at least 1, not {value}")
        check_budget(cache_gb, cache_share)
        self._budget = cache_gb, cache_share
        self.max_response_tokens, self.max_row_tokens = row_limits(model, max_response_tokens, max_row_tokens)
        self.shares_weights = dtype is None or dtype == model.dtype
        self.model = model if dtype is None or self.shares_weights else cast_weights(copy.deepcopy(model), dtype)
        self.codec = ChatCodec(tokenizer)
        self.policy_version = policy_version
        _check(model.config.get_text_config(), self.max_row_tokens)
        self._stop_ids = stop_ids(model, tokenizer, self.codec)
        self._max_batch, self._max_read_tokens = max_batch, max_read_tokens
        self._engine = self._new_engine(Sampling(temperature=temperature, top_p=top_p, top_k=top_k))
        self._siblings = [self]
        """This generator and those of `with_sampling`: they share the weights."""
        self._driver: asyncio.Task[None] | None = None

    @property
    def usage(self) -> Usage:
        """Passes, tokens and seconds so far."""
        return self._engine.usage

    @property
    def live(self) -> int:
        """Sessions with a place in the cache."""
        return self._engine.live

    @property
    def dtype(self) -> torch.dtype:
        """Number type of the weights."""
        return self.model.dtype

    def session(self, env: LLMAgentEnv | None, seed: int) -> RowSession[Row]:
        """Return a session for one episode; that of a branched episode continues its row."""
        return RowSession(self, seed, () if env is None else env.path)

    def with_sampling(self, sampling: Sampling, max_response_tokens: int | None = None) -> HFGenerator:
        """Return a generator with the same weights and row limit that draws tokens with `sampling`."""
        sibling = copy.copy(self)
        if max_response_tokens is not None:
            sibling.max_response_tokens = min(max_response_tokens, self.max_response_tokens)
        sibling._engine, sibling._driver = sibling._new_engine(sampling), None
        self._siblings.append(sibling)
        return sibling

    @torch.no_grad()
    def update_weights(self, named_tensors: Iterable[tuple[str, torch.Tensor]], version: int) -> None:
        """Use new weights; see the module docstring.

        Raises:
            ConfigError: the model lacks a parameter of that name.
        """
        own = dict(self.model.named_parameters())
        for name, tensor in named_tensors:
            if name not in own:
                raise ConfigError(f"update_weights got {name!r}, a parameter that the generator's model lacks")
            if own[name].data_ptr() != tensor.data_ptr():
                own[name].copy_(tensor)
        for sibling in self._siblings:
            sibling.policy_version = version
            sibling._engine.forget()

    def close(self) -> None:
        """Do nothing: no resource outlives the sessions."""

    def open_row(self, ids: Sequence[int]) -> Row:
        """Return a row that begins with `ids`."""
        return Row(ids=list(ids))

    async def respond(self, row: Row, prompt: Prompt) -> Response:
        """Append a prompt to the row and return the response to it."""
        uniforms = prompt.rng.random(self.max_response_tokens)[: prompt.limit]
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Response] = loop.create_future()

        def settle(outcome: Response | BaseException) -> None:
            if future.done():
                return
            if isinstance(outcome, Response):
                future.set_result(outcome)
            elif isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.cancel()

        self._engine.submit(row, prompt.new_ids, new_row=prompt.new_row, request=Request(uniforms=uniforms, on_done=settle))
        if self._driver is None or self._driver.done() or self._driver.get_loop() is not loop:
            self._driver = loop.create_task(self._drive())
        return await future

    def release(self, row: Row) -> None:
        """Release the row's place in the cache and drop its pending request, if any."""
        self._engine.release(row)

    def _new_engine(self, sampling: Sampling) -> Engine:
        return Engine(
            self.model,
            sampling=sampling,
            stop_ids=sorted(self._stop_ids),
            max_response_tokens=self.max_response_tokens,
            max_batch=self._max_batch,
            max_read_tokens=self._max_read_tokens,
            budget=self._cache_blocks,
        )

    def _cache_blocks(self) -> int:
        """Return the maximum number of blocks of the cache."""
        return budget_bytes(self.model.device, *self._budget) // block_bytes(self.model.config, self.model.dtype)

    async def _drive(self) -> None:
        """Run the engine until no session waits. Between passes the event loop runs, so that episodes with a response take their step."""
        training = self.model.training
        self.model.eval()
        iterations = _SETTLE
        try:
            while True:
                for _ in range(iterations):
                    await asyncio.sleep(0)
                if not self._engine.busy:
                    return
                iterations = _SETTLE if self._engine.step() else 1
        except BaseException as error:
            self._engine.fail(error)
            if not isinstance(error, Exception):
                raise
        finally:
            self.model.train(training)


def _check(config: Any, max_row_tokens: int | None) -> None:
    """Check that one causal mask is right for every layer."""
    kind = config._attn_implementation
    if kind not in ("sdpa", "sdpa_rows", "eager"):  # "sdpa_rows": "sdpa" except for the trainer's packed rows
        raise ConfigError(
            f"HFGenerator needs the attention implementation 'sdpa' or 'eager', not {kind!r}: load the model with one of these"
        )
    window = getattr(config, "sliding_window", None)
    everywhere = window is not None and getattr(config, "use_sliding_window", True)  # where the config names no layers
    layers = set(getattr(config, "layer_types", None) or ["sliding_attention" if everywhere else "full_attention"])
    if layers - {"full_attention", "sliding_attention"}:
        raise ConfigError(f"HFGenerator supports models with attention in every layer; this one has {', '.join(sorted(layers))}")
    if "sliding_attention" in layers and window is not None and (max_row_tokens is None or max_row_tokens > window):
        raise ConfigError(f"some layers see only the last {window} tokens: set max_row_tokens to at most {window}")
    fixed = _fixed_positions(config)
    if fixed is not None and (max_row_tokens is None or max_row_tokens > fixed):
        raise ConfigError(
            f"this model changes the positions of all tokens in rows longer than {fixed} tokens: set max_row_tokens to at most {fixed}"
        )


def _fixed_positions(config: Any) -> int | None:
    """Return the row length above which rotary frequencies depend on the longest row of the batch, so that cached keys become stale."""
    given = getattr(config, "rope_parameters", None) or {}
    for parameters in (given, *(part for part in given.values() if isinstance(part, dict))):
        if parameters.get("rope_type") in ("longrope", "dynamic"):
            return int(parameters.get("original_max_position_embeddings") or config.max_position_embeddings)
    return None
