"""`--dry-run`: the memory of a training run, from the configuration of its model alone; no weights are loaded.

Rules:
    - An update holds weights, optimizer states, copies, gradients, what the forward pass saves for a full micro-batch, and the logits of a
      chunk. A rollout holds keys and values instead of the last three. The peak is the larger of the two.
    - Sizes are upper bounds at the limits of the configuration: a micro-batch of `token_budget` tokens, or of one row of `max_row_tokens`.
    - Keys and values get a share of the memory that the rest leaves, as in the generator; a run needs room for one row at its limit, and
      other rows are read again after they lost theirs.
    - GB are 10^9 bytes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from empg_gym.errors import ConfigError
from empg_gym.trainers.config.sections import LoraConfig, OptimizerConfig, TrainConfig
from empg_gym.trainers.generate.loading import loading, tokenizer_options

if TYPE_CHECKING:
    import torch

    from empg_gym.trainers.policy.activations import Footprint

GB = 1e9
CONTEXT = {"cuda": 1.0 * GB, "cpu": 0.7 * GB, "mps": 0.7 * GB}
"""Memory of Python, torch and the device's context."""
SLACK = 0.05
"""Share of the memory that changes within a step and is lost to fragmentation."""
TRANSIENT = 0.5
"""Memory of the backward pass of a layer, and of a layer without gradient, as a share of what the layer saves."""
CACHE_SHARE = 0.6
READ_TOKENS = 16_384
"""Prompt tokens in one forward pass of the generator `hf`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of the memory, in bytes."""

    name: str
    update: float
    rollout: float
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryEstimate:
    """The memory of a run."""

    parts: tuple[Part, ...]
    capacity: float | None
    """Of the device, in bytes."""
    device: str
    cached_rows: float
    """Rows at their limit that the memory for keys and values holds."""
    rows: int
    """Episodes that run at the same time."""

    @property
    def update(self) -> float:
        """Peak of an update, in bytes."""
        return sum(part.update for part in self.parts)

    @property
    def rollout(self) -> float:
        """Peak of a rollout, in bytes."""
        return sum(part.rollout for part in self.parts)

    @property
    def peak(self) -> float:
        """The larger of the two, in bytes."""
        return max(self.update, self.rollout)

    @property
    def fits(self) -> bool:
        """Whether the device holds the run; True where its memory is unknown."""
        return self.capacity is None or self.peak <= self.capacity

    def lines(self) -> list[str]:
        """Return the table."""
        rows = [("memory in GB", "update", "rollout", "")]
        rows += [(part.name, _gb(part.update), _gb(part.rollout), part.note) for part in self.parts if part.update or part.rollout]
        rows += [("total", _gb(self.update), _gb(self.rollout), "")]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        table = [
            f"{name:<{widths[0]}}  {update:>{widths[1]}}  {rollout:>{widths[2]}}  {note}".rstrip() for name, update, rollout, note in rows
        ]
        has = "" if self.capacity is None else f", which has {_gb(self.capacity)} GB"
        cache = f"The cache holds {self.cached_rows:,.0f} rows of max_row_tokens; {self.rows} episodes run at the same time."
        return [f"Memory at the limits of the configuration, on {self.device}{has}.", *table, *([cache] if self.cached_rows else [])]


def estimate_memory(config: TrainConfig, device_gb: float | None = None) -> MemoryEstimate | None:
    """Return the estimated memory of a run; None if the model's config.json is not on this machine, or names code of its own that runs.

    Args:
        config: the configuration of the run.
        device_gb: memory of a CUDA device to estimate for, in GB; None uses the device that the run would use here.

    Raises:
        ConfigError: the device does not exist, or config.json does not describe a causal language model.
    """
    described = describe_model(config)
    return None if described is None else _estimate(config, described, _device(config, device_gb))


def require_fit(config: TrainConfig, estimate: MemoryEstimate, device_gb: float | None = None) -> None:
    """Refuse a run that its device can't hold.

    Raises:
        ConfigError: it can't; the message says what to change.
    """
    if estimate.fits:
        return
    assert estimate.capacity is not None
    changes = _changes_that_fit(config, device_gb)
    advice = " and ".join(changes) if changes else "use a smaller model or shorter rows (rollout.max_row_tokens)"
    raise ConfigError(f"the run needs about {_gb(estimate.peak)} GB, and {estimate.device} has {_gb(estimate.capacity)} GB: {advice}")


def describe_model(config: TrainConfig) -> Any | None:
    """Return the Hugging Face configuration of the model; None if it is not on this machine, or is one of code that the folder brings.

    The vocabulary of a model from scratch is that of the largest tokenizer that `model.from_scratch` allows.

    Raises:
        ConfigError: config.json is damaged, or needs code that may not run.
    """
    from transformers import AutoConfig, Qwen2Config

    shape, name = config.model.from_scratch, config.model.name
    if shape is not None:
        return Qwen2Config(
            vocab_size=shape.max_words + shape.pieces + 300,  # bytes and special tokens
            hidden_size=shape.width,
            intermediate_size=shape.mlp or 2 * shape.width,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.kv_heads or shape.heads,
            tie_word_embeddings=shape.tie_embeddings,
            use_sliding_window=False,
        )
    folder = Path(str(name)).expanduser()
    options = tokenizer_options(trust_remote_code=config.model.trust_remote_code)
    with loading(str(name)):
        try:
            described = AutoConfig.from_pretrained(str(folder) if folder.exists() else str(name), local_files_only=True, **options)
        except OSError:
            return None
    # What the folder's own code takes is not known without its weights.
    return None if config.model.trust_remote_code and getattr(described, "auto_map", None) else described


