"""Hostile replies of models and servers, agents that fail on purpose, and secrets in everything that they can write."""

from __future__ import annotations

import contextlib
import io
import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.attacks.outcome import Case, Outcome, tally
from empg_gym.agents import as_agent
from empg_gym.agents.openai import OpenAIAgent
from empg_gym.evaluation import compare, evaluate
from empg_gym.report import write_report
from empg_gym.runs.terminal import Console
from empg_gym.trajectory import read_trajectories

ENV, STEPS = "alfworld@valid_seen", {"max_steps": 2}
SECRET = "sEcr3t-Value-0123"


@contextlib.contextmanager
def answering(bodies: list[bytes], statuses: tuple[int, ...] = ()) -> Iterator[str]:
    """Serve these bodies to the posts in turn, the last one to all later ones; `statuses` are those of the first posts."""
    asked = 0

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(b'{"data": [{"id": "m"}]}', 200)

        def do_POST(self) -> None:
            nonlocal asked
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body, status = bodies[min(asked, len(bodies) - 1)], statuses[asked] if asked < len(statuses) else 200
            asked += 1
            self._answer(body, status)

        def _answer(self, body: bytes, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        server.shutdown()


def _body(message: str = '{"content": "look"}', more: str = "", usage: str = "{}", finish: str = '"stop"') -> bytes:
    return f'{{"choices": [{{"index": 0, "finish_reason": {finish}, "message": {message}{more}}}], "usage": {usage}}}'.encode()


def _call(arguments: str) -> bytes:
    return _body(f'{{"tool_calls": [{{"id": "x", "function": {{"name": "act", "arguments": {arguments}}}}}]}}')


def _logprobs(value: str) -> bytes:
    top = f'[{{"token": "a", "logprob": {value}}}, {{"token": "b", "logprob": -1.0}}]'
    return _body(more=f', "logprobs": {{"content": [{{"token": "a", "logprob": {value}, "top_logprobs": {top}}}]}}')


ABSURD = ("1" + "0" * 400, "-1", "1.5", "1e999", "NaN", "true", '"7"', "[]")
REPLIES = {
    **{f"usage {value:.8}": _body(usage=f'{{"prompt_tokens": {value}, "completion_tokens": {value}}}') for value in ABSURD},
    **{f"log-probability {value:.8}": _logprobs(value) for value in ("1e999", "NaN", "5.0", "1" + "0" * 400, "-1e308")},
    "lone surrogates": _body('{"content": "\\ud800 look \\udfff", "reasoning_content": "\\udc80"}'),
    "surrogates in a call": _call('"{\\"action\\": \\"\\\\ud800\\"}"'),
    "deep arguments": _call(json.dumps('{"action": ' + "[" * 100_000)),
    "arguments that are not JSON": _call('"{oops"'),
    "arguments of the wrong type": _call("[1]"),
    "no text": _body('{"content": null}'),
    "control characters": _body('{"content": "\\u001b[2J\\u0000\\u0007"}'),
    "a megabyte": _body(json.dumps({"content": "look " * 200_000})),
    "withheld by a filter": _body('{"content": ""}', finish='"content_filter"'),
}
"""Replies whose text or numbers are defective: malformed or invalid steps, and what is impossible is left out."""
BROKEN = {
    "no JSON": b"<html>",
    "deep JSON": b"[" * 100_000,
    "a list": b"[1]",
    "no choices": b'{"choices": []}',
    "no message": b'{"choices": [{"index": 0}]}',
    "a text that is none": _body('{"content": {"a": 1}}'),
    "token ids that are none": _body(more=', "token_ids": ["a"]'),
}
"""Replies that break the protocol: errors of the transport."""


def defects(folder: Path) -> Outcome:
    """Answer with each reply: the text's defects are steps of scored episodes, the transport's are errors; every run stays readable."""

    def holds(kind: str) -> bool:
        out = folder / str(list(all_).index(kind))
        with answering([all_[kind]]) as address:
            agent = OpenAIAgent("m", base_url=address, retries=0, timeout=30)
            summary = evaluate(ENV, agent, tasks=[0], out=out, env_kwargs=STEPS, retries=0, concurrency=1)
        [episode] = read_trajectories(out / "trajectories.jsonl")
        write_report(out)
        compare([folder / "honest", out])
        if kind in BROKEN:
            return summary.errors == 1
        counts = [count for step in episode.steps for count in (step.prompt_tokens, step.completion_tokens, step.logprobs)]
        impossible = kind.startswith(("usage", "log-prob")) and kind != "log-probability -1e308"
        return summary.errors == 0 and len(episode.steps) == 2 and not (impossible and any(count is not None for count in counts))

    all_ = {**REPLIES, **BROKEN}
    evaluate(ENV, "random", tasks=[0], out=folder / "honest", env_kwargs=STEPS)
    with patch.dict(os.environ, {"OPENAI_API_KEY": ""}):
        return tally(all_, holds, f"{len(REPLIES)} defects of the text, {len(BROKEN)} of the transport")


def refusals(folder: Path) -> Outcome:
    """Answer 401, 403, 404, 429 or 5xx once after a success: the run continues."""
    good = _body()

    def holds(status: int) -> bool:
        with answering([good, b"{}", good], (200, status)) as address:
            agent = OpenAIAgent("m", base_url=address, retries=2, timeout=30)
            summary = evaluate(ENV, agent, tasks=[0, 1, 2], env_kwargs=STEPS, retries=1, concurrency=1)
        return summary.errors == 0 and len(summary.records) == 3

    return tally([401, 403, 404, 429, 500, 503], holds, "the run continues")


def quitting(folder: Path) -> Outcome:
    """Fail every episode that is hard: the rate over all episodes says what the agent is worth."""

    class Looks:
        def act(self, messages: Any, *, tools: Any = None) -> str:
            return "<action>look</action>"

    class Quits(Looks):
        def session(self, env: Any, seed: int) -> Looks:
            if env.text_env.task.endswith(tuple("13579")):
                raise RuntimeError("too hard")
            return Looks()

    summary = evaluate(ENV, as_agent(Quits()), tasks=range(8), out=folder / "run", env_kwargs=STEPS, retries=0)
    [entry] = summary.results.values()
    page = write_report(folder / "run").read_text()
    held = 0 < entry["errors"] < 8 and "success_rate_errors_as_0" in entry and "errors as 0" in page
    return 1, int(held), f"{entry['errors']} of {entry['episodes']} episodes quit"


PLACES: dict[str, dict[str, Any]] = {
    "an option": {"api_key": SECRET},
    "a nested option": {"extra": {"api_key": SECRET}},
    "a header": {"extra": {"headers": {"Authorization": f"Bearer {SECRET}", "X-Api-Key": SECRET}}},
    "a list": {"servers": [{"url": "http://a.example", "password": SECRET}]},
    "an environment": {"env": {"MY_KEY": SECRET}},
    "user info": {"base_url": f"http://user:{SECRET}@server.example/v1"},
    "a user name alone": {"base_url": f"http://{SECRET}@server.example/v1"},
    "a query": {"base_url": f"http://server.example/v1?x=1&api-key={SECRET}"},
    "a query of another name": {"base_url": f"http://server.example/v1?access_token={SECRET}#x"},
    "a command": {"command": f"agent --api-key {SECRET} --fast"},
    "a command with equals": {"command": f"agent --token={SECRET}"},
    "an assignment": {"command": f"env API_KEY={SECRET} agent"},
    "JSON in a text": {"text": json.dumps({"api_key": SECRET})},
    "a header as text": {"text": f"Authorization: Bearer {SECRET}"},
}


def secrets(folder: Path) -> Outcome:
    """Put a secret into an option, and repeat it in the actions, the errors, the name and the description of the agent."""

    class Leaks:
        def __init__(self, options: dict[str, Any]) -> None:
            self.options, self.name = options, f"leaks {options}"

        def describe(self) -> dict[str, Any]:
            return self.options

        def act(self, messages: Sequence[Mapping[str, Any]], *, tools: Any = None) -> str:
            if len(messages) > 3:
                raise RuntimeError(f"{self.options} {SECRET}")
            return f"<action>{SECRET}</action>"

    def holds(place: str) -> bool:
        out, options = folder / place.replace(" ", "-"), PLACES[place]
        summary = evaluate(ENV, as_agent(Leaks(options)), tasks=[0], out=out, retries=0, agent_options=options)
        write_report(out)
        return all(SECRET not in path.read_text() for path in out.rglob("*") if path.is_file()) and SECRET not in json.dumps(summary.data)

    return tally(PLACES, holds, "in configuration, summary, trajectories and report")


def terminal(folder: Path) -> Outcome:
    """Print control characters of a server, and a key of the environment."""
    hostile = ["\x1b[2J", "\x1b]0;owned\x07", "\x9b31m", "\u202e", "\r", "\x1b]52;c;cm0gLXJm\x07", "\x08" * 20, "\x1bP+q\x1b\\", SECRET]

    def holds(text: str) -> bool:
        shown = io.StringIO()
        Console(file=shown, force_terminal=True, width=80, highlight=False).print(f"a{text}b", markup=False)
        return text not in shown.getvalue()

    with patch.dict(os.environ, {"SOME_API_KEY": SECRET}):
        return tally(hostile, holds, "written out, or masked")


CASES: dict[str, Case] = {
    "replies: absurd counts and log-probabilities, surrogates, deep arguments, filters": defects,
    "replies: a refusal after earlier successes": refusals,
    "agent that fails its own episodes": quitting,
    "secrets: 14 places of options, repeated in everything that an agent writes": secrets,
    "terminal: control characters and a key": terminal,
}
