"""Speed of the Deep Search environment: `python -m benchmarks.deepsearch_speed [--data ../shared/data/deepsearch]`.

Writes `benchmarks/results/deepsearch_speed.json`: steps per second of CPU time, for each kind of action and for a mixed policy in every
protocol, on the embedded encyclopedia and on the reference corpus (9,002 passages), in one process; resets; snapshot and restore; and the
time to the first environment, with an empty and with a full cache. Query times of the index alone are in the retrieval benchmarks.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from empg_gym.envs.deepsearch.actions import Action, Answer, Search, Visit
from empg_gym.envs.deepsearch.env import DeepSearchEnv
from empg_gym.envs.deepsearch.protocols import PROTOCOLS

OUT = Path(__file__).parent / "results" / "deepsearch_speed.json"
SECONDS = 1.5
START = "import time, gymnasium, empg_gym; gymnasium.make('EMPG/DeepSearch-v0'); print(time.process_time())"


def rate(env: DeepSearchEnv, choose: Callable[[DeepSearchEnv, random.Random], Action | str]) -> float:
    """Return steps per second of CPU time, including resets after finished episodes (steps do no I/O)."""
    rng = random.Random(0)
    env.reset(seed=0)
    steps, spent = 0, 0.0
    while spent < SECONDS:
        chosen = choose(env, rng)
        action = chosen if isinstance(chosen, str) else env.protocol.write(chosen)
        began = time.process_time()
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset()
        spent += time.process_time() - began
        steps += 1
    return round(steps / spent)


def words(env: DeepSearchEnv, rng: random.Random) -> Search:
    text = env.instruction.split()
    return Search((" ".join(rng.choice(text) for _ in range(rng.randint(2, 8))),))


def question(env: DeepSearchEnv, rng: random.Random) -> Search:
    env.reset()
    return Search((env.instruction,))


def page(env: DeepSearchEnv, rng: random.Random) -> Visit:
    corpus = env.library.corpus
    assert corpus is not None
    return Visit(corpus.passage(rng.randrange(len(corpus))).url)


def mixed(env: DeepSearchEnv, rng: random.Random) -> Action | str:
    draw = rng.random()
    if draw < 0.7:
        return words(env, rng)
    if draw < 0.8:
        return page(env, rng)
    return Answer("Velden") if draw < 0.95 else "not an action"


def timed(run: Callable[[], object], count: int) -> float:
    """Return the median in microseconds."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return round(statistics.median(times) * 1e6, 1)


def measure(**arguments: Any) -> dict[str, Any]:
    env = DeepSearchEnv(protocol="plain", **arguments)
    corpus = env.library.corpus
    assert corpus is not None
    kinds = {
        "search, 2-8 words": words,
        "search, the question": question,
        "visit": page,
        "answer": lambda *_: Answer("x"),
        "invalid": lambda *_: "x",
    }
    result: dict[str, Any] = {"passages": len(corpus), "steps_per_second": {name: rate(env, choose) for name, choose in kinds.items()}}
    result["steps_per_second_mixed"] = {name: rate(DeepSearchEnv(protocol=name, **arguments), mixed) for name in sorted(PROTOCOLS)}
    env.reset(seed=0)
    env.step("search[a]")
    state = env.snapshot()
    result["reset_us"] = timed(env.reset, 2000)
    result["snapshot_us"] = timed(env.snapshot, 2000)
    result["restore_us"] = timed(lambda: env.restore(state), 2000)
    return result


def start() -> dict[str, float]:
    """Return the CPU time of a new process up to its first environment, including imports, with an empty and with a full cache."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "EMPG_GYM_CACHE": cache}
        runs = [
            float(subprocess.run([sys.executable, "-c", START], env=environment, check=True, capture_output=True, text=True).stdout)
            for _ in range(4)
        ]
    return {"empty_cache_cpu_seconds": round(runs[0], 2), "full_cache_cpu_seconds": round(statistics.median(runs[1:]), 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the reference data, ../shared/data/deepsearch")
    chosen = parser.parse_args()
    result: dict[str, Any] = {
        "machine": machine("gymnasium", "numpy"),
        "processes": 1,
        "start": start(),
        "embedded": measure(split="train"),
    }
    if chosen.data:
        files = {"data": chosen.data / "hotpotqa_train60.jsonl", "corpus": chosen.data / "corpus.jsonl"}
        result["reference"] = measure(split="all", **files)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