@dataclass(frozen=True, slots=True)
class _Device:
    name: str
    kind: str
    compute: torch.dtype
    capacity: float | None


def _device(config: TrainConfig, device_gb: float | None) -> _Device:
    import torch

    from empg_gym.trainers.policy.models import resolve_device

    if device_gb is not None and config.run.device in ("auto", "cuda"):
        kind, natural, capacity, name = "cuda", torch.bfloat16, device_gb * GB, f"a device of {device_gb:g} GB"
    else:
        device, natural = resolve_device(config.run.device)
        kind, name = device.type, str(device)
        if kind == "cuda":
            capacity = float(torch.cuda.get_device_properties(device).total_memory)
        else:
            capacity = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")) if device_gb is None else device_gb * GB
    return _Device(name, kind, natural if config.run.dtype == "auto" else getattr(torch, config.run.dtype), capacity)


def _estimate(config: TrainConfig, described: Any, device: _Device) -> MemoryEstimate:
    import torch

    from empg_gym.trainers.generate.cache import cache_bytes
    from empg_gym.trainers.policy.activations import measure

    lora, compute = config.model.lora, device.compute
    size = measure(described, torch.float32, compute, lora)
    mixed = lora is None and compute is not torch.float32
    tokens = _tokens(config)
    changing = [
        Part(name="gradients", update=4.0 * size.trained, rollout=0, note="float32"),
        _activations(config, size, tokens),
        Part(name="logits and head", update=_head(config, size, tokens, device, lora is None), rollout=0),
        _reading(config, size, compute),
    ]
    fixed = [
        _weights(size, compute, lora, device),
        Part(name="weights under autocast", update=(size.weight_copies + 2.0 * size.vocabulary * size.width) * mixed, rollout=0),
        _states(config, size),
        _generator(config, size, compute, device, copied=mixed),
        _held("reference", 4.0 * size.parameters if config.rl.kl_coef and config.rl.steps and lora is None else 0.0),
        Part(name="context and fragmentation", update=_slack(changing, "update", device), rollout=_slack(changing, "rollout", device)),
    ]
    rows = _rows(config)
    row = float(cache_bytes(described, 1, config.rollout.max_row_tokens, compute))
    cache, cached = _cache(config, row, rows, [*fixed, *changing], device.capacity)
    parts = (*fixed[:5], *changing, cache, fixed[5])
    return MemoryEstimate(parts=parts, capacity=device.capacity, device=device.name, cached_rows=cached, rows=rows)


def _tokens(config: TrainConfig) -> int:
    """Return the tokens of the largest micro-batch."""
    budgets = [phase.token_budget for phase in (config.rl, config.warmstart) if phase.steps]
    return max([*budgets, config.rollout.max_row_tokens])


def _weights(size: Footprint, compute: torch.dtype, lora: LoraConfig | None, device: _Device) -> Part:
    if lora is None:
        return _held("weights", 4.0 * size.parameters, f"float32, {size.parameters / 1e9:.2f}B parameters")
    note = f"{size.parameters / 1e9:.2f}B frozen, {size.trained / 1e6:.1f}M in adapters"
    if device.kind == "cpu" and compute.itemsize == 2:
        note += "; products of 16-bit weights take several times more on a CPU, which is not in this estimate"
    return _held("weights", float(compute.itemsize * size.parameters + 4 * size.trained), note)


def _states(config: TrainConfig, size: Footprint) -> Part:
    phases = [phase.optimizer for phase in (config.rl, config.warmstart) if phase.steps]
    needs = [_state_bytes(optimizer, size) for optimizer in phases]
    names = dict.fromkeys(optimizer.name for optimizer in phases)
    return _held("optimizer states", max(needs, default=0.0), ", ".join(names))


def _state_bytes(optimizer: OptimizerConfig, size: Footprint) -> float:
    per_matrix = {"adamw_8bit": 2 + 8 / 256, "muon": 4.0}.get(optimizer.name, 8.0)
    return per_matrix * size.matrices + 8.0 * (size.trained - size.matrices)


def _generator(config: TrainConfig, size: Footprint, compute: torch.dtype, device: _Device, *, copied: bool) -> Part:
    backend, options = config.rollout.backend, config.rollout.backend_options
    if backend == "hf":
        return _held("generator's copy", float(compute.itemsize * size.parameters) * copied)
    if options.get("url") is not None:
        return _held("generator's copy", 0.0)
    if backend in ("vllm", "vllm-server") and device.kind == "cuda" and device.capacity is not None:
        share = float(options.get("gpu_memory", 0.4))
        return _held("vLLM", share * device.capacity, f"gpu_memory = {share:g}, keys and values included")
    return _held("generator's copy", float(compute.itemsize * size.parameters), backend)


