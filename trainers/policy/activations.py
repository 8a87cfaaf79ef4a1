"""What a model's forward pass saves for the backward pass, measured on tensors without memory, from the model's configuration alone.

Rules:
    - The forward pass is that of `Scorer` on one row, under autocast where weights and forward pass differ in type. The tensors that
      autograd saves are counted once each; weights are left out, their copies under autocast counted apart.
    - Passes of models with one and with two layers, over two lengths, give the bytes per layer and per token; layers are taken as equal.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from empg_gym.trainers.config.sections import LoraConfig

_LENGTHS = 32, 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Sizes of a model and of what its forward pass saves."""

    parameters: int
    """Of the model, without adapters."""
    trained: int
    """Trained parameters: all, or those of the adapters."""
    matrices: int
    """Trained parameters in matrices of the blocks (`empg_gym.trainers.policy.optimizers.Trainable.matrices`)."""
    vocabulary: int
    width: int
    """Features of the last hidden state."""
    layers: int
    saved_per_layer: float
    """Bytes that a layer saves per token."""
    boundary: float
    """Bytes of the hidden state between two layers, per token."""
    outside: float
    """Bytes saved outside the layers, per token."""
    weight_copies: float
    """Bytes of the weights' copies in the type of the forward pass."""


def measure(config: Any, weights: torch.dtype, compute: torch.dtype, lora: LoraConfig | None = None) -> Footprint:
    """Return the sizes of the model that a Hugging Face configuration describes.

    Args:
        config: of a causal language model.
        weights: number type of the weights.
        compute: number type of the forward pass.
        lora: adapters; the weights are then frozen and have the type of the forward pass.
    """
    described = {name: value for name, value in json.loads(config.to_json_string(use_diff=False)).items() if name != "_name_or_path"}
    kind: Any = type(config)
    return _measure(json.dumps(described), kind, weights, compute, None if lora is None else lora.model_dump_json())


@lru_cache(maxsize=32)
def _measure(described: str, kind: Any, weights: torch.dtype, compute: torch.dtype, adapters: str | None) -> Footprint:
    config = kind.from_dict(json.loads(described))
    lora = None if adapters is None else LoraConfig.model_validate_json(adapters)
    weights = compute if lora is not None else weights
    (one, short), (_, long) = (_saved(_with_layers(config, 1), length, weights, compute, lora) for length in _LENGTHS)
    (_, two_short), (_, two_long) = (_saved(_with_layers(config, 2), length, weights, compute, lora) for length in _LENGTHS)
    tokens = _LENGTHS[1] - _LENGTHS[0]
    slope, slope_two = (long - short) / tokens, (two_long - two_short) / tokens
    constant, constant_two = short - slope * _LENGTHS[0], two_short - slope_two * _LENGTHS[0]
    text = config.get_text_config()
    layers = text.num_hidden_layers
    parameters, matrices, adapter = _count(config, lora)
    return Footprint(
        parameters=parameters,
        trained=parameters if lora is None else adapter,
        matrices=matrices if lora is None else adapter,
        vocabulary=text.vocab_size,
        width=text.hidden_size,
        layers=layers,
        saved_per_layer=slope_two - slope,
        boundary=float(text.hidden_size * one.itemsize),
        outside=max(0.0, 2 * slope - slope_two),
        weight_copies=max(0.0, constant + (layers - 1) * (constant_two - constant)) if weights is not compute else 0.0,
    )


def _with_layers(config: Any, count: int) -> Any:
    small = copy.deepcopy(config)
    text = small.get_text_config()
    text.num_hidden_layers = count
    if getattr(text, "layer_types", None):
        text.layer_types = (list(text.layer_types) * count)[:count]
    text.vocab_size = 64
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        setattr(text, name, None)
    return small


def _build(config: Any, dtype: torch.dtype, lora: LoraConfig | None) -> Any:
    from transformers import AutoModelForCausalLM

    auto: Any = AutoModelForCausalLM
    model = auto.from_config(config, attn_implementation="sdpa", dtype=dtype, trust_remote_code=False).eval()
    if lora is not None:
        model.requires_grad_(False)
        head = model.get_output_embeddings()
        for name, module in list(model.named_modules()):
            last = name.rpartition(".")[2]
            if isinstance(module, nn.Linear) and module is not head and (lora.targets is None or last in lora.targets):
                model.set_submodule(name, _Adapted(module, lora.rank))
    return model


class _Adapted(nn.Module):
    """A linear layer with an adapter, as `peft` computes it; this needs no `peft`."""

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base_layer = base
        self.lora_A = nn.Parameter(torch.empty(rank, base.in_features, dtype=torch.float32, device=base.weight.device))
        self.lora_B = nn.Parameter(torch.empty(base.out_features, rank, dtype=torch.float32, device=base.weight.device))

    def forward(self, given: Tensor) -> Tensor:
        inner = nn.functional.linear(given, self.lora_A.to(given.dtype))
        result: Tensor = self.base_layer(given) + nn.functional.linear(inner, self.lora_B.to(given.dtype)) * 2.0
        return result


def _count(config: Any, lora: LoraConfig | None) -> tuple[int, int, int]:
    """Return the numbers of parameters, of those in matrices of the blocks, and of those of adapters."""
    from empg_gym.trainers.policy.optimizers import Trainable

    with torch.device("meta"):
        model = _build(config, torch.float32, None)
        trained = Trainable.of(model)
        parameters, matrices = sum(item.numel() for item in trained.parameters), sum(item.numel() for item in trained.matrices)
        adapted = (
            0 if lora is None else sum(item.numel() for item in _build(config, torch.float32, lora).parameters() if item.requires_grad)
        )
    return parameters, matrices, adapted


def _saved(config: Any, tokens: int, weights: torch.dtype, compute: torch.dtype, lora: LoraConfig | None) -> tuple[torch.dtype, int]:
    """Return the type of the last hidden state, and the bytes that a pass over a row of `tokens` tokens saves."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = _build(config, weights, lora)
        own = {item.untyped_storage()._cdata for item in (*model.parameters(), *model.buffers())}
        kept: dict[int, Tensor] = {}

        def keep(item: Tensor) -> Tensor:
            if item.untyped_storage()._cdata not in own:
                kept[item.untyped_storage()._cdata] = item
            return item

        ids = torch.zeros(1, tokens, dtype=torch.long)
        saving = torch.autograd.graph.saved_tensors_hooks(keep, lambda item: item)
        with saving, torch.autocast("cpu", dtype=compute if compute.itemsize == 2 else torch.bfloat16, enabled=weights is not compute):
            hidden = model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
        return hidden.dtype, sum(item.untyped_storage().nbytes() for item in kept.values())
