"""A small text environment for tests of the layers above the benchmarks: open the door whose number is in the observation."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from empg_gym.env import KeyPart, Outcome, TextEnv

TOY_ID = "Test/Doors-v0"


class DoorsEnv(TextEnv):
    """`length` rooms with `doors` doors each; the right door of each room is named, a wrong one costs a step."""

    benchmark = "Doors"
    splits = ("train", "test")
    version = "1"
    inheritable = frozenset({"max_steps", "length", "doors"})

    def __init__(
        self,
        split: str = "train",
        max_steps: int = 10,
        length: int = 3,
        doors: int = 4,
        fail_on: str | None = None,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(split=split, max_steps=max_steps, render_mode=render_mode)
        self.length, self.doors, self.fail_on = length, doors, fail_on
        self._room = 0

    @property
    def num_tasks(self) -> int:
        return 50

    def task_id(self, index: int) -> str:
        return f"{self.split}-{index}"

    def _has_task(self, task: str) -> bool:
        split, _, index = task.partition("-")
        return split == self.split and index.isdigit() and int(index) < self.num_tasks

    def _right(self) -> int:
        return (int(self.task.partition("-")[2]) * 7 + self._room * 3) % self.doors + 1

    def _text(self) -> str:
        return "You are out." if self.success else f"Room {self._room + 1}. The note says {self._right()}."

    def _start(self, task: str) -> str:
        self._task, self._room = task, 0
        return self._text()

    def _apply(self, action: str) -> Outcome:
        if action == self.fail_on:
            raise RuntimeError("the door fell off")
        if action not in self._admissible():
            return Outcome("There is no such door.", 0.0, self.success, False)
        if action == f"open door {self._right()}":
            self._room += 1
            return Outcome(self._text(), float(self.success), self.success, True)
        return Outcome("It is locked.", 0.0, False, True)

    def _admissible(self) -> list[str]:
        return [] if self.success else [f"open door {number}" for number in range(1, self.doors + 1)]

    def _save(self) -> Any:
        return self._room

    def _load(self, payload: Any) -> None:
        self._room = payload

    def _state_key(self) -> KeyPart:
        return self._room

    @property
    def instruction(self) -> str:
        return "leave the house"

    @property
    def success(self) -> bool:
        return self._room >= self.length

    @property
    def score(self) -> float:
        return min(self._room, self.length) / self.length

    def expert(self) -> str | None:
        return None if self.success else f"open door {self._right()}"

    def expert_thought(self) -> str:
        return "Leave the room."

    @property
    def rules(self) -> str:
        return 'You are in a house. Open doors with "open door N".'

    @property
    def fingerprint(self) -> str:
        return f"doors-{self.length}-{self.doors}"

    @property
    def task_type(self) -> str:
        return "odd" if int(self.task.partition("-")[2]) % 2 else "even"


if TOY_ID not in gym.registry:
    gym.register(TOY_ID, entry_point="tests.toy:DoorsEnv")
