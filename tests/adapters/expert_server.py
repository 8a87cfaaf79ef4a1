"""An OpenAI-compatible server on the loopback that plays recorded experts.

It knows each episode by its first observation and answers with the response to the number of answers so far.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from empg_gym.adapters.episode_task import EpisodeTask
from empg_gym.adapters.session import Session
from empg_gym.trajectory import Trajectory


def expert_episodes(tasks: Sequence[EpisodeTask], **kwargs) -> list[Trajectory]:
    """Return the expert's episodes, played here."""
    session, played = Session(kwargs), []
    for task in tasks:
        session.reset(task)
        while not session.last.done:
            action = session.env.text_env.expert()
            assert action is not None
            session.step(session.env.dialogue.render("as planned", action))
        played.append(session.trajectory)
    return played


@contextmanager
def serving(episodes: Sequence[Trajectory]) -> Iterator[str]:
    """Yield the base URL of a server that plays these episodes."""
    script: Mapping[str, list[str]] = {item.steps[0].observation: [step.response for step in item.steps] for item in episodes}

    async def chat(request: Request) -> JSONResponse:
        messages = (await request.json())["messages"]
        first = next(message["content"] for message in messages if message["role"] == "user")
        text = first if isinstance(first, str) else "".join(part["text"] for part in first)
        answers = sum(message["role"] == "assistant" for message in messages)
        message = {"role": "assistant", "content": script[text][answers]}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        usage = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}
        return JSONResponse(
            {"id": "x", "object": "chat.completion", "created": 0, "model": "expert", "choices": [choice], "usage": usage}
        )  # fmt: skip

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
