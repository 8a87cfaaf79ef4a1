"""A harness that asks the model in this process.

The harnesses of verifiers launch a program for every step; a text environment needs none. verifiers allows this: the contract is that every
model call goes through its interception endpoint, which records it.

verifiers sends a model call once and leaves it to the harness to repeat one that failed (429, 5xx, a lost connection); without that, the
first such failure ends the episode. The client of the package `openai` repeats it as verifiers expects, so that it is recorded once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import verifiers.v1 as vf
from openai import APIError, AsyncOpenAI
from verifiers.v1.dialects.chat import message_to_wire

if TYPE_CHECKING:
    from verifiers.v1.clients import ModelContext


_RETRIES = 5
"""Repetitions of a model call that failed; the client waits 0.5 to 8 seconds before each."""


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
        async with (
            httpx.AsyncClient(timeout=None, trust_env=False) as transport,  # verifiers limits the time
            AsyncOpenAI(base_url=endpoint, api_key=secret, max_retries=_RETRIES, http_client=transport) as client,
        ):
            try:
                await client.chat.completions.with_raw_response.create(model=ctx.model, messages=messages)
            except APIError as error:
                return vf.ProgramResult(1, "", str(error)[-2000:])
        return vf.ProgramResult(0, "", "")
