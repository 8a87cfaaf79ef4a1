"""A typed client of OpenEnv for the served environments (extra `openenv`)."""

from __future__ import annotations

from typing import Any

from openenv.core import EnvClient
from openenv.core.client_types import StepResult

from empg_gym.serve.openenv import TextAction, TextObservation, TextState


class TextEnvClient(EnvClient[TextAction, TextObservation, TextState]):  # type: ignore[misc]
    """One session on a server; `TextEnvClient(base_url=...).sync()` for code without asyncio."""

    def _step_payload(self, action: TextAction) -> dict[str, Any]:
        payload: dict[str, Any] = action.model_dump(exclude={"metadata"})
        return payload

    def _parse_result(self, payload: dict[str, Any]) -> StepResult[TextObservation]:
        reward, done = payload.get("reward"), payload["done"]
        observation = TextObservation(**payload["observation"], reward=reward, done=done)
        return StepResult(observation=observation, reward=reward, done=done)

    def _parse_state(self, payload: dict[str, Any]) -> TextState:
        return TextState(**payload)
