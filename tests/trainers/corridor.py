"""A tiny environment to learn: a corridor of doors, each opened by the key of its sign's colour. A wrong key ends the walk."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from empg_gym.env import KeyPart, Outcome, TextEnv
from empg_gym.trainers.config.file import parse_config
from empg_gym.trainers.config.sections import TrainConfig

COLOURS = ("amber", "black", "coral", "denim")
DOORS = 2


class Corridor(TextEnv):
    """Task "amber-coral": a door with the sign amber, then one with coral."""

    benchmark = "Corridor"
    splits = ("train", "test")
    version = "1"
    num_tasks = len(COLOURS) ** DOORS
    rules = "Open every door with the key of its colour: use <colour> key."
    fingerprint = "corridor"

    def __init__(self, split: str = "train", max_steps: int = 4, data: str | None = None) -> None:
        super().__init__(split=split, max_steps=max_steps)
        self._opened = 0

    def task_id(self, index: int) -> str:
        return "-".join(COLOURS[index // len(COLOURS) ** door % len(COLOURS)] for door in range(DOORS))

    def _has_task(self, task: str) -> bool:
        parts = task.split("-")
        return len(parts) == DOORS and set(parts) <= set(COLOURS)

    def _start(self, task: str) -> str:
        self._opened = 0
        return self._sign()

    def _sign(self) -> str:
        return "The corridor ends." if self.success else f"A door with a {self._signs[self._opened]} sign."

    def _apply(self, action: str) -> Outcome:
        valid = action in self._admissible()
        right = not self.success and action == self.expert()
        self._opened += right
        return Outcome(self._sign() if right else "The door stays shut.", float(right and self.success), self.success or not right, valid)

    def _admissible(self) -> list[str]:
        return [f"use {colour} key" for colour in COLOURS]

    def _save(self) -> Any:
        return self._opened

    def _load(self, payload: Any) -> None:
        self._opened = payload

    def _state_key(self) -> KeyPart:
        return self._opened

    @property
    def _signs(self) -> list[str]:
        return self.task.split("-")

    @property
    def instruction(self) -> str:
        return "Reach the end of the corridor."

    @property
    def success(self) -> bool:
        return self._opened == DOORS

    @property
    def score(self) -> float:
        return self._opened / DOORS

    def expert(self) -> str | None:
        return None if self.success else f"use {self._signs[self._opened]} key"


if "EMPGTest/Corridor-v0" not in gym.registry:
    gym.register("EMPGTest/Corridor-v0", entry_point=Corridor)


def corridor_config(out: str, **sections: dict[str, Any]) -> TrainConfig:
    """Return a configuration that trains on the corridor in seconds; `sections` replace keys."""
    tree: dict[str, dict[str, Any]] = {
        "run": {"out": out, "threads": 1, "checkpoint_every": 4, "sample_every": 1, "device": "cpu"},
        "env": {"id": "EMPGTest/Corridor-v0", "dialogue": "plain", "system_prompt": ""},
        "model": {"from_scratch": {"layers": 1, "width": 32, "heads": 2, "init_std": 0.2}},
        "rollout": {"max_response_tokens": 6, "max_row_tokens": 128},
        "warmstart": {"steps": 8, "episodes": 64, "episodes_per_step": 16, "optimizer": {"lr": 1e-2}},
        "rl": {"steps": 4, "tasks_per_step": 4, "repeats": 4, "minibatches": 2, "optimizer": {"lr": 1e-3}},
        "eval": {"splits": ["test"], "tasks": 8, "every": 2, "temperature": 1.0},
    }
    for name, keys in sections.items():
        tree[name] = {**tree.get(name, {}), **keys}
    return parse_config(tree)
