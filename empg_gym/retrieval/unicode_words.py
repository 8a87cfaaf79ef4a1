"""Word boundaries of UAX#29 as in Lucene's StandardTokenizer, for text that is not plain ASCII.

Rules:
    - A token is a run of letters, digits, Katakana and connecting underscores by the rules WB5 to WB13, including the marks that follow
      each character (WB4); underscores alone are not a token.
    - Han and Hiragana give one token per character; scripts written without spaces (Thai, Lao, Khmer, Burmese) one token per run.
    - An emoji sequence is one token; emoji are Unicode's Extended_Pictographic plus the symbols that Lucene 8 adds.
    - Tokens of more than 255 characters are split.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import regex  # type: ignore[import-untyped]

MAX_TOKEN = 255
"""Maximum length of a token, in characters."""


def _class(body: str) -> str:
    """Return a pattern for a character of this class and its marks."""
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
    import regex  # lazily: it takes 7 MB per process, and most catalogues and queries don't need it

    return regex.compile("|".join((_EMOJI, _COMPLEX, _SINGLE, _WORD)), regex.V1)


def words(text: str) -> list[str]:
    """Return the unmodified tokens of `text`, in order."""
    pattern = _pattern()
    found: list[str] = []
    for match in pattern.finditer(text):
        if match.end() - match.start() <= MAX_TOKEN:
            found.append(match.group())
        else:
            found.extend(pieces(pattern, text, match.start(), match.end()))
    return found


def pieces(pattern: regex.Pattern[str], text: str, start: int, end: int) -> list[str]:
    """Split the token text[start:end] like a reader with a window of `MAX_TOKEN` characters."""
    found: list[str] = []
    while start < end:
        match = pattern.search(text, start, min(start + MAX_TOKEN, end))
        if match is None:
            start += MAX_TOKEN
            continue
        found.append(match.group())
        start = match.end()
    return found
