"""How an environment talks with an agent: the arguments of `LLMAgentEnv` as one picklable value.

None means "not set", so that several sources (the user, a training run, the agent) can be merged before an environment is created.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from empg_gym.dialogue import Dialogue


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatSettings:
    """Dialogue format and prompt settings of an environment; `LLMAgentEnv` documents each.

    Example:
        `ChatSettings(dialogue="react", history=4)`
    """

    dialogue: str | Dialogue | None = None
    preferred_dialogue: Dialogue | None = None
    """The agent's own format, used if `dialogue` is None and the environment has no native protocol."""
    history: int | None = None
    show_admissible: bool | None = None
    system_prompt: str | None = None

    def arguments(self, *, native_protocol: bool) -> dict[str, Any]:
        """Return the keyword arguments of `LLMAgentEnv` for an environment with or without a native protocol."""
        return {
            "dialogue": self.dialogue or (None if native_protocol else self.preferred_dialogue),
            "history": self.history,
            "show_admissible": bool(self.show_admissible),
            "system_prompt": self.system_prompt,
        }

    def missing_from(self, other: ChatSettings, *, except_for: Collection[str] = ()) -> Mapping[str, Any]:
        """Return the settings that `other` sets and this does not, by name."""
        return {
            item.name: value
            for item in dataclasses.fields(self)
            if item.name not in except_for
            and (value := getattr(other, item.name)) is not None
            and value is not False
            and getattr(self, item.name) is None
        }
