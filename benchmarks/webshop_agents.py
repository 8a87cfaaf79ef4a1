"""The expert and a random agent on every goal of every split, in a plain loop.

    python -m benchmarks.webshop_agents [DATA]

The random agent clicks on anything admissible and searches for four words of the instruction; its seed is the goal's number. With
DATA (a folder of official files) the official goals are included. Score and success are averages over all goals; a goal that the expert
can't reach counts as 0, and the reasons are counted: "options" (upstream's reward reduces options to color names, which makes some
synthetic goals impossible), "reward" (the goal's own product has a reward below 1), "search" (no search by the product's texts finds it).
Writes `benchmarks/results/webshop_agents.json`.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from benchmarks.webshop_speed import choose
from empg_gym.envs.webshop.env import WebShopEnv
from empg_gym.envs.webshop.expert import choose_options

RESULT = Path(__file__).parent / "results" / "webshop_agents.json"


def episode(env: WebShopEnv, task: int, agent: str) -> tuple[float, int] | None:
    """Return (score, steps), or None if the expert has no action."""
    _, info = env.reset(options={"task": task})
    rng = random.Random(info["goal_index"])
    while True:
        action = env.expert() if agent == "expert" else choose(info, rng)
        if action is None:
            return None
        _, _, terminated, truncated, info = env.step(action)
        if terminated or truncated:
            return info["score"], info["step"]


def obstacle(env: WebShopEnv, task: int) -> str:
    """Return why the expert has no action for a task."""
    goal = env.shop.goals[env.goals[task]]
    product = env.shop.goals.product(goal.index)
    options = choose_options(product, goal)
    if options is None:
        return "options"
    return "search" if env.shop.judge(goal, product, options.values()).total == 1.0 else "reward"


def evaluate(agent: str, **options: Any) -> dict[str, object]:
    env = WebShopEnv(**options)
    played = {task: episode(env, task, agent) for task in range(env.num_tasks)}
    done = [result for result in played.values() if result is not None]
    obstacles = Counter(obstacle(env, task) for task, result in played.items() if result is None)
    return {
        "fingerprint": env.fingerprint,
        "nouns": env.shop.nouns.name,
        "goals": env.num_tasks,
        "without_a_way": len(played) - len(done),
        "why": dict(sorted(obstacles.items())),
        "score": round(sum(score for score, _ in done) / env.num_tasks, 4),
        "success": round(sum(score == 1.0 for score, _ in done) / env.num_tasks, 4),
        "steps": round(statistics.fmean(steps for _, steps in done), 2),
        "categories": dict(sorted(Counter(env.shop.goals[index].category for index in env.goals).items())),
    }


def study(data: str | None, kinds: tuple[str, ...]) -> dict[str, object]:
    report: dict[str, object] = {}
    for kind in kinds:
        for split in ("test", "valid", "train"):
            for agent in ("expert", "random"):
                report[f"{kind} {split} {agent}"] = found = evaluate(agent, split=split, goals=kind, data=data)
                print(data or "embedded", kind, split, agent, found, flush=True)
    return report


def main() -> None:
    kinds = ("synthetic", "human")
    report: dict[str, object] = {"machine": machine("empg-gym", "gymnasium", "numpy"), "embedded": study(None, kinds)}
    if len(sys.argv) > 1:
        report["official"] = study(sys.argv[1], kinds)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
