"""Your own environment, a subclass of `TextEnv`, registered and trained on: python examples/own_environment.py"""

import argparse
from pathlib import Path

import gymnasium as gym
from rich.console import Console

from empg_gym.env import Outcome, TextEnv
from empg_gym.trainers.config.file import load_config
from empg_gym.trainers.run.progress import ProgressView
from empg_gym.trainers.run.trainer import Trainer

COLORS = ("red", "green", "blue", "white", "black")


class Corridor(TextEnv):
    """Two doors, each opened by the key of its color; a wrong key ends the episode. The task "red-blue" names the doors."""

    benchmark, splits, version, fingerprint, num_tasks = "Corridor", ("train", "test"), "1", "corridor", 12
    rules, instruction = "Open each door with the key of its color: use <color>.", "Reach the end of the corridor."
    success, score = property(lambda self: self._opened == 2), property(lambda self: self._opened / 2)

    def task_id(self, index: int) -> str:
        return [f"{first}-{second}" for first in COLORS for second in COLORS][2 * index + (self.split == "test")]

    def _has_task(self, task: str) -> bool:
        return task in map(self.task_id, range(12))

    def _start(self, task: str) -> str:
        self._opened = 0
        return f"A {task.split('-')[0]} door."

    def _apply(self, action: str) -> Outcome:
        self._opened += (right := action == self.expert())
        shown = f"A {self.task.split('-')[1]} door." if right and not self.success else "The end."
        return Outcome(shown, float(right and self.success), self.success or not right, action in self._admissible())

    def _admissible(self) -> list[str]:
        return [f"use {color}" for color in COLORS]

    def _save(self) -> int:  # everything that an action can change
        return self._opened

    _state_key = _save

    def _load(self, payload: int) -> None:
        self._opened = payload

    def expert(self) -> str | None:
        return None if self.success else f"use {self.task.split('-')[self._opened]}"


gym.register("Example/Corridor-v0", Corridor, kwargs={"split": "train", "max_steps": 4})
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key, as in empg-gym train")
    own = ['env={id="Example/Corridor-v0", dialogue="plain", system_prompt=""}', 'eval={splits=["test"], tasks=12}', "rl.steps=20"]
    short = ["warmstart={steps=10, episodes=80, episodes_per_step=8, optimizer={lr=3e-3}}", "run.out=runs/own-environment"]
    Trainer(load_config(Path("configs/alfworld-tiny.toml"), own + short + parser.parse_args().set), ProgressView(Console())).run()
