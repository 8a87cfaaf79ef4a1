"""Generated passages and queries for the retrieval benchmark: Zipf-distributed words, a function of the seed.

Words: 300,000 with English-like endings, with Lucene's stop words as the most frequent ones; rank r has probability ~ r ** -1.07.
Passages: a title of two or three words, and a text of about 85 words that begins with the title.
Queries: 3 to 8 words of a single passage, including stop words.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from empg_gym.retrieval.analyzer import STOP_WORDS

WORDS = 300_000
EXPONENT = 1.07
_ONSETS = [
    *("b", "bl", "br", "c", "ch", "cr", "d", "dr", "f", "fl", "g", "gr", "h", "j", "k", "l"),
    *("m", "n", "p", "pl", "pr", "qu", "r", "s", "sh", "sl", "st", "t", "th", "tr", "v", "w"),
]
_VOWELS = ["a", "e", "i", "o", "u", "ai", "ea", "ou"]
_CODAS = ["", "", "n", "r", "l", "s", "t", "m", "nd", "ck"]
_ENDINGS = ["", "", "", "s", "ed", "ing", "er", "ly", "ation", "ness", "al", "ive", "ment", "able", "ous", "ity"]


def vocabulary(rng: np.random.Generator) -> list[str]:
    """Return `WORDS` different words, most frequent first."""
    words = dict.fromkeys(sorted(STOP_WORDS))
    while len(words) < WORDS:
        size = 50_000
        syllables = rng.integers(1, 4, size)
        picks = rng.integers(0, 1 << 30, (size, 10))
        for count, pick in zip(syllables.tolist(), picks.tolist(), strict=True):
            word = "".join(
                _ONSETS[pick[3 * i] % len(_ONSETS)] + _VOWELS[pick[3 * i + 1] % len(_VOWELS)] + _CODAS[pick[3 * i + 2] % len(_CODAS)]
                for i in range(count)
            )
            words[word + _ENDINGS[pick[9] % len(_ENDINGS)]] = None
    return list(words)[:WORDS]


def passages(count: int, seed: int = 0) -> Iterator[tuple[str, str]]:
    """Yield pairs of title and text."""
    rng = np.random.default_rng(seed)
    words = np.array(vocabulary(rng), dtype=object)
    edges = np.cumsum(np.arange(1, WORDS + 1, dtype=np.float64) ** -EXPONENT)
    edges /= edges[-1]
    for start in range(0, count, 10_000):
        size = min(10_000, count - start)
        lengths = np.clip(rng.normal(80, 20, size), 20, 160).astype(int)
        drawn = words[np.searchsorted(edges, rng.random(int(lengths.sum())))]
        titles = words[rng.integers(100, WORDS, (size, 3))]
        shown = rng.integers(2, 4, size)
        position = 0
        for row in range(size):
            title = " ".join(titles[row, : shown[row]]).title()
            yield title, f"{title} {' '.join(drawn[position : position + lengths[row]])}."
            position += int(lengths[row])


def queries(texts: list[str], count: int, seed: int = 1) -> list[str]:
    """Return `count` queries, each with words of one of `texts`."""
    rng = np.random.default_rng(seed)
    found = []
    for row in rng.integers(0, len(texts), count).tolist():
        words = texts[row].rstrip(".").lower().split()
        found.append(" ".join(words[place] for place in rng.choice(len(words), int(rng.integers(3, 9)), replace=False)))
    return found


def write(folder: Path, count: int, query_count: int = 1000) -> None:
    """Write `corpus.jsonl` and `queries.json` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    sample = []
    with (folder / "corpus.jsonl").open("w") as handle:
        for number, (title, text) in enumerate(passages(count)):
            handle.write(json.dumps({"id": str(number), "title": title, "text": text}) + "\n")
            if number % (count // query_count) == 0:
                sample.append(text)
    (folder / "queries.json").write_text(json.dumps(queries(sample, query_count)))
