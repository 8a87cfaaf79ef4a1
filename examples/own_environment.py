"""Your own environment, a subclass of `TextEnv`, registered and trained on: python examples/own_environment.py"""

import argparse
from pathlib import Path

import gymnasium as gym
from rich.console import Console

from empg_gym import Outcome, TextEnv
from empg_gym.trainers.config.file import load_config
from empg_gym.trainers.run.progress import ProgressView
from empg_gym.trainers.run.trainer import Trainer

COLORS = ("red", "green", "blue", "white", "black")


class Corridor(TextEnv):
    """Two doors, each opened by the key of its color; a wrong key ends the episode. The task "red-blue" names the doors."""

    num_tasks, instruction = 12, "Reach the end of the corridor."
    rules = "Open each door with the key of its color: use <color>."
    success, score = property(lambda self: self.opened == 2), property(lambda self: self.opened / 2)

    def task_id(self, index: int) -> str:
        return [f"{first}-{second}" for first in COLORS for second in COLORS][2 * index + (self.split == "test")]

    def _start(self, task: str) -> str:
        self.opened = 0  # attributes that the class sets are its state: snapshots and state keys hold them
        return f"A {task.split('-')[0]} door."

    def _apply(self, action: str) -> Outcome:
        self.opened += (right := action == self.expert())
        shown = f"A {self.task.split('-')[1]} door." if right and not self.success else "The end."
        return Outcome(shown, float(right and self.success), self.success or not right, action in self._admissible())

    def _admissible(self) -> list[str]:
        return [f"use {color}" for color in COLORS]

    def expert(self) -> str | None:  # the warm start learns from it
        return None if self.success else f"use {self.task.split('-')[self.opened]}"


gym.register("Example/Corridor-v0", Corridor, kwargs={"split": "train", "max_steps": 4})
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key, as in empg-gym train")
    own = ['env={id="Example/Corridor-v0", dialogue="plain", system_prompt=""}', 'eval={splits=["test"], tasks=12}']
    own += ["run.out=runs/own-environment", *parser.parse_args().set]
    Trainer(load_config(Path("configs/tiny.toml"), own), ProgressView(Console())).run()
