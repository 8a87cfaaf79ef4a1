"""Parses HTML as upstream does: visible text nodes with the role of their parent."""

from __future__ import annotations

from html.parser import HTMLParser

HIDDEN = {"style", "script", "head", "title", "meta"}
VOID = {"meta", "link", "img", "input", "br", "hr"}


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parents: list[tuple[str, dict]] = []
        self.found: list[tuple[str, str]] = []
        self.buffer = ""

    def flush(self) -> None:
        shown, self.buffer = self.buffer, ""
        if not shown or not self.parents or self.parents[-1][0] in HIDDEN:
            return
        if not shown.strip(" \n\t\f\r"):
            if "\n" in shown:
                return
            shown = " "
        tag, attributes = self.parents[-1]
        role = {"button": "BUTTON", "label": "OPTION"}.get(tag, "LINK" if attributes.get("class") == "product-link" else "TEXT")
        self.found.append((shown, role))

    def handle_starttag(self, tag, attrs):
        self.flush()
        if tag not in VOID:
            self.parents.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        self.flush()
        assert self.parents.pop()[0] == tag, f"{tag} is closed out of order"

    def handle_decl(self, decl):
        self.flush()

    def handle_data(self, data):
        self.buffer += data


def nodes_of(source: str) -> list[tuple[str, str]]:
    """Return (text, role) of the visible text nodes."""
    reader = _Reader()
    reader.feed(source)
    reader.close()
    assert not reader.parents, "a tag is left open"
    return reader.found
