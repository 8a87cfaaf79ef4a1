"""`SessionBatch`: many sessions of a server that step together, several in one message.

Rules:
    - Each session is the environment of `empg_gym.connect`: equal seeds give equal episodes, whichever sessions step beside it.
    - Sessions are spread over several connections, so that all workers of a server work at the same time.
    - A lost connection is an `EnvironmentFailure` and ends the batch; make a new one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from empg_gym.errors import ConfigError
from empg_gym.serve.client import Sessions, unpack

Start = tuple[str, dict[str, Any]]
Outcome = tuple[str, float, bool, bool, dict[str, Any]]
_Call = tuple[int, str, list[Any]]


def connect_batch(
    url: str, count: int, *, split: str | None = None, token: str | None = None, seconds: float = 120.0, connections: int | None = None
) -> SessionBatch:
    """Return sessions of a server that step together.

    Args:
        url: address of the server; with the name of the environment where it serves several.
        count: number of sessions.
        split: list of tasks; None is the server's default.
        token: the server's token; None = that of the environment variable `EMPG_GYM_TOKEN`, if it is set.
        seconds: longest time for an answer.
        connections: connections over which the sessions are spread; None = two for each worker of the server.

    Raises:
        ConfigError: the address, the split or the count can't be used.
        EnvironmentFailure: no server answers there, it refuses, or it is full.

    Example:
        >>> batch = connect_batch("http://127.0.0.1:8000", 64)
        >>> starts = batch.reset(seeds=range(64))
        >>> outcomes = batch.step({0: "look", 5: "inventory"})
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ConfigError(f"count must be an integer of at least 1, not {count!r}")
    return SessionBatch(url, count, split, token, seconds, connections)


class SessionBatch:
    """The sessions; for the arguments see `connect_batch`."""

    def __init__(self, url: str, count: int, split: str | None, token: str | None, seconds: float, connections: int | None) -> None:
        self._links = [Sessions(url, token=token, seconds=seconds)]
        try:
            described: dict[str, Any] = self._links[0].ask(0, "describe", split)
            self._max_calls, self._max_message = described["max_calls"], described["max_message"]
            wanted = min(count, 2 * described["workers"] if connections is None else connections)
            while len(self._links) < wanted:
                self._links.append(Sessions(url, token=token, seconds=seconds))
            self._ask([(number, "open", [split]) for number in range(count)])
        except BaseException:
            self.close()
            raise
        self.description = described
        """The server's description of the environment."""
        self._count = count

    def __len__(self) -> int:
        return self._count

    def reset(self, seeds: Sequence[int | None] | Mapping[int, int | None], tasks: Mapping[int, int | str] | None = None) -> list[Start]:
        """Start episodes.

        Args:
            seeds: one for each session, or by number of the sessions to reset.
            tasks: index or id of the task, by number of the session; others are drawn from the seed.

        Returns:
            Observation and info of each session that was reset, in the order of `seeds`.

        Raises:
            EMPGGymError: what a reset raises, after all have been carried out.
        """
        chosen = tasks or {}
        options = {number: {"task": chosen[number]} for number in chosen}
        return [tuple(start) for start in self._ask([(n, "reset", [seed, options.get(n)]) for n, seed in self._items(seeds)])]

    def step(self, actions: Sequence[str] | Mapping[int, str]) -> list[Outcome]:
        """Step sessions.

        Args:
            actions: one for each session, or by number of the sessions to step.

        Returns:
            Observation, reward, terminated, truncated and info of each session that was stepped, in the order of `actions`.

        Raises:
            EMPGGymError: what a step raises, after all have been carried out.
        """
        return [tuple(outcome) for outcome in self._ask([(number, "step", [action]) for number, action in self._items(actions)])]

    def close(self) -> None:
        """Close all sessions."""
        for link in self._links:
            link.close()

    def _items(self, given: Sequence[Any] | Mapping[int, Any]) -> list[tuple[int, Any]]:
        if isinstance(given, Mapping):
            unknown = [number for number in given if not 0 <= number < self._count]
            if unknown:
                raise ConfigError(f"the batch has sessions 0..{self._count - 1}, not {unknown[0]}")
            return list(given.items())
        if len(given) != self._count:
            raise ConfigError(f"the batch has {self._count} sessions: give as many, or a dict by number of the session, not {len(given)}")
        return list(enumerate(given))

    def _ask(self, calls: Sequence[_Call]) -> list[Any]:
        places: list[list[int]] = [[] for _ in self._links]
        for place, (session, _, _) in enumerate(calls):
            places[session % len(self._links)].append(place)
        queues = [self._messages(calls, mine) for mine in places]
        results: list[list[Any]] = [[] for _ in calls]
        # One message at a time on each connection: a server that can't send does not read either.
        while any(queues):
            sent = [(link, queue.pop(0)) for link, queue in zip(self._links, queues, strict=True) if queue]
            for link, message in sent:
                link.send([calls[place] for place in message])
            for link, message in sent:
                for place, result in zip(message, link.receive(), strict=True):
                    results[place] = result
        return [unpack(result) for result in results]

    def _messages(self, calls: Sequence[_Call], places: Sequence[int]) -> list[list[int]]:
        """Split calls into messages that the server accepts."""
        messages: list[list[int]] = []
        size = 0
        for place in places:
            length = len(json.dumps(calls[place])) + 2
            if not messages or len(messages[-1]) >= self._max_calls or size + length > self._max_message - 100:
                messages.append([])
                size = 0
            messages[-1].append(place)
            size += length
        return messages
