"""Generator backends by name: `hf`, `vllm`, `vllm-server`, or a user's own as `module:function`.

A backend is a function `(model, tokenizer, settings) -> Generator`; its keyword-only parameters are the options that
`rollout.backend_options` may set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from empg_gym.trainers.generate.base import GenerationSettings, Generator
from empg_gym.trainers.registry import Registry

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BackendFunction = Callable[..., Generator]
"""`(model, tokenizer, GenerationSettings) -> Generator`, with its options as keyword-only parameters."""


def _generator(result: object, *given: object) -> str | None:
    return None if isinstance(result, Generator) else f"a Generator, not {type(result).__name__}"


BACKENDS: Registry[BackendFunction] = Registry("generator backend", _generator)


def build_generator(
    name: str,
    options: Mapping[str, Any],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    settings: GenerationSettings,
) -> Generator:
    """Build the generator that a configuration names.

    Args:
        name: a registered backend, or `module:function`.
        options: its keyword-only parameters.
        model: the model to sample from; the backend copies or shares its weights.
        tokenizer: with a chat template.
        settings: sampling and limits.

    Raises:
        ConfigError: there is no such backend or option, or the function does not return a generator.
    """
    generator: Generator = BACKENDS.bind(name, options)(model, tokenizer, settings)
    return generator


@BACKENDS.register("hf")
def hf(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    settings: GenerationSettings,
    *,
    max_read_tokens: int = 16_384,
    cache_gb: float | None = None,
    cache_share: float = 0.6,
) -> Generator:
    """Build the in-process engine on `transformers`, the reference for the other backends.

    Args:
        model: the model to sample from.
        tokenizer: with a chat template.
        settings: sampling and limits.
        max_read_tokens: prompt tokens, padding included, in one forward pass.
        cache_gb: memory for keys and values, in GB; None uses `cache_share`.
        cache_share: memory for keys and values as a share of the memory that is free when the cache is first filled.
    """
    from empg_gym.trainers.generate.hf import HFGenerator

    sampling = settings.sampling
    return HFGenerator(
        model,
        tokenizer,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        max_response_tokens=settings.max_response_tokens,
        max_row_tokens=settings.max_row_tokens,
        max_batch=settings.max_batch,
        max_read_tokens=max_read_tokens,
        dtype=settings.dtype,
        cache_gb=cache_gb,
        cache_share=cache_share,
    )


BACKENDS.register_entry_point("vllm", "empg_gym.trainers.generate.vllm_engine:VLLMEngineGenerator")
BACKENDS.register_entry_point("vllm-server", "empg_gym.trainers.generate.vllm_server:VLLMServerGenerator")
