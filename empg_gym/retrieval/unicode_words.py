"""Word boundaries of UAX#29 as Lucene's StandardTokenizer applies them to text that is not plain ASCII.

Rules:
    - A token is a run of letters, digits, Katakana and connecting underscores by the rules WB5 to WB13, with the marks that
      follow each character (WB4); underscores alone are no token.
    - Han and Hiragana give one token a character; scripts written without spaces (Thai, Lao, Khmer, Burmese) one token a run.
    - An emoji sequence is one token; the set of emoji is Unicode's Extended_Pictographic and the symbols that Lucene 8 adds.
    - Longer tokens than 255 characters are cut into pieces.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import regex  # type: ignore[import-untyped]

MAX_TOKEN = 255
"""Longest token, in characters."""


def _class(body: str) -> str:
    """A character of this class and the marks attached to it."""
    return rf"(?:[{body}][\p{{WB=Extend}}\p{{WB=Format}}\p{{WB=ZWJ}}]*)"


_LETTER = _class(r"[\p{WB=ALetter}\p{WB=Hebrew_Letter}]--[\u2600-\u27bf]")
_HEBREW = _class(r"\p{WB=Hebrew_Letter}")
_DIGIT = _class(r"\p{WB=Numeric}")
_KATAKANA = _class(r"\p{WB=Katakana}")
_JOIN = _class(r"\p{WB=ExtendNumLet}")
_IN_WORD = _class(r"\p{WB=MidLetter}\p{WB=MidNumLet}':")
_IN_NUMBER = _class(r"\p{WB=MidNum}\p{WB=MidNumLet}'")

_CORE = (
    rf"(?:{_KATAKANA}(?:{_JOIN}*{_KATAKANA})*"
    rf"|(?:{_DIGIT}(?:(?:{_IN_NUMBER}|{_JOIN}*){_DIGIT})*|{_LETTER}(?:(?:{_IN_WORD}|{_JOIN}*){_LETTER})*"
    rf"|{_HEBREW}\"{_HEBREW}|{_HEBREW}')+)"
)
_WORD = rf"{_JOIN}*{_CORE}(?:{_JOIN}+{_CORE})*{_JOIN}*"
_PICTURE = (
    r"[\p{Extended_Pictographic}\u2600-\u2605\u2607-\u2612\u2614-\u2685\u2690-\u2705\u2708-\u2712\u2763-\u2767]"
    r"(?:\ufe0f|\p{Emoji_Modifier})?[\U000E0020-\U000E007F]*"
)
_EMOJI = rf"[0-9#*]\ufe0f?\u20e3|\p{{Regional_Indicator}}{{2}}|{_PICTURE}(?:\u200d{_PICTURE})*"
_COMPLEX = r"[\p{Line_Break=Complex_Context}][\p{Line_Break=Complex_Context}\p{WB=Extend}\p{WB=Format}]*"
_SINGLE = _class(r"\p{Script=Han}\p{Script=Hiragana}")


@lru_cache(maxsize=1)
def _pattern() -> regex.Pattern[str]:
    import regex  # 7 MB a process, for text that most catalogues and queries don't have

    return regex.compile("|".join((_EMOJI, _COMPLEX, _SINGLE, _WORD)), regex.V1)


def words(text: str) -> list[str]:
    """Return the tokens of `text` in their order, as written."""
    pattern = _pattern()
    found: list[str] = []
    for match in pattern.finditer(text):
        if match.end() - match.start() <= MAX_TOKEN:
            found.append(match.group())
        else:
            found.extend(pieces(pattern, text, match.start(), match.end()))
    return found


def pieces(pattern: regex.Pattern[str], text: str, start: int, end: int) -> list[str]:
    """Cut the token text[start:end] as a reader does that sees at most `MAX_TOKEN` characters at a time."""
    found: list[str] = []
    while start < end:
        match = pattern.search(text, start, min(start + MAX_TOKEN, end))
        if match is None:
            start += MAX_TOKEN
            continue
        found.append(match.group())
        start = match.end()
    return found
