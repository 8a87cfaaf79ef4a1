"""An OpenAI-compatible chat server on the loopback that plays `tests.toy` well and, on demand, misbehaves.

`faults` decides request by request: a callable from the number of the request (from 0) to the name of a fault, or None for a good answer.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

Fault = Callable[[int], str | None]


@dataclass
class ChatServer:
    """What the server does, and what it has seen."""

    faults: Fault = lambda number: None
    model_faults: Fault = lambda number: None
    """As `faults`, for the listing of models: the name of a status."""
    listings: int = 0
    key: str | None = None
    top_limit: int = 20
    rejects: tuple[str, ...] = ()
    """Parameters that are answered with status 400."""
    delay: float = 0.0
    usage: bool = True
    context: int | None = None
    """Longest conversation in messages."""
    reasoning: bool = False
    garbage: bool = False
    """Tool calls whose arguments are not JSON."""
    requests: list[dict[str, Any]] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    url: str = ""

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/v1/chat/completions", self.chat, methods=["POST"]), Route("/v1/models", self.models)])

    async def models(self, request: Request) -> Response:
        fault = self.model_faults(self.listings)
        self.listings += 1
        if fault is not None:
            return error(int(fault), "not now")
        return JSONResponse({"object": "list", "data": [{"id": "doors-1"}]})

    async def chat(self, request: Request) -> Response:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._chat(request)
        finally:
            self.in_flight -= 1

    async def _chat(self, request: Request) -> Response:
        body = await request.json()
        number = len(self.requests)
        self.requests.append(body)
        if self.key is not None and request.headers.get("authorization") != f"Bearer {self.key}":
            return error(401, f"Incorrect API key provided: {request.headers.get('authorization')}")
        for name in self.rejects:
            if name in body:
                return error(400, f"Unsupported parameter: '{name}' is not supported with this model. Use 'max_completion_tokens' instead.")
        if body.get("top_logprobs", 0) > self.top_limit:
            return error(400, f"top_logprobs must be at most {self.top_limit}")
        if self.context is not None and len(body["messages"]) > self.context:
            return error(400, "This model's maximum context length is 64 tokens.", code="context_length_exceeded")
        if self.delay:
            await asyncio.sleep(self.delay)
        fault = self.faults(number)
        if fault is not None:
            return await self._misbehave(fault, body)
        return JSONResponse(self.answer(body))

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        rooms = [re.search(r"The note says (\d+)", str(message["content"])) for message in body["messages"]]
        door = next((match.group(1) for match in reversed(rooms) if match), "1")
        message: dict[str, Any] = {"role": "assistant", "content": f"<think>the note</think><action>open door {door}</action>"}
        if body.get("tools"):
            arguments = "{oops" if self.garbage else json.dumps({"action": f"open door {door}"})
            call = {"id": f"call_{len(self.requests)}", "type": "function", "function": {"name": "act", "arguments": arguments}}
            message = {"role": "assistant", "content": None, "tool_calls": [call, call]}
        if self.reasoning:
            message["content"] = f"<action>open door {door}</action>"
            message["reasoning_content"] = "hidden thoughts"
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", "message": message}
        tokens = [7, 8, 9]
        if body.get("logprobs"):
            top = [{"token": "a", "logprob": math.log(0.5)}, {"token": "b", "logprob": math.log(0.25)}][: body["top_logprobs"]]
            choice["logprobs"] = {"content": [{"token": "a", "logprob": math.log(0.5), "top_logprobs": top} for _ in tokens]}
        reply = {"id": "x", "object": "chat.completion", "model": body["model"], "choices": [choice]}
        if body.get("return_token_ids"):
            turns = sum(message["role"] == "assistant" for message in body["messages"])
            reply["prompt_token_ids"] = [1, 2] + [7, 8, 9, 3] * turns
            choice["token_ids"] = tokens
        if self.usage:
            reply["usage"] = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}
        return reply

    async def _misbehave(self, fault: str, body: dict[str, Any]) -> Response:
        good = self.answer(body)
        match fault:
            case "429":
                return error(429, "slow down", headers={"Retry-After": "0.02"})
            case "429-date":
                return error(429, "slow down", headers={"Retry-After": "Fri, 01 Jan 2021 00:00:00 GMT"})
            case "429-bare":
                return error(429, "slow down")
            case "403" | "500" | "503":
                return error(int(fault), "broken")
            case "slow":
                await asyncio.sleep(30)
                return JSONResponse(good)
            case "cut":
                whole = json.dumps(good).encode()
                return StreamingResponse(half(whole), headers={"content-length": str(len(whole)), "content-type": "application/json"})
            case "malformed":
                return PlainTextResponse('{"choices": [', media_type="application/json")
            case "html":
                return PlainTextResponse("<html>gateway</html>", media_type="text/html")
            case "list":
                return JSONResponse([1, 2])
            case "no-choices":
                return JSONResponse({**good, "choices": []})
            case "no-message":
                return JSONResponse({**good, "choices": [{"index": 0}]})
            case "filter":
                return JSONResponse({**good, "choices": [{**good["choices"][0], "finish_reason": "content_filter"}]})
            case "wrong-ids":
                good["choices"][0]["token_ids"] = [7, 8]
                good["prompt_token_ids"] = [1, 2]
                return JSONResponse(good)
            case "text-ids":
                good["choices"][0]["token_ids"] = ["token", 8, 9]
                return JSONResponse(good)
            case "bad-logprobs":
                good["choices"][0]["logprobs"] = {"content": [{"token": "a"}]}
                return JSONResponse(good)
            case "404":
                return error(404, "The model `doors-9` does not exist.")
            case "quota":
                return error(429, "You exceeded your current quota", code="insufficient_quota")
            case "422":
                return error(422, "messages: Input should be a valid list")
        raise ValueError(fault)


async def half(body: bytes) -> AsyncIterator[bytes]:
    yield body[: len(body) // 2]
    raise ConnectionAbortedError("cut off on purpose")


def error(status: int, message: str, *, code: str | None = None, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": {"message": message, "type": "test", "code": code}}, status_code=status, headers=headers)


def first(*names: str) -> Fault:
    """Return the faults of the first requests; later ones are answered well."""
    return lambda number: names[number] if number < len(names) else None


def always(name: str) -> Fault:
    return lambda number: name


@contextmanager
def serving(server: ChatServer) -> Iterator[ChatServer]:
    """Run the server in a thread; `url` is its base URL."""
    config = uvicorn.Config(server.app(), log_level="critical", timeout_graceful_shutdown=1, lifespan="off")
    runner = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    thread = threading.Thread(target=runner.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    try:
        yield server
    finally:
        runner.should_exit = True
        runner.force_exit = True
        thread.join(10)
        listener.close()
