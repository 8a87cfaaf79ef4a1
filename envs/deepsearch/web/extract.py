"""Extracts readable text from HTML and from any text of a foreign page.

Rules:
    - Kept: the title, and visible text with one line per block; links keep their text. Dropped: scripts, styles, templates, form
      controls, comments, and elements hidden by `hidden`, `aria-hidden="true"`, or an inline style of `display:none`,
      `visibility:hidden`, `opacity:0` or `font-size:0`.
    - In every text, control, zero-width and other invisible characters are dropped, and white space is collapsed.
    - Broken HTML never raises. Time and memory are linear in the length of the page.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple

from empg_gym.envs.deepsearch.web.html_tokens import End, Start, tokens

_DROPPED = frozenset(
    (
        *("script", "style", "template", "noscript", "svg", "math", "canvas", "iframe", "object", "select", "button", "textarea"),
        *("audio", "video", "dialog", "noembed", "noframes", "title"),
    )
)
_BLOCKS = frozenset(
    (
        *("address", "article", "aside", "blockquote", "body", "br", "caption", "dd", "details", "div", "dl", "dt", "fieldset"),
        *("figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol"),
        *("p", "pre", "section", "summary", "table", "tr", "ul"),
    )
)
_VOID = frozenset(("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"))
_CLOSES_ITSELF = frozenset(("li", "td", "th", "tr", "dt", "dd", "option"))
_TINY = re.compile(r"(?:^|;)(?:opacity|font-size):0(?:\.0*)?(?:px|em|rem|pt|%)?(?:;|!|$)")
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff\ud800-\udfff]"
)
_BLANKS = re.compile(r"[^\S\n]+")


class Extract(NamedTuple):
    """Title and text of a page."""

    title: str
    text: str


def clean(text: str) -> str:
    """Return `text` without invisible characters, white space collapsed, with at most one consecutive empty line."""
    text = _INVISIBLE.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    kept: list[str] = []
    for line in text.split("\n"):
        line = _BLANKS.sub(" ", line).strip()
        if line or (kept and kept[-1]):
            kept.append(line)
    return "\n".join(kept).strip()


def clean_line(text: str) -> str:
    """Return `text` cleaned, on one line."""
    return " ".join(clean(text).split())


def from_html(page: str) -> Extract:
    """Return the title and the visible text of an HTML page."""
    reader = _Reader()
    for token in tokens(page):
        if isinstance(token, Start):
            reader.start(token)
        elif isinstance(token, End):
            reader.end(token.name)
        else:
            reader.text(token)
    return Extract(clean_line(reader.title), clean("".join(reader.parts)))


class _Reader:
    def __init__(self) -> None:
        self.parts: list[str] = []
        self.title = ""
        self._open: list[tuple[str, bool]] = []
        """Name of each open element, outermost first, and whether it hides its content."""
        self._count: Counter[str] = Counter()
        self._hiding = 0

    def start(self, tag: Start) -> None:
        name = tag.name
        if name in _BLOCKS:
            self.parts.append("\n")
            if self._open and self._open[-1][0] == "p":
                self._close()
        elif name in ("td", "th"):
            self.parts.append(" ")
        if name in _VOID:
            return
        if name in _CLOSES_ITSELF and self._open and self._open[-1][0] == name:
            self._close()
        hides = name in _DROPPED or _hidden(tag.attributes)
        self._open.append((name, hides))
        self._count[name] += 1
        self._hiding += hides

    def end(self, name: str) -> None:
        if self._count[name]:
            while self._close() != name:
                pass
        if name in _BLOCKS:
            self.parts.append("\n")

    def text(self, text: str) -> None:
        if self._open and self._open[-1][0] == "title" and not self.title:
            self.title = text
        elif not self._hiding:
            self.parts.append(text if self._count["pre"] else text.replace("\n", " "))

    def _close(self) -> str:
        name, hides = self._open.pop()
        self._count[name] -= 1
        self._hiding -= hides
        return name


def _hidden(attributes: dict[str, str]) -> bool:
    if "hidden" in attributes or attributes.get("aria-hidden", "").lower() == "true":
        return True
    style = "".join(attributes.get("style", "").split()).lower()
    return "display:none" in style or "visibility:hidden" in style or _TINY.search(style) is not None
