"""`Drafter`: guesses the next tokens of a response from what other responses said after the same tokens.

The engine reads guesses together with the last token of a row, draws a token at each of them, and keeps those up to the first wrong guess.
A token is a function of the logits and a number of its session, so the response is the one that would have been drawn token by token; only
the number of passes changes. Actions in text games repeat each other, and about every second pass is saved.
"""

from __future__ import annotations

from collections.abc import Sequence

_CONTEXTS = (8, 5, 3, 2)
"""Lengths of the contexts that are looked up, the longest first."""
CONTEXT = _CONTEXTS[0]
"""Tokens before a guess that matter."""
_MAX_ENTRIES = 200_000


class Drafter:
    """Remembers what followed each short context.

    Args:
        longest: maximum number of guesses at once.
    """

    def __init__(self, longest: int) -> None:
        self.longest = longest
        self._next: dict[tuple[int, ...], int] = {}

    def guess(self, ids: Sequence[int], count: int) -> list[int]:
        """Return up to `count` guesses of the tokens after `ids`."""
        tail = tuple(ids[-CONTEXT:])
        guesses: list[int] = []
        while len(guesses) < min(count, self.longest):
            for size in _CONTEXTS:
                if (found := self._next.get(tail[-size:])) is not None:
                    guesses.append(found)
                    tail = (*tail, found)
                    break
            else:
                break
        return guesses

    def learn(self, ids: Sequence[int], start: int) -> None:
        """Remember the tokens of a response, `ids` from `start` on."""
        if len(self._next) > _MAX_ENTRIES:
            self._next.clear()
        for at in range(start, len(ids)):
            for size in _CONTEXTS:
                if size <= at:
                    self._next[tuple(ids[at - size : at])] = ids[at]

    def clear(self) -> None:
        """Forget everything."""
        self._next.clear()
