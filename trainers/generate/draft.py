"""`Drafter`: guesses the next tokens of a response from what other responses said after the same tokens.

The engine reads guesses together with the last token of a row, draws a token at each of them, and keeps those up to the first wrong guess.
A token is a function of the logits and a number of its session, so the response is the one that would have been drawn token by token; only
the number of passes changes. Actions in text games repeat each other, above all those of the episodes of one task, and about every second
pass is saved.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

_OF_TOPIC = (5, 2, 1)
"""Lengths of the contexts that are looked up in rows with the same topic, the longest first."""
_OF_ALL = 2
"""Length of the context that is looked up in all rows."""
CONTEXT = _OF_TOPIC[0]
"""Tokens before a guess that matter."""
_MAX_TOKENS = 100_000
"""Tokens that are remembered, with up to four contexts each; then all are forgotten."""

Contexts = dict[tuple[int, ...], int]
"""What followed a context the last time."""


class Drafter:
    """Remembers what followed each short context.

    Args:
        longest: maximum number of guesses at once.
    """

    def __init__(self, longest: int) -> None:
        self.longest = longest
        self._learned = 0
        self._all: Contexts = {}
        self._of_topic: defaultdict[int, Contexts] = defaultdict(dict)

    def guess(self, ids: Sequence[int], count: int, topic: int) -> list[int]:
        """Return up to `count` guesses of the tokens after `ids`, in a row with the topic `topic`."""
        own = self._of_topic[topic]
        tail = tuple(ids[-CONTEXT:])
        guesses: list[int] = []
        for _ in range(min(count, self.longest)):
            for size in _OF_TOPIC:
                found = own.get(tail[-size:])
                if found is not None:
                    break
            else:
                found = self._all.get(tail[-_OF_ALL:])
                if found is None:
                    break
            guesses.append(found)
            tail = (*tail[1:], found)
        return guesses

    def learn(self, ids: Sequence[int], start: int, topic: int) -> None:
        """Remember the tokens of a response, `ids` from `start` on."""
        if self._learned > _MAX_TOKENS:
            self.clear()
        self._learned += len(ids) - start
        own = self._of_topic[topic]
        for at in range(start, len(ids)):
            for size in _OF_TOPIC:
                own[tuple(ids[max(0, at - size) : at])] = ids[at]
            self._all[tuple(ids[max(0, at - _OF_ALL) : at])] = ids[at]

    def clear(self) -> None:
        """Forget everything."""
        self._learned = 0
        self._all.clear()
        self._of_topic.clear()
