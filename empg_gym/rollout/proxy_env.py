"""`ProxyEnv`: the part that text environments in other processes and on other machines have in common.

Rules:
    - Constants (rules, tools, number of tasks) are asked for once, when the environment is made.
    - What changes with a step is looked up by name (`_current`); everything else is asked for (`_call`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from empg_gym.env import KeyPart, Outcome, TextEnv


class ProxyEnv(TextEnv):
    """A text environment whose work happens elsewhere."""

    _constants: Mapping[str, Any]
    """`num_tasks`, `rules`, `fingerprint`, `split_rule`, `native_protocol`, `tools`, `_variant`."""

    @abstractmethod
    def _call(self, method: str, *arguments: Any) -> Any:
        """Return the result of a method of the environment."""

    @abstractmethod
    def _current(self, name: str) -> Any:
        """Return an attribute of the running episode.

        Raises:
            TaskError: before the first reset.
        """

    # The running episode

    @property
    def task(self) -> str:
        return str(self._current("task"))

    @property
    def instruction(self) -> str:
        return str(self._current("instruction"))

    @property
    def success(self) -> bool:
        return bool(self._current("success"))

    @property
    def score(self) -> float:
        return float(self._current("score"))

    @property
    def task_type(self) -> str:
        return str(self._current("task_type"))

    @property
    def notice(self) -> str:
        return str(self._current("notice"))

    def state_key(self) -> str:
        return str(self._current("state_key"))

    # Constants

    @property
    def does_io(self) -> bool:
        return True

    @property
    def num_tasks(self) -> int:
        return int(self._constants["num_tasks"])

    @property
    def rules(self) -> str:
        return str(self._constants["rules"])

    @property
    def fingerprint(self) -> str:
        return str(self._constants["fingerprint"])

    @property
    def split_rule(self) -> str:
        return str(self._constants["split_rule"])

    @property
    def native_protocol(self) -> bool:
        return bool(self._constants["native_protocol"])

    @property
    def tools(self) -> list[dict[str, Any]]:
        return list(self._constants["tools"])

    @property
    def _variant(self) -> str:
        return str(self._constants["_variant"])

    # Questions

    def task_id(self, index: int) -> str:
        return str(self._call("task_id", index))

    def find_task(self, wanted: object) -> str:
        return str(self._call("find_task", wanted))

    def tool_action(self, name: str, arguments: dict[str, Any]) -> str:
        return str(self._call("tool_action", name, arguments))

    def _has_task(self, task: str) -> bool:
        return bool(self._call("_has_task", task))

    def _start(self, task: str) -> str:
        return str(self._call("_start", task))

    def _apply(self, action: str) -> Outcome:
        outcome: Outcome = self._call("_apply", action)
        return outcome

    def _admissible(self) -> list[str]:
        return list(self._call("_admissible"))

    def _save(self) -> Any:
        return self._call("_save")

    def _load(self, payload: Any) -> None:
        self._call("_load", payload)

    def _state_key(self) -> KeyPart:
        key: KeyPart = self._call("_state_key")
        return key
