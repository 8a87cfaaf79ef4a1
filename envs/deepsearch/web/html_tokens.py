"""Splits HTML into start tags, end tags and text, in time linear in the length of the page.

The standard library's parser takes minutes for 100 kB of `<a <a <a …`, and the pages that an agent visits are untrusted.

Rules (those of the HTML standard that matter for text):
    - A comment, tag or quoted value that is never closed extends to the end of the page.
    - The content of script, style, textarea, title and similar elements is raw up to the matching end tag.
    - A `<` that does not begin a tag or a comment is text; character references are resolved in text and values. A reference to a number
      of more digits than a character can have is U+FFFD.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import NamedTuple

_LONG_NUMBER = re.compile(r"&#([xX]?)((?<=[xX])[0-9a-fA-F]{8,}|(?<![xX])[0-9]{8,});?")
_NAME = re.compile(r"[a-zA-Z][^\s/>]*")
_SPACE = re.compile(r"[\s/]*")
_BLANK = re.compile(r"\s*")
_ATTRIBUTE = re.compile(r"=?[^\s/>=]*")
_UNQUOTED = re.compile(r"[^\s>]*")
_RAW = {
    name: re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE)
    for name in ("script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes")
}


def unescape(text: str) -> str:
    """Resolve character references."""
    # The standard library raises ValueError for numbers of more than 4,300 digits, and reads long ones in quadratic time.
    return html.unescape(_LONG_NUMBER.sub(_shorter, text))


def _shorter(reference: re.Match[str]) -> str:
    digits = reference[2].lstrip("0")
    return f"&#{reference[1]}{digits or 0};" if len(digits) < 8 else "\N{REPLACEMENT CHARACTER}"


class Start(NamedTuple):
    """A start tag: its name in lower case, and its attributes (the first of each name)."""

    name: str
    attributes: dict[str, str]


class End(NamedTuple):
    """An end tag: its name in lower case."""

    name: str


def tokens(page: str) -> Iterator[Start | End | str]:
    """Yield the tags and texts of `page` in order; texts are strings, with references resolved."""
    place, size = 0, len(page)
    while place < size:
        bracket = page.find("<", place)
        if bracket < 0:
            yield unescape(page[place:])
            return
        if bracket > place:
            yield unescape(page[place:bracket])
        following = page[bracket + 1 : bracket + 2]
        if following in ("!", "?") and following:
            comment = page.startswith("<!--", bracket)
            end = page.find("-->" if comment else ">", bracket + (4 if comment else 1))
            place = size if end < 0 else end + (3 if comment else 1)
            continue
        closing = following == "/"
        name = _NAME.match(page, bracket + (2 if closing else 1))
        if name is None:
            yield "<"
            place = bracket + 1
            continue
        attributes, place = _attributes(page, name.end())
        if place < 0:
            return
        lower = name.group().lower()
        if closing:
            yield End(lower)
            continue
        yield Start(lower, attributes)
        if lower in _RAW:
            end_tag = _RAW[lower].search(page, place)
            stop = end_tag.start() if end_tag else size
            if stop > place:
                yield unescape(page[place:stop]) if lower in ("title", "textarea") else page[place:stop]
            place = stop


def _attributes(page: str, place: int) -> tuple[dict[str, str], int]:
    """Return the attributes up to the end of the tag, and the index after it (-1 if the page ends first)."""
    found: dict[str, str] = {}
    while True:
        place = _SPACE.match(page, place).end()  # type: ignore[union-attr]
        if place >= len(page):
            return found, -1
        if page[place] == ">":
            return found, place + 1
        match = _ATTRIBUTE.match(page, place)
        assert match is not None
        name, value = match.group().lower(), ""
        place = _BLANK.match(page, match.end()).end()  # type: ignore[union-attr]
        if page.startswith("=", place):
            place = _BLANK.match(page, place + 1).end()  # type: ignore[union-attr]
            quote = page[place : place + 1]
            if quote and quote in "\"'":
                end = page.find(quote, place + 1)
                if end < 0:
                    return found, -1
                value, place = page[place + 1 : end], end + 1
            else:
                unquoted = _UNQUOTED.match(page, place)
                assert unquoted is not None
                value, place = unquoted.group(), unquoted.end()
        found.setdefault(name, unescape(value))
