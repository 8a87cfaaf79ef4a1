"""An OpenAI-compatible server on the loopback that plays from a script.

The script maps the first message of an episode to its responses; the number of answers so far chooses one.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


@contextmanager
def serving(script: Mapping[str, Sequence[str]], *, overloaded_every: int = 0) -> Iterator[str]:
    """Yield the base URL of a server that plays this script.

    Args:
        script: first messages and responses.
        overloaded_every: every so many requests are answered with the status 503; 0 = none.
    """
    count = itertools.count(1)

    async def chat(request: Request) -> JSONResponse:
        if overloaded_every and next(count) % overloaded_every == 0:
            return JSONResponse({"error": {"message": "overloaded"}}, 503)
        messages = (await request.json())["messages"]
        first = next(message["content"] for message in messages if message["role"] == "user")
        text = first if isinstance(first, str) else "".join(part["text"] for part in first)
        answers = sum(message["role"] == "assistant" for message in messages)
        message = {"role": "assistant", "content": script[text][min(answers, len(script[text]) - 1)]}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        usage = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}
        reply = {"id": "x", "object": "chat.completion", "created": 0, "model": "script", "choices": [choice], "usage": usage}
        return JSONResponse(reply)

    app = Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 300
    while not server.started:
        assert thread.is_alive() and time.monotonic() < deadline
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1"
    finally:
        server.should_exit = True
        thread.join()
