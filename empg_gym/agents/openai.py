"""Any model behind an OpenAI-compatible chat server: OpenAI itself, vLLM, SGLang, llama.cpp, Ollama, a gateway.

Rules:
    - The key comes from the environment and is never written to a run folder, a log or an error.
    - `format="chat"` reads the action from the text, as the dialogue format says; `format="tools"` offers the environment's actions as
      tools. Either way the model sees its own earlier messages as it wrote them, tool calls included.
    - A parameter that the server refuses and that only adds information (log-probabilities, token ids, a seed) is left out from then
      on; `max_tokens` becomes `max_completion_tokens` if the server asks for it. Parameters that change what the model writes are never
      dropped.
    - A prompt longer than the model's context ends the episode (`StopReason.ROW_TOKENS`); it is not an error.
    - With token ids (`token_ids=True`, vLLM's `return_token_ids`) the row is kept id by id: a prompt that continues where the last
      response ended extends the row, any other opens a new one.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from empg_gym.agent_env import LLMAgentEnv
from empg_gym.agents.base import AgentInfo, BaseAgent, Message
from empg_gym.agents.chat_reply import read_reply
from empg_gym.agents.tool_dialogue import ToolDialogue
from empg_gym.dialogue import Dialogue
from empg_gym.errors import ConfigError, RowOverflowError, nearest
from empg_gym.net.json_client import JSONClient, RejectedRequest
from empg_gym.net.retry import RetryPolicy
from empg_gym.trajectory import Completion, IntArray

DEFAULT_BASE_URL = "https://api.openai.com/v1"
_TOO_LONG = ("context_length_exceeded", "maximum context length", "context window", "maximum model length", "prompt is too long")
_FEWER_LOGPROBS = {20: 5, 5: 0}
_log = logging.getLogger(__name__)


class OpenAIAgent(BaseAgent):
    """Asks a chat server for each response.

    Args:
        model: name of the model; None uses `OPENAI_MODEL`, or the only model that the server lists.
        base_url: None uses `OPENAI_BASE_URL`, or OpenAI's own.
        api_key: None uses the environment variable named by `api_key_env`; a server without keys needs none.
        format: "chat" or "tools".
        temperature, top_p, max_tokens: sent if given; otherwise the server's defaults apply.
        top_logprobs: most likely tokens to ask for at each position, from which entropies are bounded; 0 asks for none.
        token_ids: ask for token ids (vLLM).
        seed: send the episode's seed, for servers that sample with it.
        extra: additional fields of every request, such as `{"reasoning_effort": "low"}`.
        timeout: seconds for one attempt.
        retries: retries per failed request.
        concurrency: requests to run at once.

    Raises:
        ConfigError: there is no key for OpenAI's own server, or a value cannot be used.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        api_key_env: str = "OPENAI_API_KEY",
        format: Literal["chat", "tools"] = "chat",
        temperature: float | None = None,
        top_p: float | None = None,
        max_tokens: int | None = None,
        top_logprobs: int = 20,
        token_ids: bool = False,
        seed: bool = True,
        extra: Mapping[str, Any] | None = None,
        timeout: float = 120.0,
        retries: int = 6,
        concurrency: int = 64,
    ) -> None:
        if format not in ("chat", "tools"):
            raise ConfigError(f"format must be 'chat' or 'tools', not {format!r}; {nearest(str(format), ['chat', 'tools'])}")
        base_url = base_url or os.environ.get("OPENAI_BASE_URL") or DEFAULT_BASE_URL
        key = (api_key or "").strip() or os.environ.get(api_key_env, "").strip()
        if not key and base_url.rstrip("/") == DEFAULT_BASE_URL:
            raise ConfigError(f"no key for {base_url}: set {api_key_env}, or give the base_url of a server that needs none")
        self.model = model or os.environ.get("OPENAI_MODEL") or None
        self.format = format
        self.dialogue: Dialogue | None = ToolDialogue() if format == "tools" else None
        self._concurrency = concurrency
        self._settings = {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens, **(extra or {})}
        self._top_logprobs = top_logprobs
        self._token_ids = token_ids
        self._seed = seed
        self._token_limit_name = "max_tokens"
        self._client = JSONClient(
            base_url,
            key=key,
            timeout=timeout,
            retry=RetryPolicy(retries=retries),
            concurrency=concurrency,
            timeout_setting="agent.timeout",
        )

    @property
    def info(self) -> AgentInfo:
        """What decides the answers; never the key."""
        sent = {name: value for name, value in self._settings.items() if value is not None}
        facts = {"kind": "openai", "model": self.model, "base_url": self._client.base_url, "format": self.format, "seed": self._seed}
        return AgentInfo(
            name=f"openai:{self.model or 'model'}",
            concurrency=self._concurrency,
            end_on_cut_response=False,
            dialogue=self.dialogue,
            settings={**facts, **sent},
        )

    async def check(self) -> None:
        """Check that the server answers, and find the model if none was named.

        Raises:
            ConfigError: nothing answers, or no model was named and the server lists several or none.
        """
        listing = await self._client.get("/models")
        entries = (listing or {}).get("data")
        names = [str(entry["id"]) for entry in entries if isinstance(entry, dict) and "id" in entry] if isinstance(entries, list) else []
        if self.model is None:
            if len(names) != 1:
                raise ConfigError(
                    f"name a model (model=… or OPENAI_MODEL); {self._client.base_url} lists: {', '.join(names[:20]) or 'none'}"
                )
            self.model = names[0]

    def session(self, env: LLMAgentEnv, seed: int) -> OpenAISession:
        return OpenAISession(self, seed % 2**31)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def complete(
        self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None, seed: int
    ) -> tuple[Completion, dict[str, Any]]:
        """Return the completion, and the assistant message for the next request.

        Raises:
            RowOverflowError: the prompt is longer than the model's context.
            AgentError: the server failed or refused the request.
        """
        while True:
            payload = self._payload(messages, tools, seed)
            try:
                return await self._client.post("/chat/completions", payload, read_reply)
            except RejectedRequest as refusal:
                said = refusal.body.lower()
                if any(sign in said for sign in _TOO_LONG):
                    raise RowOverflowError(f"the conversation is longer than the model's context: {refusal}") from None
                if not self._give_way(said, payload):
                    raise

    def _payload(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None, seed: int) -> dict[str, Any]:
        payload: dict[str, Any] = {"model": self.model, "messages": messages}
        for name, value in self._settings.items():
            if value is not None:
                payload[self._token_limit_name if name == "max_tokens" else name] = value
        if self._top_logprobs > 0:
            payload.update(logprobs=True, top_logprobs=self._top_logprobs)
        if self._token_ids:
            payload["return_token_ids"] = True
        if self._seed:
            payload["seed"] = seed
        if self.format == "tools" and tools:
            payload["tools"] = tools
        return payload

    def _give_way(self, said: str, payload: Mapping[str, Any]) -> bool:
        """Leave out what the refusal names; return whether that changes the request."""
        if "logprob" in said and "logprobs" in payload:
            asked = int(payload["top_logprobs"])
            fewer = _FEWER_LOGPROBS.get(asked, 0)
            self._top_logprobs = min(self._top_logprobs, fewer)
            _log.warning("the server refuses top_logprobs=%d; asking for %d", asked, fewer)
        elif "return_token_ids" in said and "return_token_ids" in payload:
            self._token_ids = False
            _log.warning("the server refuses return_token_ids; there will be no token ids")
        elif "max_completion_tokens" in said and "max_tokens" in payload:
            self._token_limit_name = "max_completion_tokens"
        elif "seed" in said and "seed" in payload:
            self._seed = False
            _log.warning("the server refuses a seed; its samples can't be repeated")
        else:
            return False
        return True


