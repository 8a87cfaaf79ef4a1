"""Steps per second of a random valid policy, and the time of a reset.

    python -m benchmarks.webshop_speed [DATA]

DATA is a folder of official files (the target refers to its 1000 products); the default is the embedded world of 1000 products.
The policy clicks on anything admissible and searches for four words of the instruction. Rates are in CPU time, so that other work on
the machine has no effect; the CPU share of wall time is reported. Upstream needs Java and pyserini and is not measured here.
Writes `benchmarks/results/webshop_speed.json`.
"""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium as gym

import empg_gym  # noqa: F401
from benchmarks.machine import machine

RESULT = Path(__file__).parent / "results" / "webshop_speed.json"
STEPS = 40_000


def choose(info: dict[str, Any], rng: random.Random) -> str:
    action = rng.choice(info["admissible_actions"])
    if action == "search[<query>]":
        words = info["instruction"].split()
        action = f"search[{' '.join(rng.sample(words, min(4, len(words))))}]"
    return action


def measure(steps: int, **options: Any) -> dict[str, float]:
    env = gym.make("EMPG/WebShop-v0", split="all", disable_env_checker=True, **options)
    rng = random.Random(0)
    spent = {"search": 0.0, "click": 0.0, "purchase": 0.0, "reset": 0.0}
    counts = dict.fromkeys(spent, 0)
    _, info = env.reset(seed=0)
    wall, busy = time.perf_counter(), time.process_time()
    for _ in range(steps):
        action = choose(info, rng)
        kind = "search" if action.startswith("search") else "purchase" if action == "click[buy now]" else "click"
        begun = time.thread_time()
        _, _, terminated, truncated, info = env.step(action)
        spent[kind] += time.thread_time() - begun
        counts[kind] += 1
        if terminated or truncated:
            begun = time.thread_time()
            _, info = env.reset()
            spent["reset"] += time.thread_time() - begun
            counts["reset"] += 1
    busy = time.process_time() - busy
    clicks = counts["click"] + counts["purchase"]
    return {
        "steps": steps,
        "steps_per_s": round(steps / busy),
        "clicks_per_s": round(clicks / (spent["click"] + spent["purchase"])),
        "clicks_without_purchases_per_s": round(counts["click"] / spent["click"]),
        "searches_per_s": round(counts["search"] / spent["search"]),
        "purchase_ms": round(1000 * spent["purchase"] / counts["purchase"], 3),
        "reset_ms": round(1000 * spent["reset"] / counts["reset"], 4),
        "processor_share_of_wall_time": round(busy / (time.perf_counter() - wall), 2),
    }


def main() -> None:
    data = sys.argv[1] if len(sys.argv) > 1 else None
    measure(2000, data=data)  # builds the store and warms up the interpreter
    report: dict[str, object] = {
        "machine": machine("empg-gym", "gymnasium", "numpy"),
        "catalogue": "official, 1000 products" if data else "embedded, 1000 products",
        "targets": {"steps_per_s": 2000, "clicks_per_s": 20000, "reset_ms": 1.0},
        **{mode: measure(STEPS, data=data, observation=mode) for mode in ("text", "text_rich", "url")},
        "html": measure(STEPS // 4, data=data, observation="html"),
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
