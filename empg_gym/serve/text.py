"""Texts for protocols that accept UTF-8 only."""

from __future__ import annotations


def utf8(text: str) -> str:
    """Return `text` with lone surrogates, which UTF-8 can't write, replaced by "?"."""
    return text.encode("utf-8", "replace").decode("utf-8")