class OpenAISession:
    """One episode: keeps what the model wrote, and the token row."""

    def __init__(self, agent: OpenAIAgent, seed: int) -> None:
        self._agent = agent
        self._seed = seed
        self._sent: list[dict[str, Any]] = []
        self._row: IntArray | None = None

    async def act(self, messages: Sequence[Message], *, tools: list[dict[str, Any]] | None = None) -> Completion:
        completion, message = await self._agent.complete(self._conversation(messages), tools, self._seed)
        self._sent.append(message)
        return self._in_row(completion)

    def _conversation(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        """Return the messages with the model's own in place of their transcripts, and answers to tool calls as such."""
        own = sum(message["role"] == "assistant" for message in messages)
        mine = iter(self._sent[len(self._sent) - own :] if own <= len(self._sent) else ())
        conversation: list[dict[str, Any]] = []
        call: str | None = None
        for message in messages:
            if message["role"] == "assistant":
                raw = next(mine, dict(message))
                conversation.append(raw)
                call = raw["tool_calls"][0]["id"] if raw.get("tool_calls") else None
            elif call is not None and message["role"] == "user":
                conversation.append({"role": "tool", "tool_call_id": call, "content": message["content"]})
                call = None
            else:
                conversation.append(dict(message))
        return conversation

    def _in_row(self, completion: Completion) -> Completion:
        prompt, response = completion.prompt_token_ids, completion.token_ids
        if prompt is None or response is None:
            return completion
        before, self._row = self._row, np.concatenate([prompt, response])
        continues = before is not None and len(prompt) >= len(before) and bool(np.array_equal(prompt[: len(before)], before))
        gained = prompt[len(before) :] if before is not None and continues else prompt
        return dataclasses.replace(completion, prompt_token_ids=gained, new_row=before is not None and not continues)
