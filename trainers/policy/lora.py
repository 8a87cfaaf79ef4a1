"""LoRA: low-rank adapters on the linear layers of a frozen model, through `peft`.

    y = W x + alpha / rank * B A x            Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021

Rules:
    - Only A and B are trained. They are float32; W has the number type of the forward pass, to which A and B are cast where they are used.
    - B starts at 0, so that the adapted model equals the base model bit for bit. A is drawn from the seed alone. There is no dropout: the
      trained policy is the one that generated the episodes.
    - Adapters are injected into the model: every module that has a model continues using it by the same methods. `plain_parameters` returns
      the merged weights W + alpha / rank * B A under the names of the plain model, one layer at a time.
    - On disk an adapter is a `peft` folder (`adapter_config.json`, `adapter_model.safetensors`), for `PeftModel.from_pretrained`.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from empg_gym.errors import ConfigError, DataError, nearest, require
from empg_gym.trainers.config.sections import LoraConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ADAPTER = "adapter"
"""Folder of the adapter in a checkpoint."""
ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_NAME = "default"
_PREFIX = "base_model.model."
"""Before every name in the file of a `peft` adapter."""


def add_adapter(model: Any, config: LoraConfig, *, seed: int = 0, base: str | None = None) -> PreTrainedModel:
    """Freeze a model, inject new adapters into it and return it.

    Args:
        model: the base model; its number type is kept.
        config: rank, scale and layers.
        seed: seed of A.
        base: name or folder of the base model, for those who load the saved adapter.

    Raises:
        MissingDependencyError: `peft` is not installed.
        ConfigError: the model has no linear layer of a configured name.
    """
    peft: Any = require("peft", "lora", "model.lora")
    model.requires_grad_(False)
    linear = _linear_layers(model)
    targets = linear if config.targets is None else list(config.targets)
    unknown = [name for name in targets if name not in linear]
    if unknown:
        raise ConfigError(f"model.lora.targets: the model has no linear layer {unknown[0]!r}; {nearest(unknown[0], linear)}")
    settings = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        target_modules=targets,
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
        base_model_name_or_path=base,
    )
    peft.inject_adapter_in_model(settings, model, _NAME)
    generator = torch.Generator().manual_seed(seed)
    for layer in _layers(model).values():
        layer.cast_input_dtype_enabled = False
        for part in (layer.lora_A, layer.lora_B):
            part[_NAME] = _Float32Linear(part[_NAME], layer.weight.device)
        initial = torch.empty(layer.lora_A[_NAME].weight.shape)
        nn.init.kaiming_uniform_(initial, a=math.sqrt(5), generator=generator)
        layer.lora_A[_NAME].weight.data.copy_(initial)
    adapted: PreTrainedModel = model.eval()
    return adapted


def is_adapted(model: nn.Module) -> bool:
    """Whether the model has adapters."""
    return hasattr(model, "peft_config")


def adapter_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights of the adapters by their names in a `peft` file; they share storage with the model."""
    own = ((name, item) for name, item in model.named_parameters() if _is_adapter(name))
    return {_PREFIX + name.replace(f".{_NAME}.", "."): item.detach() for name, item in own}


@torch.no_grad()
def load_adapter_state(model: nn.Module, state: Mapping[str, Tensor], source: str = "the adapter") -> None:
    """Set the weights of the adapters.

    Raises:
        DataError: they don't fit the model's adapters; `source` names them in the error.
    """
    own = adapter_state(model)
    if own.keys() != state.keys() or any(own[name].shape != item.shape for name, item in state.items()):
        raise DataError(f"{source} does not fit the model: expected LoRA weights of the layers and the rank in [model.lora]")
    for name, item in state.items():
        own[name].copy_(item)


