"""An agent in a process of its own, in any language: JSON lines on its standard input and output.

Protocol: one request per line, one reply per line.
    request  {"id": 7, "session": 3, "seed": 123, "messages": [{"role": …, "content": …}, …], "tools": […]}
    reply    {"id": 7, "text": "…"}                          the response, as a model would write it
             {"id": 7, "tool_calls": [{"name": "act", "arguments": {"action": "look"}}], "text": "thought"}
             {"id": 7, "stop": true}                         leaves the episode
             {"id": 7, "error": "…"}                         failed; the episode is retried
    end      {"end": 3}                                      session 3 is over; no reply

Rules:
    - `per="session"` starts a process for each episode; `per="agent"` shares one, which gets requests of several sessions and may reply
      in any order. `id` may be left out while a single request is open.
    - A reply that takes longer than `timeout`, breaks the protocol or never comes because the process died is an `AgentError` with the
      exit status and the end of standard error; such a process is ended and replaced at the next request.
    - Sessions that wait for the start of a shared process start it again if the session that started it is cancelled.
    - However an episode ends, its process ends: standard input is closed, then SIGTERM, after `grace` seconds SIGKILL, to its whole group.
      However this process ends, so do those of its agents (`empg_gym.children`).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import math
import os
import shlex
import signal
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from empg_gym.agent_env import LLMAgentEnv
from empg_gym.agents.base import AgentInfo, BaseAgent, Message
from empg_gym.agents.border import text_of
from empg_gym.children import child_environment, guard, kill_strays, release
from empg_gym.errors import AgentError, ConfigError
from empg_gym.guardian import kill_group
from empg_gym.trajectory import Completion

_LONGEST_LINE = 64 * 2**20
_KEPT_ERRORS = 2000
_DRAIN_SECONDS = 0.2
"""Time for the rest of the output of a process that has ended."""


class ProcessAgent(BaseAgent):
    """Runs `command` and exchanges JSON lines with it.

    Args:
        command: a command line, split as by a shell, but run without one.
        per: "session" or "agent".
        timeout: seconds for one reply.
        grace: seconds between SIGTERM and SIGKILL.
        env: additional environment variables.

    Raises:
        ConfigError: the command is empty, `per` is unknown, or a time is not a number above 0.
    """

    def __init__(
        self,
        command: str | Sequence[str],
        *,
        per: Literal["session", "agent"] = "session",
        timeout: float = 120.0,
        grace: float = 2.0,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.command = shlex.split(command) if isinstance(command, str) else list(command)
        if not self.command:
            raise ConfigError("exec: needs a command, such as exec:'python my_agent.py'")
        if per not in ("session", "agent"):
            raise ConfigError(f"per must be 'session' or 'agent', not {per!r}")
        for name, seconds in (("timeout", timeout), ("grace", grace)):
            if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
                raise ConfigError(f"{name} of exec: must be a number of seconds above 0, not {seconds!r}")
        self.per = per
        self.timeout = timeout
        self.grace = grace
        self._environment = {**os.environ, **(env or {})}
        self._numbers = itertools.count(1)
        self._shared: AgentProcess | None = None
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def info(self) -> AgentInfo:
        return AgentInfo(end_on_cut_response=False)

    def session(self, env: LLMAgentEnv, seed: int) -> ProcessSession:
        return ProcessSession(self, next(self._numbers), seed)

    async def process(self, own: AgentProcess | None) -> AgentProcess:
        """Return a running process: `own` if it still runs, the shared one, or a new one."""
        while (current := self._shared if self.per == "agent" else own) is not None and current.alive:
            # Shielded, because several sessions may wait for the same start: cancelling one must not cancel it for the others.
            await asyncio.shield(current.started)
            if current.alive:
                return current
        if current is not None:
            self.end(current)
        current = AgentProcess(self.command, self._environment)
        if self.per == "agent":
            self._shared = current
        try:
            await current.start()
        except asyncio.CancelledError:
            self.end(current)
            raise
        return current

    def end(self, process: AgentProcess) -> None:
        """Start ending a process; `aclose` waits for it."""
        if process is self._shared:
            self._shared = None
        task = asyncio.get_running_loop().create_task(process.end(self.grace))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def aclose(self) -> None:
        """End all processes and wait until they are gone."""
        if self._shared is not None:
            self.end(self._shared)
        await asyncio.gather(*self._ending)


class ProcessSession:
    """One episode of a process agent."""

    def __init__(self, agent: ProcessAgent, number: int, seed: int) -> None:
        self._agent = agent
        self._number = number
        self._seed = seed
        self._process: AgentProcess | None = None

    async def act(self, messages: Sequence[Message], *, tools: list[dict[str, Any]] | None = None) -> Completion:
        agent = self._agent
        self._process = process = await agent.process(self._process)
        request = {"session": self._number, "seed": self._seed, "messages": [dict(message) for message in messages], "tools": tools or []}
        try:
            reply = await process.ask(request, agent.timeout)
        except (AgentError, asyncio.CancelledError):
            if agent.per == "session" or not process.healthy:
                self._process = None
                agent.end(process)
            raise
        return _completion(reply)

    def close(self) -> None:
        """End the episode's process, or notify the shared one."""
        process, self._process = self._process, None
        if process is None:
            return
        if self._agent.per == "session":
            self._agent.end(process)
        elif process.alive:
            process.send({"end": self._number})


