"""Texts of token ids, for display only: the ids are what the agent read and wrote.

If the run has a tokenizer (`tokenizer.json` below `checkpoints/`, or in the folder itself) and the package `tokenizers` is installed, the
page shows texts; else it shows ids.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def find_tokenizer(folder: Path) -> Path | None:
    """Return the newest `tokenizer.json` of a run."""
    found = [*folder.glob("tokenizer.json"), *folder.glob("checkpoints/**/tokenizer.json"), *folder.glob("tokenizer/tokenizer.json")]
    return max(found, key=lambda path: path.stat().st_mtime) if found else None


def token_texts(folder: Path, ids: Iterable[int]) -> dict[int, str]:
    """Return the text of each id; empty if the run lacks a readable tokenizer.

    A token that is only part of a character (byte-level vocabularies) is returned as the vocabulary spells it.
    """
    path = find_tokenizer(folder)
    if path is None:
        return {}
    try:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(path))
    except Exception:  # a tokenizer of another release, or a missing package: ids are shown instead
        return {}
    texts: dict[int, str] = {}
    for token in (token for token in ids if token >= 0):  # the file may be somebody else's
        text = tokenizer.decode([token], skip_special_tokens=False)
        if not text or "\N{REPLACEMENT CHARACTER}" in text:
            text = tokenizer.id_to_token(token) or text
        if text:
            texts[token] = text
    return texts
