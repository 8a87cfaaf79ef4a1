"""Speed on released ALFWorld games: `python -m benchmarks.alfworld_speed [--data ../shared/data/alfworld]`.

Measures the environment (`env.unwrapped.step`, with `info` and its admissible actions) in CPU seconds of one core, next to stock
TextWorld (upstream's wrapper, domain and grammar) and `engine="textworld"` of this project, on the same games and the same
actions. Writes `benchmarks/results/alfworld_speed.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import mean, median
from time import process_time
from typing import Any, TypeVar

import gymnasium as gym

import empg_gym  # noqa: F401 (registers the environment)
from benchmarks.alfworld_reference import Upstream, official_case, pick_games, reference_games
from benchmarks.machine import machine
from empg_gym.envs.alfworld.game import Game, compile_game
from empg_gym.envs.alfworld.problem import parse_problem
from empg_gym.envs.alfworld.world.household import generate

OUT = Path(__file__).parent / "results" / "alfworld_speed.json"


T = TypeVar("T")


def timed(function: Callable[..., T], *args: Any, **kwargs: Any) -> tuple[float, T]:
    """Return the CPU seconds of one call, and its value."""
    start = process_time()
    value = function(*args, **kwargs)
    return process_time() - start, value


def seconds(function: Callable[..., object], *args: Any, **kwargs: Any) -> float:
    """Return the CPU seconds of one call."""
    return timed(function, *args, **kwargs)[0]


def spread(samples: list[float]) -> dict[str, float]:
    """Return mean, median and 99th percentile, in milliseconds."""
    ordered = sorted(samples)
    return {
        "mean_ms": round(mean(ordered) * 1e3, 4),
        "median_ms": round(median(ordered) * 1e3, 4),
        "p99_ms": round(ordered[int(len(ordered) * 0.99)] * 1e3, 4),
    }


def random_walks(env: gym.Env[str, str], tasks: list[str], steps: int) -> tuple[list[float], list[list[str]]]:
    """Return the time of each walk, including the choice of actions, and the actions taken."""
    rng = random.Random(0)
    times, actions = [], []
    for task in tasks:
        _, info = env.reset(options={"task": task})
        taken: list[str] = []
        start = process_time()
        for _ in range(steps):
            admissible = info["admissible_actions"]
            taken.append(admissible[int(rng.random() * len(admissible))])
            *_, info = env.step(taken[-1])
        times.append(process_time() - start)
        actions.append(taken)
    return times, actions


def play(step: Callable[[str], object], actions: list[str]) -> None:
    for action in actions:
        step(action)


def build(problem: str) -> Game:
    return compile_game(parse_problem(problem))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "alfworld")
    parser.add_argument("--steps", type=int, default=500, help="steps per game, on 140 games")
    parser.add_argument("--textworld-games", type=int, default=6, help="number of games on TextWorld")
    parser.add_argument("--textworld-steps", type=int, default=25, help="steps per game on TextWorld")
    args = parser.parse_args()

    games = list(reference_games(args.data, "valid_seen"))
    few = pick_games(args.data, "valid_seen", 1)[: args.textworld_games]
    build(games[0]["pddl_problem"])
    result: dict[str, object] = {
        "machine": machine("textworld", "fast_downward_textworld", "alfworld", "gymnasium", "numpy"),
        "compile": spread([seconds(build, game["pddl_problem"]) for game in games]),
        "generate_full": spread([seconds(generate, "train", "full", i) for i in range(300)]),
        "generate_small": spread([seconds(generate, "train", "small", i) for i in range(300)]),
    }
    with tempfile.TemporaryDirectory() as folder:
        os.environ["EMPG_GYM_CACHE"] = f"{folder}/cache"
        release = Path(folder) / "json_2.1.1"
        subprocess.run([sys.executable, args.data / "export.py", release, "--split", "valid_seen"], check=True, stdout=subprocess.DEVNULL)
        make = partial(gym.make, "EMPG/ALFWorld-v0", split="valid_seen", data=release, max_steps=10**9)
        result["index"] = {
            "games": len(games),
            "first_ms": round(seconds(make) * 1e3, 1),
            "kept_ms": round(seconds(make) * 1e3, 1),
        }
        env = make().unwrapped
        names = [game["id"] for game in games]
        result["reset_and_load"] = spread([seconds(env.reset, options={"task": name}) for name in names])
        result["reset"] = spread([seconds(env.reset, options={"task": name}) for name in names])
        times, _ = random_walks(env, names, args.steps)
        steps = args.steps * len(names)
        result["steps"] = {"games": len(names), "steps": steps, "steps_per_second": round(steps / sum(times))}

        names = [game["id"] for game in few]
        times, actions = random_walks(env, names, args.textworld_steps)
        steps = args.textworld_steps * len(names)
        cached = make(engine="textworld").unwrapped
        first = [seconds(cached.reset, options={"task": name}) for name in names]
        again, stepping = [], 0.0
        for name, taken in zip(names, actions, strict=True):
            again.append(seconds(cached.reset, options={"task": name}))
            stepping += seconds(play, cached.step, taken)
        cached.close()

    loading, playing = [], 0.0
    for game, taken in zip(few, actions, strict=True):
        spent, upstream = timed(Upstream, official_case(args.data, game, "new").game)
        loading.append(spent)
        playing += seconds(play, upstream.step, taken)
    fast, patched, stock = (steps / spent for spent in (sum(times), stepping, playing))
    result["side_by_side"] = {
        "games": len(few),
        "steps": steps,
        "note": "the same games and actions; the first figure includes choosing the actions",
        "ours_steps_per_second": round(fast),
        "textworld_steps_per_second": round(stock, 2),
        "engine_textworld_steps_per_second": round(patched, 1),
        "ours_to_textworld": round(fast / stock),
        "engine_textworld_to_textworld": round(patched / stock, 1),
        "textworld_load_and_reset": spread(loading),
        "engine_textworld_first_reset": spread(first),
        "engine_textworld_later_reset": spread(again),
    }
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(result, indent=1) + "\n")
    print(OUT.read_text())


if __name__ == "__main__":
    main()
