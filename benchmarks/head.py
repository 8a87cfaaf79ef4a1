"""The output layer and its softmax, forward and backward: `score_tokens` next to the pass that keeps all logits.

Each side runs in a process of its own, for its peak memory; the sides alternate in one run, and CPU seconds are compared. The naive side is
what a reader would write: `log_softmax(head(hidden).float())`, gathered at the targets, with autograd. Its memory at full size is 15 GB, so
that the entropy and the wider model are compared at fewer tokens.

    python -m benchmarks.head
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import machine
from empg_gym.trainers.policy.head import score_tokens

RESULT = Path(__file__).parent / "results" / "head.json"
VOCABULARY = 151_936
CASES: dict[str, dict[str, Any]] = {
    "full size": {"tokens": 8192, "width": 256, "entropy": False, "repeats": 1},
    "wider": {"tokens": 1024, "width": 896, "entropy": False, "repeats": 1},
    "with the entropy's gradient": {"tokens": 1024, "width": 256, "entropy": True, "repeats": 1},
}


def run(side: str, tokens: int, width: int, entropy: bool) -> dict[str, float]:
    """Run one pass and return its CPU seconds, its peak memory above that of the inputs, in MB, and a checksum of the gradients."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    head = torch.nn.Linear(width, VOCABULARY, bias=False)
    hidden = torch.randn(tokens, width, requires_grad=True)
    targets = torch.randint(VOCABULARY, (tokens,))
    weights = torch.linspace(-1, 1, tokens)
    before = _peak_mb()
    began = time.process_time()
    if side == "ours":
        logprobs, entropies = score_tokens(head, hidden, targets, entropy="gradient" if entropy else "none")
    else:
        every = torch.log_softmax(head(hidden).float(), dim=-1)
        logprobs = every.gather(-1, targets[:, None]).squeeze(-1)
        entropies = -(every.exp() * every).sum(-1) if entropy else None
    loss = (logprobs * weights).sum() if entropies is None else ((logprobs + 0.1 * entropies) * weights).sum()
    loss.backward()
    seconds, peak = time.process_time() - began, _peak_mb() - before
    assert hidden.grad is not None and head.weight.grad is not None
    checksum = float(hidden.grad.double().norm() + head.weight.grad.double().norm())
    return {"cpu_s": seconds, "peak_mb": peak, "gradient_norms": checksum}


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def compare(tokens: int, width: int, entropy: bool, repeats: int) -> dict[str, Any]:
    """Return the best CPU time and the peak memory of both sides, and their ratios."""
    results: dict[str, list[dict[str, float]]] = {"naive": [], "ours": []}
    for _ in range(repeats):
        for side, found in results.items():
            command = [sys.executable, "-m", "benchmarks.head", side, str(tokens), str(width), str(int(entropy))]
            found.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    best = {
        side: {
            "cpu_s": round(min(item["cpu_s"] for item in found), 2),
            "peak_mb": round(max(item["peak_mb"] for item in found)),
            "gradient_norms": found[0]["gradient_norms"],
        }
        for side, found in results.items()
    }
    naive, ours = best["naive"], best["ours"]
    return {
        "tokens": tokens,
        "vocabulary": VOCABULARY,
        "width": width,
        "entropy": entropy,
        "repeats": repeats,
        **best,
        "time_ratio": round(ours["cpu_s"] / naive["cpu_s"], 3),
        "memory_ratio": round(ours["peak_mb"] / naive["peak_mb"], 4),
        "gradient_difference": abs(ours["gradient_norms"] / naive["gradient_norms"] - 1),
    }


def main() -> None:
    """Measure all cases and write the result file."""
    record: dict[str, Any] = {"machine": machine("torch"), "targets": {"time_ratio": 1.2, "memory_ratio": 0.125}, "cases": {}}
    for name, case in CASES.items():
        record["cases"][name] = compare(**case)
        print(name, json.dumps(record["cases"][name]), flush=True)
    RESULT.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), bool(int(sys.argv[4])))))
    else:
        main()