@torch.no_grad()
def plain_parameters(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the parameters under the names of the plain model, those of adapted layers merged, one layer at a time.

    A merged weight is a new tensor, summed in float32 and rounded once; every other one is the model's own.
    """
    if not is_adapted(model):
        yield from model.named_parameters()
        return
    layers = _layers(model)
    for name, parameter in model.named_parameters():
        owner, _, leaf = name.rpartition(".base_layer.")
        if owner and leaf == "weight":
            merged = parameter.float() + layers[owner].get_delta_weight(_NAME).float()
            yield f"{owner}.weight", merged.to(parameter.dtype)
        elif not _is_adapter(name):
            yield name.replace(".base_layer.", "."), parameter


def save_adapter(model: Any, folder: Path) -> None:
    """Write the adapters of a model as a `peft` folder."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    settings = copy.copy(model.peft_config[_NAME])
    settings.inference_mode = True
    settings.target_modules = sorted(settings.target_modules)
    settings.save_pretrained(str(folder))
    save_file({name: item.cpu().contiguous() for name, item in adapter_state(model).items()}, folder / ADAPTER_WEIGHTS, {"format": "pt"})


def read_adapter(folder: Path) -> dict[str, Tensor]:
    """Read the weights of a `peft` folder.

    Raises:
        DataError: they are missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(folder / ADAPTER_WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{folder / ADAPTER_WEIGHTS} is missing or damaged: {str(error).splitlines()[0]}") from error


def base_of_adapter(folder: Path) -> str:
    """Return the name or folder of the model that a `peft` folder adapts.

    Raises:
        ConfigError: its configuration is damaged or names no model.
    """
    try:
        base = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError):
        base = None
    if not isinstance(base, str) or not base:
        raise ConfigError(f"{folder / ADAPTER_CONFIG} does not name the base model (base_model_name_or_path)")
    return base


def merge_adapter(model: Any, folder: Path) -> PreTrainedModel:
    """Add the adapter of a `peft` folder to the weights of a plain model and return it.

    Raises:
        MissingDependencyError: `peft` is not installed.
        ConfigError: the adapter does not fit the model.
    """
    peft: Any = require("peft", "lora", "an adapter")
    try:
        merged: PreTrainedModel = peft.PeftModel.from_pretrained(model, str(folder)).merge_and_unload().eval()
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ConfigError(
            f"{folder} does not hold an adapter of {model.config.name_or_path!r}: {str(error).splitlines()[0][:200]}"
        ) from error
    return merged


@contextmanager
def adapter_weights(model: nn.Module, state: Mapping[str, Tensor]) -> Iterator[None]:
    """Give the adapters other weights within the context; all B = 0 switches them off, which is exact and costs nothing."""
    off = not any(item.any() for name, item in state.items() if ".lora_B." in name)
    own = adapter_state(model)
    trained = {name: item.clone() for name, item in own.items()} if not off else {}
    try:
        if off:
            _enable(model, False)
        else:
            load_adapter_state(model, state)
        yield
    finally:
        if off:
            _enable(model, True)
        else:
            load_adapter_state(model, trained)


def _enable(model: nn.Module, enabled: bool) -> None:
    for layer in _layers(model).values():
        layer.enable_adapters(enabled)


def _is_adapter(name: str) -> bool:
    return ".lora_A." in name or ".lora_B." in name


def _linear_layers(model: Any) -> list[str]:
    """Return the last parts of the names of all linear layers but the output layer, in the model's order."""
    from transformers.pytorch_utils import Conv1D  # the linear layer of GPT-2

    head = model.get_output_embeddings()
    found = (name for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D) and module is not head)
    return list(dict.fromkeys(name.rpartition(".")[2] for name in found))


def _layers(model: nn.Module) -> dict[str, Any]:
    """Return the adapted layers by name."""
    from peft.tuners.lora import LoraLayer

    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}


class _Float32Linear(nn.Linear):
    """A or B: float32, cast to the number type of its input."""

    def __init__(self, like: nn.Linear, device: torch.device) -> None:
        super().__init__(like.in_features, like.out_features, bias=False, device=device, dtype=torch.float32)
        nn.init.zeros_(self.weight)

    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.linear(input, self.weight.to(input.dtype))
