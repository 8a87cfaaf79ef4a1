"""Training on a GPU: tokens per second, model FLOP utilisation and peak memory of updates, the output layer, and whole iterations.

It needs torch and transformers, no model download and no data: the models have the shapes of Qwen with random weights. LoRA is measured if
`peft` is installed. `--device cpu --size tiny` runs the same code at small sizes.

    python -m benchmarks.gpu
    python -m benchmarks.gpu --device cpu --size tiny

What is counted:
    - Tokens are those of the rows; a quarter of them is generated and scored, as in agent episodes.
    - Model FLOPs of an update: 6 per weight of the decoder and token (4 where the weights are frozen), 6 per weight of the output layer and
      scored token (4 where frozen), 6 x length x width per layer and token for causal attention. Recomputed layers count once. Utilisation
      is relative to the card's peak in dense bfloat16, and to the rate of a large matrix product measured here.
    - A case runs without recomputed layers, and again with them if the memory is too small.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from transformers import AutoConfig, AutoModelForCausalLM

from benchmarks.machine import machine
from empg_gym.trainers.config.file import load_config
from empg_gym.trainers.config.sections import LoraConfig, OptimizerConfig
from empg_gym.trainers.data.rows import TokenRow
from empg_gym.trainers.policy.head import score_tokens
from empg_gym.trainers.policy.lora import add_adapter
from empg_gym.trainers.policy.models import resolve_device
from empg_gym.trainers.policy.optimizer import Optimizer
from empg_gym.trainers.policy.policy import Policy
from empg_gym.trainers.run.progress import ProgressView
from empg_gym.trainers.run.trainer import Trainer

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "gpu.json"
SCORED = 4
"""One token in this many is generated."""
PEAKS = {"B200": 2250, "H200": 989, "H100 PCIe": 756, "H100": 989, "A100": 312, "L40S": 362, "L40": 181, "L4": 121, "RTX 4090": 165}
"""Peak of dense bfloat16 products in TFLOP/s, by a part of the card's name; the first that fits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A Qwen-shaped model."""

    kind: str
    """Model type of transformers."""
    width: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp: int
    vocabulary: int = 151_936
    tied: bool = True
    lora: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What `--size` selects."""

    models: dict[str, Shape]
    row_lengths: tuple[int, ...]
    update_tokens: int
    """Tokens of an update."""
    budget: int
    """Tokens of a micro-batch; a longer row is one by itself."""
    head: tuple[int, int, int]
    """Tokens, words and width of the output layer."""
    iterations: dict[str, tuple[str, ...]]
    """Overrides of the demo's configuration, by name."""
    matmul: int
    """Rows and columns of the large matrix product."""


EPISODES = (
    "warmstart.steps=200",
    "warmstart.episodes=800",
    "eval.splits=[]",
    "rl.steps=3",
    "run.sample_every=1000",
    "algorithm.filters=[]",
)
"""A short warm start, so that responses end and episodes have many steps; every group is updated on, whatever its rewards."""
WIDE = "{ layers = 28, width = 1024, heads = 16, kv_heads = 8, mlp = 3072 }"
SIZES = {
    "full": Size(
        models={
            "0.6B": Shape(kind="qwen3", width=1024, layers=28, heads=16, kv_heads=8, head_dim=128, mlp=3072),
            "1.5B": Shape(kind="qwen2", width=1536, layers=28, heads=12, kv_heads=2, head_dim=128, mlp=8960),
            "4B LoRA": Shape(kind="qwen3", width=2560, layers=36, heads=32, kv_heads=8, head_dim=128, mlp=9728, lora=True),
            "7B LoRA": Shape(
                kind="qwen2",
                width=3584,
                layers=28,
                heads=28,
                kv_heads=4,
                head_dim=128,
                mlp=18944,
                vocabulary=152_064,
                tied=False,
                lora=True,
            ),
        },
        row_lengths=(4096, 16384),
        update_tokens=65536,
        budget=16384,
        head=(8192, 151_936, 1024),
        iterations={
            "demo": EPISODES,
            "0.4B, 128 episodes": (*EPISODES, f"model.from_scratch={WIDE}", "rl.token_budget=16384", "rollout.max_response_tokens=64"),
        },
        matmul=8192,
    ),
    "tiny": Size(
        models={
            "tiny": Shape(kind="qwen3", width=32, layers=2, heads=4, kv_heads=2, head_dim=8, mlp=48, vocabulary=128),
            "tiny LoRA": Shape(kind="qwen2", width=32, layers=2, heads=4, kv_heads=2, head_dim=8, mlp=48, vocabulary=128, lora=True),
        },
        row_lengths=(16, 64),
        update_tokens=128,
        budget=64,
        head=(32, 2048, 16),
        iterations={
            "demo": (
                *EPISODES,
                "warmstart.steps=0",
                "rl.steps=2",
                "rl.tasks_per_step=1",
                "rl.repeats=2",
                "env.max_steps=2",
                "model.from_scratch.width=32",
            )
        },
        matmul=256,
    ),
}