def _activations(config: TrainConfig, size: Footprint, tokens: int) -> Part:
    """Return what the forward pass saves, plus the work of one layer."""
    layer = size.saved_per_layer * tokens
    if config.run.gradient_checkpointing:
        saved = size.layers * size.boundary * tokens + layer
    else:
        saved = size.layers * layer
    note = f"{tokens:,} tokens, {'layers recomputed' if config.run.gradient_checkpointing else 'nothing recomputed'}"
    return Part(name="activations", update=saved + TRANSIENT * layer + size.outside * tokens, rollout=0, note=note)


def _head(config: TrainConfig, size: Footprint, tokens: int, device: _Device, trained: bool) -> float:
    """Return the memory of a block of logits, of the gradient of the output layer, and of hidden states and theirs."""
    import torch

    from empg_gym.trainers.policy.head import block_size

    positions, words = block_size(size.vocabulary, torch.device(device.kind), config.rl.logit_chunk)
    half = device.compute.itemsize == 2
    logits = min(tokens, positions) * words * (4 * 2 + 2 * half)
    gradient = size.vocabulary * size.width * (4 + 2 * half) * trained
    return float(logits + gradient + tokens * size.width * (2 * device.compute.itemsize + 2 * 4))


def _reading(config: TrainConfig, size: Footprint, compute: torch.dtype) -> Part:
    """Return the work of the generator's forward passes and of sampling."""
    if config.rollout.backend != "hf":
        return Part(name="reading and sampling", update=0, rollout=0)
    read = min(int(config.rollout.backend_options.get("max_read_tokens", READ_TOKENS)), _rows(config) * config.rollout.max_row_tokens)
    sampling = 4 * 4.0 * _rows(config) * size.vocabulary
    return Part(name="reading and sampling", update=0, rollout=TRANSIENT * size.saved_per_layer * read + sampling)


def _rows(config: TrainConfig) -> int:
    """Return the episodes that run at the same time."""
    return min(config.rollout.concurrency, config.rl.tasks_per_step * config.rl.repeats)


def _cache(config: TrainConfig, row: float, rows: int, others: list[Part], capacity: float | None) -> tuple[Part, float]:
    """Return the memory for keys and values, and how many rows at their limit, of `row` bytes each, it holds."""
    if config.rollout.backend != "hf":
        return Part(name="keys and values", update=0, rollout=0), 0.0
    wanted, options = rows * row, config.rollout.backend_options
    if options.get("cache_gb") is not None:
        held = min(wanted, float(options["cache_gb"]) * GB)
    elif capacity is None:
        held = wanted
    else:
        held = min(wanted, float(options.get("cache_share", CACHE_SHARE)) * (capacity - sum(part.rollout for part in others)))
    held = max(held, row)
    note = f"{_gb(wanted)} for all rows at their limit" if held < wanted else "all rows at their limit"
    return Part(name="keys and values", update=0, rollout=held, note=note), held / row


def _slack(changing: list[Part], phase: str, device: _Device) -> float:
    return CONTEXT[device.kind] + SLACK * sum(float(getattr(part, phase)) for part in changing)


def _held(name: str, size: float, note: str = "") -> Part:
    """Return a part that a run holds all the time."""
    return Part(name=name, update=size, rollout=size, note=note)


def _gb(size: float) -> str:
    return f"{size / GB:.1f}"


def _changes_that_fit(config: TrainConfig, device_gb: float | None) -> list[str]:
    """Return the fewest of some changes, in words, with which the run fits; none if all of them are not enough."""
    rows = config.rollout.max_row_tokens
    lower = {phase: min(getattr(config, phase).token_budget, rows) for phase in ("rl", "warmstart")}
    changes: list[tuple[str, dict[str, dict[str, Any]]]] = [
        ("set run.gradient_checkpointing = true", {"run": {"gradient_checkpointing": True}}),
        (f"lower token_budget to {rows:,}", {phase: {"token_budget": budget} for phase, budget in lower.items()}),
        ("set rl.logit_chunk = 256", {"rl": {"logit_chunk": 256}}),
        ('set rl.optimizer.name = "adamw_8bit"', {"rl": {"optimizer": config.rl.optimizer.model_copy(update={"name": "adamw_8bit"})}}),
        ("train adapters (model.lora = {})", {"model": {"lora": LoraConfig()}} if config.model.name else {}),
    ]
    chosen: list[tuple[str, dict[str, dict[str, Any]]]] = []

    def fits(some: list[tuple[str, dict[str, dict[str, Any]]]]) -> bool:
        changed = config
        for _, sections in some:
            for section, keys in sections.items():
                changed = changed.model_copy(update={section: getattr(changed, section).model_copy(update=keys)})
        found = estimate_memory(changed, device_gb)
        return found is None or found.fits

    for change in changes:
        if change[1] and not fits(chosen):
            chosen.append(change)
    if not fits(chosen):
        return []
    for change in list(chosen):
        if fits([other for other in chosen if other is not change]):
            chosen.remove(change)
    return [words for words, _ in chosen]
