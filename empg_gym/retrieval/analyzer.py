"""Convert text to index terms: Lucene's DefaultEnglishAnalyzer, as used by Anserini and pyserini.

Rules, in this order:
    1. tokens by UAX#29 (`unicode_words`); plain ASCII uses a faster path with the same result;
    2. a possessive `'s` at the end is removed (with U+0027, U+2019 or U+FF07);
    3. lower case, character by character;
    4. Lucene's 33 English stop words are removed;
    5. Porter's stemmer (`porter`).
"""

from __future__ import annotations

import re
from functools import lru_cache

from empg_gym.retrieval.porter import stem
from empg_gym.retrieval.unicode_words import MAX_TOKEN, words

VERSION = "lucene-english-1"
"""Raised whenever the terms of any text change."""

STOP_WORDS = frozenset(
    (
        *("a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it", "no", "not", "of"),
        *("on", "or", "such", "that", "the", "their", "then", "there", "these", "they", "this", "to", "was", "will", "with"),
    )
)

_ASCII = r"[A-Za-z0-9_]+(?:(?:(?<=[A-Za-z])[:.'](?=[A-Za-z])|(?<=[0-9])[.',;](?=[0-9]))[A-Za-z0-9_]+)*"
_ascii_tokens = re.compile(_ASCII).findall
_ascii_pattern = re.compile(_ASCII)
_not_ascii = re.compile(r"[^ \t\n\r]*[^\x00-\x7f][^ \t\n\r]*")


def tokens(text: str) -> list[str]:
    """Return the unfiltered tokens of `text`; plain ASCII parts are in lower case."""
    if text.isascii():
        return _ascii_tokens(text.lower())
    found: list[str] = []
    end = 0
    for match in _not_ascii.finditer(text):
        found += _ascii_tokens(text[end : match.start()].lower())
        word = match.group()
        found += _unicode_tokens(word) if len(word) <= 64 else words(word)
        end = match.end()
    found += _ascii_tokens(text[end:].lower())
    return found


def term(token: str) -> str:
    """Return the index term of a token, or "" if it is a stop word or only underscores."""
    if token[-2:-1] in ("'", "’", "＇") and token[-1] in "sS":
        token = token[:-2]
    if not token.isascii():
        token = "".join(character.lower()[0] for character in token)
    else:
        token = token.lower()
    if token in STOP_WORDS or not token.strip("_"):
        return ""
    return stem(token)


_cached_term = lru_cache(maxsize=1 << 17)(term)


def analyze(text: str) -> list[str]:
    """Return the index terms of `text`, in order, with repetitions.

    Example: `analyze("The dog's 3.5oz toys")` gives `["dog", "3.5oz", "toi"]`.
    """
    terms = []
    for token in tokens(text):
        if len(token) > MAX_TOKEN:
            terms += [found for piece in _ascii_pieces(token) if (found := term(piece))]
        elif found := _cached_term(token):
            terms.append(found)
    return terms


@lru_cache(maxsize=1 << 14)
def _unicode_tokens(text: str) -> tuple[str, ...]:
    return tuple(words(text))


def _ascii_pieces(token: str) -> list[str]:
    """Split a long token like a reader with a window of `MAX_TOKEN` characters."""
    found: list[str] = []
    start = 0
    while start < len(token):
        match = _ascii_pattern.search(token, start, min(start + MAX_TOKEN, len(token)))
        if match is None:
            start += MAX_TOKEN
            continue
        found.append(match.group())
        start = match.end()
    return found