class Meter:
    """Time and peak memory on a device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.cuda = device.type == "cuda"

    def __call__(self, function: Callable[[], object], repeats: int = 3) -> dict[str, float | None]:
        """Return the best seconds of `repeats` calls after one to warm up, and the peak memory in GB (None on a CPU)."""
        function()
        if self.cuda:
            torch.cuda.reset_peak_memory_stats(self.device)
        seconds = []
        for _ in range(repeats):
            self._wait()
            began = time.perf_counter()
            function()
            self._wait()
            seconds.append(time.perf_counter() - began)
        peak = torch.cuda.max_memory_allocated(self.device) / 1e9 if self.cuda else None
        return {"seconds": min(seconds), "peak_gb": peak}

    def _wait(self) -> None:
        if self.cuda:
            torch.cuda.synchronize(self.device)


def free() -> None:
    """Return unused memory to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def make_model(shape: Shape, device: torch.device, dtype: torch.dtype) -> Any:
    """Return a model with random weights; the frozen weights of a LoRA model have the number type of the forward pass."""
    config = AutoConfig.for_model(
        shape.kind,
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        intermediate_size=shape.mlp,
        vocab_size=shape.vocabulary,
        tie_word_embeddings=shape.tied,
        max_position_embeddings=32768,
    )
    torch.manual_seed(0)
    with torch.device(device):
        model: Any = AutoModelForCausalLM.from_config(config, dtype=dtype if shape.lora else torch.float32, attn_implementation="sdpa")
    return add_adapter(model, LoraConfig(rank=16, alpha=32), seed=0) if shape.lora else model


def model_flops(shape: Shape, tokens: int, scored: int, length: int) -> float:
    """Return the model FLOPs of an update; see the module docstring."""
    inner = shape.heads * shape.head_dim
    layer = shape.width * (2 * inner + 2 * shape.kv_heads * shape.head_dim + 3 * shape.mlp)
    per_weight = 4 if shape.lora else 6
    products = per_weight * (shape.layers * layer * tokens + shape.vocabulary * shape.width * scored)
    return products + 6.0 * length * inner * shape.layers * tokens


def make_rows(count: int, length: int, vocabulary: int) -> list[TokenRow]:
    """Return rows of random tokens."""
    generator = torch.Generator().manual_seed(0)
    places = torch.arange(length)
    return [
        TokenRow(
            ids=torch.randint(vocabulary, (length,), generator=generator),
            generated=(places % SCORED == SCORED - 1),
            step=torch.zeros(length, dtype=torch.long),
            trajectory=index,
        )
        for index in range(count)
    ]


