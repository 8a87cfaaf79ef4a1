"""Optimizers, by name (`optimizer.name`): the rule that turns a gradient into an update.

An optimizer is a function `(Trainable, OptimizerConfig, *, options) -> torch.optim.Optimizer`, or a list of them that share the parameters.
The initial learning rate of each parameter group is what the schedule scales; clipping and skipped updates are not its business.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from empg_gym.errors import ConfigError, require
from empg_gym.trainers.config.sections import OptimizerConfig
from empg_gym.trainers.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class Trainable:
    """The trained parameters of a model."""

    parameters: list[nn.Parameter]
    """All, in the model's order."""
    matrices: list[nn.Parameter]
    """The two-dimensional ones of the blocks: neither embeddings nor the output layer. Those of adapters are among them."""
    rest: list[nn.Parameter]
    """The others: embeddings, output layer, norms and biases."""

    @classmethod
    def of(cls, model: Any) -> Trainable:
        """Return the parameters of a language model that require a gradient."""
        outer = [module for module in model.modules() if isinstance(module, nn.Embedding)]
        outer += [head] if (head := model.get_output_embeddings()) is not None else []
        vocabulary = {id(item) for module in outer for item in module.parameters(recurse=False)}
        parameters = [item for item in model.parameters() if item.requires_grad]
        inner = [item.ndim == 2 and id(item) not in vocabulary for item in parameters]
        return cls(
            parameters=parameters,
            matrices=[item for item, matrix in zip(parameters, inner, strict=True) if matrix],
            rest=[item for item, matrix in zip(parameters, inner, strict=True) if not matrix],
        )

    @property
    def on_cuda(self) -> bool:
        """Whether the parameters are on a CUDA device."""
        return self.parameters[0].is_cuda


def _optimizers(result: object, *given: object) -> str | None:
    found = result if isinstance(result, list | tuple) else [result]
    wrong = [item for item in found if not isinstance(item, torch.optim.Optimizer)]
    return f"a torch.optim.Optimizer or a list of them, not {type(wrong[0]).__name__}" if wrong or not found else None


OptimizerFunction = Callable[..., "torch.optim.Optimizer | Sequence[torch.optim.Optimizer]"]
"""`(Trainable, OptimizerConfig, *, options) -> torch.optim.Optimizer | Sequence[torch.optim.Optimizer]`"""
OPTIMIZERS: Registry[OptimizerFunction] = Registry("optimizer", _optimizers)


@OPTIMIZERS.register("adamw")
def adamw(trained: Trainable, config: OptimizerConfig) -> torch.optim.Optimizer:
    """AdamW with float32 states: 8 bytes per parameter."""
    return _adamw(trained.parameters, config)


@OPTIMIZERS.register("adamw_8bit")
def adamw_8bit(trained: Trainable, config: OptimizerConfig, *, paged: bool = False) -> Sequence[torch.optim.Optimizer]:
    """AdamW with block-wise 8-bit states for the blocks' matrices, from `bitsandbytes`: 2 bytes per parameter.

    Embeddings, output layer, norms and biases keep float32 states, as `bitsandbytes` recommends for embeddings: their gradients are sparse
    and uneven. With `paged`, CUDA moves the 8-bit states to the host's memory when the device's is full (on the CPU it changes nothing).
    Source: Dettmers et al., "8-bit Optimizers via Block-wise Quantization", 2022.
    """
    bitsandbytes: Any = require("bitsandbytes", "bitsandbytes", 'optimizer.name = "adamw_8bit"')
    kind = bitsandbytes.optim.PagedAdamW8bit if paged and trained.on_cuda else bitsandbytes.optim.AdamW8bit
    settings = {"lr": config.lr, "betas": (config.beta1, config.beta2), "weight_decay": config.weight_decay}
    return [*([kind(trained.matrices, **settings)] if trained.matrices else []), *_adamw_of(trained.rest, config)]


@OPTIMIZERS.register("muon")
def muon(
    trained: Trainable,
    config: OptimizerConfig,
    *,
    lr: float | None = None,
    momentum: float = 0.95,
    nesterov: bool = True,
    ns_steps: int = 5,
    weight_decay: float | None = None,
    adjust_lr: Literal["match_rms_adamw", "original"] = "match_rms_adamw",
) -> Sequence[torch.optim.Optimizer]:
    """Muon (`torch.optim.Muon`) for the blocks' matrices, 4 bytes per parameter, and AdamW for the rest.

    `lr` and `weight_decay` are those of the matrices, by default the section's own. `adjust_lr` scales the learning rate by the shape
    [A, B] of a matrix: "match_rms_adamw" by 0.2 sqrt(max(A, B)), so that updates are as large as AdamW's and its learning rate can be
    reused (Liu et al., "Muon is Scalable for LLM Training", 2025); "original" by sqrt(max(1, A / B)), for rates about 0.02 (Jordan et al.,
    "Muon", 2024).
    """
    if not hasattr(torch.optim, "Muon"):
        raise ConfigError(f'optimizer.name = "muon" needs torch 2.9 or newer, not {torch.__version__}')
    if adjust_lr not in ("match_rms_adamw", "original"):
        raise ConfigError(f'the option adjust_lr of muon is "match_rms_adamw" or "original", not {adjust_lr!r}')
    matrices = torch.optim.Muon(
        trained.matrices,
        lr=config.lr if lr is None else lr,
        weight_decay=config.weight_decay if weight_decay is None else weight_decay,
        momentum=momentum,
        nesterov=nesterov,
        ns_steps=ns_steps,
        adjust_lr_fn=adjust_lr,
    )
    return [matrices, *_adamw_of(trained.rest, config)]


def build_optimizers(model: Any, config: OptimizerConfig) -> list[torch.optim.Optimizer]:
    """Build the optimizers of a model's trained parameters.

    Raises:
        ConfigError: there is no such optimizer or option, a value can't be used, or a parameter is in none of the optimizers or in two.
        MissingDependencyError: the package of the optimizer is not installed.
    """
    trained = Trainable.of(model)
    try:
        built = OPTIMIZERS.bind(config.name, config.options)(trained, config)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"optimizer.options: a value of {config.name!r} can't be used ({error})") from error
    optimizers = list(built) if isinstance(built, list | tuple) else [built]
    given = [id(item) for optimizer in optimizers for group in optimizer.param_groups for item in group["params"]]
    if sorted(given) != sorted(map(id, trained.parameters)):
        raise ConfigError(
            f"the optimizer {config.name!r} must hold each of the {len(trained.parameters)} trained parameters once; it holds {len(given)}"
        )
    return optimizers


def _adamw_of(parameters: list[nn.Parameter], config: OptimizerConfig) -> list[torch.optim.Optimizer]:
    return [_adamw(parameters, config)] if parameters else []


def _adamw(parameters: list[nn.Parameter], config: OptimizerConfig) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        parameters,
        lr=config.lr,
        betas=(config.beta1, config.beta2),
        weight_decay=config.weight_decay,
        fused=parameters[0].is_cuda or None,  # the default implementation needs copies of all weights
    )
