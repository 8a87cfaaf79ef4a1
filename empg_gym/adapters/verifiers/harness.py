"""A harness that asks the model in this process.

The harnesses of verifiers launch a program for every step; a text environment needs none. verifiers allows this: the contract is that every
model call goes through its interception endpoint, which records it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import verifiers.v1 as vf
from verifiers.v1.dialects.chat import message_to_wire

if TYPE_CHECKING:
    from verifiers.v1.clients import ModelContext


class EMPGHarnessConfig(vf.HarnessConfig):  # type: ignore[misc]
    """Without options of its own."""


class EMPGHarness(vf.Harness[EMPGHarnessConfig]):  # type: ignore[misc]
    """One chat completion per step, with the whole conversation."""

    APPENDS_SYSTEM_PROMPT = True
    SUPPORTS_RESUME = True
    EXECUTES_CODE = False
    NEEDS_CONTAINER = False

    async def launch(
        self,
        ctx: ModelContext,
        trace: Any,
        runtime: Any,
        endpoint: str,
        secret: str,
        mcp_urls: dict[str, str],
        data: vf.TaskData,
    ) -> vf.ProgramResult:
        """Send the conversation; verifiers records the answer."""
        system_prompt, prompt = self.resolve_prompt(data)
        messages: list[dict[str, Any]] = [] if system_prompt is None else [{"role": "system", "content": system_prompt}]
        if isinstance(prompt, str):
            messages.append({"role": "user", "content": prompt})
        else:
            messages += [message_to_wire(message) for message in prompt or []]
        async with httpx.AsyncClient(timeout=None, trust_env=False) as client:  # verifiers limits the time
            answer = await client.post(
                f"{endpoint.rstrip('/')}/chat/completions",
                json={"model": ctx.model, "messages": messages},
                headers={"Authorization": f"Bearer {secret}"},
            )
        failed = answer.status_code >= 400
        return vf.ProgramResult(int(failed), "", answer.text[-2000:] if failed else "")