def update_case(shape: Shape, size: Size, length: int, device: torch.device, dtype: torch.dtype, recompute: bool) -> dict[str, Any]:
    """Measure updates of one model on rows of one length."""
    model = make_model(shape, device, dtype)
    policy = Policy(model, compute_dtype=dtype, recompute_layers=recompute)
    optimizer = Optimizer(policy, OptimizerConfig(lr=1e-6), 100)
    rows = make_rows(max(1, size.update_tokens // length), length, shape.vocabulary)
    batches = policy.micro_batches(rows, size.budget)
    tokens = sum(map(len, rows))
    scored = sum(len(batch.flat) for batch in batches)
    measured = Meter(device)(lambda: optimizer.update(batches, lambda batch, scores: -scores.logprobs.sum() / scored), repeats=2)
    seconds = measured["seconds"]
    assert seconds is not None
    return {
        "row_tokens": length,
        "tokens": tokens,
        "scored": scored,
        "packed": policy.scorer.packs,
        "recompute_layers": recompute,
        **measured,
        "tokens_per_s": tokens / seconds,
        "tflops": model_flops(shape, tokens, scored, length) / seconds / 1e12,
    }


def updates(size: Size, device: torch.device, dtype: torch.dtype, rates: dict[str, float | None]) -> dict[str, Any]:
    """Measure updates of all models on rows of all lengths."""
    found: dict[str, Any] = {}
    for name, shape in size.models.items():
        if shape.lora and importlib.util.find_spec("peft") is None:
            found[name] = "peft is not installed"
            continue
        found[name] = []
        for length in size.row_lengths:
            case: dict[str, Any] = {"row_tokens": length, "failure": "out of memory"}
            for recompute in (False, True):
                free()
                try:
                    case = update_case(shape, size, length, device, dtype, recompute)
                    break
                except torch.OutOfMemoryError:
                    continue
            if "tflops" in case:
                case |= {f"utilisation_{kind}": rate and case["tflops"] / rate for kind, rate in rates.items()}
            found[name].append(case)
            print(name, json.dumps(case), flush=True)
    return found


def head(size: Size, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Compare the output layer with the pass that keeps all logits, forward and backward."""
    count, words, width = size.head
    layer = torch.nn.Linear(width, words, bias=False, device=device)
    hidden = torch.randn(count, width, device=device, dtype=dtype, requires_grad=True)
    targets = torch.randint(words, (count,), device=device)

    def ours() -> None:
        score_tokens(layer, hidden, targets)[0].sum().backward()

    def naive() -> None:
        logits = torch.nn.functional.linear(hidden, layer.weight.to(dtype)).float()
        torch.log_softmax(logits, dim=-1).gather(-1, targets[:, None]).sum().backward()

    found: dict[str, Any] = {"tokens": count, "vocabulary": words, "width": width}
    for name, function in (("naive", naive), ("ours", ours)):
        free()
        try:
            found[name] = Meter(device)(function)
        except torch.OutOfMemoryError:
            found[name] = "out of memory"
        hidden.grad = layer.weight.grad = None
    return found


def iteration(overrides: tuple[str, ...], device: str) -> dict[str, float]:
    """Run a few reinforcement steps of the demo and return the means of the speed metrics, without the first step."""
    with tempfile.TemporaryDirectory() as folder:
        settings = [f'run.out="{folder}/run"', f'run.device="{device}"', *overrides]
        config = load_config(ROOT / "configs" / "alfworld-tiny.toml", settings)
        Trainer(config, ProgressView(Console(quiet=True))).run()
        lines = [json.loads(line) for line in (Path(folder) / "run" / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["phase"] == "rl" and line["step"] > 1]
    names = [name for name in steps[0] if name.startswith("speed/")] + ["rollout/tokens", "rollout/generated_tokens"]
    means = {name: sum(line[name] for line in steps) / len(steps) for name in names}
    episodes = config.rl.tasks_per_step * config.rl.repeats
    return {"episodes": episodes, "episodes_per_s": episodes / means["speed/step_s"], **means}


def matmul_rate(size: Size, device: torch.device, dtype: torch.dtype) -> float:
    """Return the rate of a large matrix product, in TFLOP/s."""
    one = torch.randn(size.matmul, size.matmul, device=device, dtype=dtype)
    seconds = Meter(device)(lambda: one @ one, repeats=5)["seconds"]
    assert seconds is not None
    return 2 * size.matmul**3 / seconds / 1e12


def measure(device_name: str, size_name: str) -> dict[str, Any]:
    """Return all measurements of one device."""
    size = SIZES[size_name]
    device, dtype = resolve_device(device_name)
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    rates = {
        "peak": next((float(rate) for name, rate in PEAKS.items() if name in card), None),
        "matmul": matmul_rate(size, device, dtype),
    }
    record: dict[str, Any] = {
        "machine": machine("torch", "transformers", "peft"),
        "device": card,
        "dtype": str(dtype).removeprefix("torch."),
        "size": size_name,
        "tflops": rates,
        "models": {name: asdict(shape) for name, shape in size.models.items()},
        "head": head(size, device, dtype),
        "updates": updates(size, device, dtype, rates),
        "iterations": {},
    }
    for name, overrides in size.iterations.items():
        free()
        record["iterations"][name] = iteration(overrides, device_name)
    return record


def main(arguments: list[str] | None = None) -> None:
    """Measure and write the result file."""
    parser = argparse.ArgumentParser(description="Measure training on a GPU.")
    parser.add_argument("--device", default="cuda", help='"cuda", "cuda:1", "cpu"')
    parser.add_argument("--size", choices=list(SIZES), default="full")
    parser.add_argument("--out", type=Path, default=RESULT, help="result file")
    options = parser.parse_args(arguments)
    record = measure(options.device, options.size)
    options.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
