"""The expert and a random agent on every goal of every split, in a plain loop.

    python -m benchmarks.webshop_agents [DATA]

The random agent clicks on anything admissible and searches for four words of the instruction; its seed is the goal's number. With
DATA (a folder of official files) the official goals are played as well, and goals without a way to reward 1 are counted: upstream's
reward makes some synthetic goals unmeetable. Writes `benchmarks/results/webshop_agents.json`.
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

RESULT = Path(__file__).parent / "results" / "webshop_agents.json"


def episode(env: WebShopEnv, task: int, agent: str) -> tuple[float, int] | None:
    """Return (score, steps), or None where the expert sees no way."""
    _, info = env.reset(options={"task": task})
    rng = random.Random(info["goal_index"])
    while True:
        action = env.expert() if agent == "expert" else choose(info, rng)
        if action is None:
            return None
        _, _, terminated, truncated, info = env.step(action)
        if terminated or truncated:
            return info["score"], info["step"]


def evaluate(agent: str, **options: Any) -> dict[str, object]:
    env = WebShopEnv(**options)
    played = [episode(env, task, agent) for task in range(env.num_tasks)]
    done = [result for result in played if result is not None]
    scores = [score for score, _ in done]
    return {
        "goals": env.num_tasks,
        "without_a_way": len(played) - len(done),
        "score": round(statistics.fmean(scores), 4),
        "success": round(sum(score == 1.0 for score in scores) / len(done), 4),
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
    env = WebShopEnv("all")
    report: dict[str, object] = {
        "machine": machine("empg-gym", "gymnasium", "numpy"),
        "fingerprint": env.fingerprint,
        "embedded": study(None, ("synthetic", "human")),
    }
    if len(sys.argv) > 1:
        report["official"] = study(sys.argv[1], ("synthetic", "human"))
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