class AgentProcess:
    """The process and its open requests."""

    def __init__(self, command: list[str], environment: Mapping[str, str]) -> None:
        self._command = command
        self._environment = child_environment(environment)
        self._process: asyncio.subprocess.Process | None = None
        self._open: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._abandoned: set[int] = set()
        """Requests whose episode ended while they were open; their replies are dropped."""
        self._ids = itertools.count(1)
        self._errors = ""
        self._readers: list[asyncio.Task[None]] = []
        self.healthy = True
        """False once the process has died, was late or broke the protocol."""
        self.started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when `start` has ended; `alive` says whether it succeeded."""

    @property
    def alive(self) -> bool:
        """Whether the process accepts requests."""
        return self.healthy and (self._process is None or self._process.returncode is None)

    async def start(self) -> None:
        """Start the process.

        Raises:
            ConfigError: the program does not exist or may not be run.
        """
        creating = asyncio.ensure_future(
            asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=self._environment,
                limit=_LONGEST_LINE,
                start_new_session=True,
            )
        )
        try:
            # Never cancelled: asyncio would end only the process itself, and wait for as long as a child of it holds the output open.
            cancelled = await _finished(creating)
            self._process = creating.result()
        except OSError as error:
            raise ConfigError(f"can't run {self._command[0]!r}: {error.strerror}; exec: takes a program on the PATH or a path") from None
        else:
            guard(self._process.pid)
            self._readers = [asyncio.create_task(self._read_replies()), asyncio.create_task(self._read_errors())]
            if cancelled:
                self.healthy = False
                raise asyncio.CancelledError
        finally:
            self.healthy = self.healthy and self._process is not None
            self.started.set_result(None)

    async def ask(self, request: dict[str, Any], timeout: float) -> dict[str, Any]:
        """Send a request and return its reply.

        Raises:
            AgentError: there was no reply in time, the reply broke the protocol, or the process died.
        """
        number = next(self._ids)
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._open[number] = future
        try:
            self.send({"id": number, **request})
            async with asyncio.timeout(timeout):
                return await future
        except asyncio.CancelledError:
            self._abandoned.add(number)
            raise
        except TimeoutError:
            self.healthy = False
            raise AgentError(f"the agent process gave no reply within {timeout:g} s (agent.timeout){self._last_words()}") from None
        finally:
            self._open.pop(number, None)

    def send(self, message: dict[str, Any]) -> None:
        """Send one message as a line."""
        if self._process is not None and self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(json.dumps(message).encode() + b"\n")

    async def end(self, grace: float) -> None:
        """End the process and everything that it started, and wait for it."""
        self.healthy = False
        process = self._process
        if process is None:
            return
        try:
            if process.stdin is not None:
                process.stdin.close()
            self._signal(signal.SIGTERM)
            async with asyncio.timeout(grace):
                await _exit_of(process)
        except TimeoutError:
            pass
        finally:
            self._signal(signal.SIGKILL)
        await _exit_of(process)
        if self._readers and (await asyncio.wait(self._readers, timeout=_DRAIN_SECONDS))[1]:
            # Something that has left the process group holds the output open.
            kill_strays(self._environment)
        release(process.pid)
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        # asyncio closes the pipes when all of them have ended, which may be after the event loop has.
        process._transport.close()  # type: ignore[attr-defined]

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            kill_group(self._process.pid, number)

    async def _read_replies(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        problem = "the agent process closed its output"
        try:
            while line := await self._process.stdout.readline():
                if line.strip():
                    self._deliver(line)
        except (AgentError, ValueError) as error:
            problem = str(error)
        self.healthy = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                await _exit_of(self._process)
                await self._readers[1]
        status = self._process.returncode
        ended = "" if status is None else f" (it ended with status {status})"
        for future in self._open.values():
            if not future.done():
                future.set_exception(AgentError(f"{problem}{ended}{self._last_words()}"))

    def _deliver(self, line: bytes) -> None:
        try:
            reply = json.loads(line)
        except (ValueError, RecursionError):
            raise AgentError(f"the agent process wrote a line that is not JSON: {line[:200]!r}") from None
        if not isinstance(reply, dict):
            raise AgentError(f"the agent process wrote {line[:200]!r}, expected a JSON object")
        number = reply.get("id", next(iter(self._open), None) if len(self._open) == 1 else None)
        if isinstance(number, int) and number in self._abandoned:
            self._abandoned.discard(number)
            return
        future = self._open.get(number) if isinstance(number, int) else None
        if future is None:
            raise AgentError(f"the agent process replied with id {reply.get('id')!r}; open are {sorted(self._open)}")
        if not future.done():
            future.set_result(reply)

    async def _read_errors(self) -> None:
        assert self._process is not None and self._process.stderr is not None
        while chunk := await self._process.stderr.read(4096):
            self._errors = (self._errors + chunk.decode(errors="replace"))[-_KEPT_ERRORS:]

    def _last_words(self) -> str:
        return f"; its last words: {self._errors.strip()[-500:]}" if self._errors.strip() else ""


async def _finished(task: asyncio.Future[Any]) -> bool:
    """Wait for a task even if this one is cancelled meanwhile; return whether it was."""
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            cancelled = True
    return cancelled


async def _exit_of(process: asyncio.subprocess.Process) -> None:
    """Wait until a process has exited. `process.wait` may also wait for what it started, for as long as that holds the output open."""
    pause = 0.001
    while process.returncode is None:
        await asyncio.sleep(pause)
        pause = min(2 * pause, 0.02)


def _completion(reply: dict[str, Any]) -> Completion:
    if reply.get("error"):
        raise AgentError(f"the agent process reports: {reply['error']}")
    if reply.get("stop"):
        return Completion(text=str(reply.get("text", "")), stop=True)
    text, calls = text_of(reply.get("text", "")), reply.get("tool_calls") or []
    if text is None or ("text" not in reply and not calls):
        raise AgentError("a reply of the agent process needs a text, tool_calls, stop or error")
    if not isinstance(calls, list) or not all(_is_call(call) for call in calls):
        raise AgentError('tool_calls of a reply must be a list of {"name": …, "arguments": {…}}')
    return Completion(text=text, tool_calls=tuple(calls))


def _is_call(call: Any) -> bool:
    """Whether a value is a tool call; the border keeps the text of arguments that are not a JSON object."""
    return isinstance(call, dict) and isinstance(call.get("arguments", {}), dict | str)
