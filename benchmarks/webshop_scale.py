"""A catalogue of a million products: time to build and open it, search time, and memory per process.

    python -m benchmarks.webshop_scale [--products 1000000] [--keep FOLDER] [--only use|memory]

Every measurement runs in its own process. Memory of a process is its proportional set size (PSS), measured while the first process and
all workers are alive and have run their episodes. The addition of a worker is the growth of the sum of all sizes; its own memory is the
part not backed by a file: the rest is the catalogue in the page cache, which the system can drop. Searches are measured in wall time; the
CPU share shows how busy the machine was with other work. Writes `benchmarks/results/webshop_scale.json` for a million products;
`--only` repeats one measurement on a catalogue that was kept.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.machine import machine

RESULT = Path(__file__).parent / "results" / "webshop_scale.json"
WORKERS = 8
SEARCHES = 400


def memory_mb(process: str, kind: str) -> float:
    """Return the memory of a process in MB: "Pss" (its share of all mapped pages) or "Anonymous" (not backed by a file)."""
    for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{kind}:"):
            return round(int(line.split()[1]) / 1024, 1)
    raise RuntimeError(f"no {kind} on this system")


def peak_mb() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def seconds(work: Callable[..., object], *arguments: object) -> float:
    begun = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - begun


def build(products: int) -> dict[str, object]:
    from empg_gym.envs.webshop.build import open_goals, open_store

    begun = time.perf_counter()
    stages: dict[str, float] = {}

    def progress(stage: str, done: int, total: int | None) -> None:
        stages[stage] = time.perf_counter() - begun

    store = open_store(None, products, progress)
    stored = time.perf_counter() - begun
    goals = open_goals(store, "synthetic", 0)
    total = time.perf_counter() - begun
    size = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
    import numpy as np

    return {
        "total_s": round(total, 1),
        "products_s": round(stages["products"], 1),
        "index_s": round(stored - stages["products"], 1),
        "goals_s": round(total - stored, 1),
        "goals": len(np.load(goals / "product.npy", mmap_mode="r")),
        "disk_mb": round(size / 2**20),
        "peak_memory_mb": peak_mb(),
        "peak_memory_children_mb": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024, 1),
    }


def open_world(products: int) -> tuple[Any, float]:
    from empg_gym.envs.webshop.env import WebShopEnv

    begun = time.perf_counter()
    env = WebShopEnv("all", num_products=products)
    env.reset(seed=0)
    return env, time.perf_counter() - begun


def play(env: Any, episodes: int, seed: int) -> None:
    """Run episodes of the expert, like a worker of a rollout."""
    for episode in range(episodes):
        env.reset(seed=seed * 1000 + episode)
        ended = False
        while not ended:
            action = env.expert()
            assert action is not None
            _, reward, terminated, truncated, _ = env.step(action)
            ended = terminated or truncated
        assert reward == 1.0


def use(products: int) -> dict[str, object]:
    env, opened = open_world(products)
    queries = {}
    for place in range(SEARCHES):
        goal = env.shop.goals[place * (env.num_tasks // SEARCHES)]
        queries[tuple(goal.instruction.split(", and price")[0].lower().split())] = None
    begun, worked = time.perf_counter(), time.process_time()
    whole = [1000 * seconds(env.shop.engine.search, query) for query in queries]
    short = [1000 * seconds(env.shop.engine.search, query) for query in dict.fromkeys(query[2:5] for query in queries)]
    share = (time.process_time() - worked) / (time.perf_counter() - begun)
    return {
        "open_s": round(opened, 3),
        "searches": len(whole),
        "search_words": round(statistics.mean(map(len, queries)), 1),
        "search_p50_ms": round(statistics.median(whole), 2),
        "search_p95_ms": round(statistics.quantiles(whole, n=20)[-1], 2),
        "search_3_words_p50_ms": round(statistics.median(short), 2),
        "processor_share_of_wall_time": round(share, 2),
        "peak_memory_mb": peak_mb(),
    }


def worker(products: int, seed: int) -> None:
    """Run episodes, report "ready", wait for a line on standard input, and print the memory."""
    env, opened = open_world(products)
    play(env, 20, seed)
    print("ready", flush=True)
    sys.stdin.readline()
    sizes = {"pss_mb": memory_mb("self", "Pss"), "own_mb": memory_mb("self", "Anonymous")}
    print(json.dumps(sizes | {"open_s": round(opened, 3)}), flush=True)
    sys.stdin.readline()


def memory(products: int) -> dict[str, object]:
    """Return the memory of the first process and of each additional one."""
    command = [sys.executable, "-m", "benchmarks.webshop_scale", "--products", str(products), "--phase", "worker", "--seed"]
    alone = None
    processes: list[subprocess.Popen[str]] = []
    for number in range(1 + WORKERS):
        process = subprocess.Popen([*command, str(number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ready"
        processes.append(process)
        if number == 0:
            alone = memory_mb(str(process.pid), "Pss")
    reports = []
    for process in processes:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        reports.append(json.loads(process.stdout.readline()))
    for process in processes:
        process.communicate("\n")
    return {
        "first_process_alone_mb": alone,
        "workers": WORKERS,
        "each_process_together_mb": [report["pss_mb"] for report in reports],
        "each_further_worker_mb": round(max(report["pss_mb"] for report in reports[1:]), 1),
        "own_of_a_further_worker_mb": max(report["own_mb"] for report in reports[1:]),
        "added_by_a_further_worker_mb": round((sum(report["pss_mb"] for report in reports) - (alone or 0.0)) / WORKERS, 1),
    }


def run(products: int, phase: str) -> dict[str, object]:
    command = [sys.executable, "-m", "benchmarks.webshop_scale", "--products", str(products), "--phase", phase]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=int, default=1_000_000)
    parser.add_argument("--keep", type=Path, help="cache folder to use and keep")
    parser.add_argument("--only", choices=("use", "memory"), help="repeat this measurement and keep the other results")
    parser.add_argument("--phase", choices=("build", "use", "worker"))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.phase == "worker":
        worker(args.products, args.seed)
        return
    if args.phase:
        print(json.dumps({"build": build, "use": use}[args.phase](args.products)))
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["EMPG_GYM_CACHE"] = str(args.keep or folder)
        report: dict[str, object] = {"machine": machine("empg-gym", "gymnasium", "numpy"), "products": args.products}
        if args.only:
            report |= {key: part for key, part in json.loads(RESULT.read_text()).items() if key not in report}
        for phase in [args.only] if args.only else ["build", "use", "memory"]:
            report[phase] = memory(args.products) if phase == "memory" else run(args.products, phase)
            print(phase, json.dumps(report[phase]), flush=True)
    if args.products == 1_000_000:
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
