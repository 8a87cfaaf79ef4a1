"""Scores of scripted agents on Deep Search: `python -m benchmarks.deepsearch_agents [--data ../shared/data/deepsearch]`.

Writes `benchmarks/results/deepsearch_agents.json`. Agents, all in the protocol `plain` with the environment's default limits:
    expert     the environment's own: one query per supporting passage, and an answer once all of them have been shown;
    one-shot   searches for the question once, then reads perfectly: it gives the accepted answer if all supporting passages were shown,
               else the title of the best passage. An upper bound for any agent that searches once, with the question;
    random     searches for words of the question, visits addresses from the results, or answers with a title from the results, yes or no.
The embedded encyclopedia is measured on every task of every split; the reference corpus, with `--data`, on its 60 HotpotQA and 60 MuSiQue
questions.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym

import empg_gym  # noqa: F401 (registers the ids)
from benchmarks.machine import machine
from empg_gym.envs.deepsearch.env import DeepSearchEnv

OUT = Path(__file__).parent / "results" / "deepsearch_agents.json"
_SHOWN = re.compile(r"^\[\d+\] (.+?): .*?(?: \((\S+)\))?$", re.MULTILINE)
Agent = Callable[[DeepSearchEnv, str, random.Random], str | None]


def expert(env: DeepSearchEnv, observation: str, rng: random.Random) -> str | None:
    return env.expert()


def one_shot(env: DeepSearchEnv, observation: str, rng: random.Random) -> str | None:
    if observation.startswith("Question: "):
        return f"search[{env.instruction[:512]}]"
    known = env.expert()
    if known is not None and known.startswith("answer["):
        return known
    shown = _SHOWN.search(observation)
    return f"answer[{shown.group(1) if shown else 'unknown'}]"


def random_agent(env: DeepSearchEnv, observation: str, rng: random.Random) -> str | None:
    shown = _SHOWN.findall(observation)
    draw = rng.random()
    if draw < 0.5 or not shown:
        words = env.instruction.split()
        begin = rng.randrange(len(words))
        return f"search[{' '.join(words[begin : begin + rng.randint(1, 4)])}]"
    title, url = rng.choice(shown)
    if draw < 0.65 and url:
        return f"visit[{url}]"
    return f"answer[{rng.choice([title, title, 'yes', 'no'])}]"


AGENTS: dict[str, Agent] = {"expert": expert, "one-shot": one_shot, "random": random_agent}


def play(env: DeepSearchEnv, agent: Agent) -> dict[str, Any]:
    """Run every task of the environment's split once."""
    rng = random.Random(0)
    won: dict[str, list[bool]] = defaultdict(list)
    steps, most, given_up, invalid = 0, 0, 0, 0
    for task in range(env.num_tasks):
        observation, info = env.reset(seed=task, options={"task": task})
        ended = False
        while not ended:
            action = agent(env, observation, rng)
            if action is None:
                given_up += 1
                break
            observation, _, terminated, truncated, info = env.step(action)
            steps += 1
            invalid += not info["valid_action"]
            ended = terminated or truncated
        won[env.task_type].append(info["success"])
        most = max(most, info["step"])
    every = [success for successes in won.values() for success in successes]
    return {
        "episodes": len(every),
        "success_rate": round(sum(every) / len(every), 4),
        "won": sum(every),
        "steps_mean": round(steps / len(every), 2),
        "steps_most": most,
        "invalid_actions": invalid,
        "given_up": given_up,
        "success_rate_by_type": {kind: round(sum(values) / len(values), 4) for kind, values in sorted(won.items())},
    }


def evaluate(**arguments: Any) -> dict[str, Any]:
    env = gym.make("EMPG/DeepSearch-v0", protocol="plain", **arguments).unwrapped
    assert isinstance(env, DeepSearchEnv)
    limits = {"max_steps": env.max_steps, "top_k": env.top_k, "observation_tokens": env.observation_tokens}
    return {"fingerprint": env.fingerprint, **limits, "agents": {name: play(env, agent) for name, agent in AGENTS.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the reference data, ../shared/data/deepsearch")
    chosen = parser.parse_args()
    result: dict[str, Any] = {"machine": machine("gymnasium", "numpy"), "embedded": {"passages": 2000}}
    for split in ("train", "test", "ood"):
        result["embedded"][split] = evaluate(split=split)
    if chosen.data:
        result["reference"] = {
            f"{name}, top_k={top_k}": evaluate(
                data=str(chosen.data / f"{name}.jsonl"), corpus=str(chosen.data / "corpus.jsonl"), split="all", top_k=top_k
            )
            for name in ("hotpotqa_train60", "musique_train60")
            for top_k in (3, 5)
        }
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(result, indent=2) + "\n")
    for world in ("embedded", "reference"):
        for name, entry in result.get(world, {}).items():
            if isinstance(entry, dict):
                rates = {agent: f"{values['won']}/{values['episodes']}" for agent, values in entry["agents"].items()}
                print(world, name, rates)


if __name__ == "__main__":
    main()
