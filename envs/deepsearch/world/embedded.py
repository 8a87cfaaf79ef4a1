"""Open the embedded encyclopedia, building it into the cache the first time (about a second for 2,000 passages)."""

from __future__ import annotations

import hashlib
from functools import lru_cache, partial
from pathlib import Path

from empg_gym.cache import cache_root
from empg_gym.envs.deepsearch.sources.load import QuestionSet, collect, load_file
from empg_gym.envs.deepsearch.world import build
from empg_gym.errors import ConfigError
from empg_gym.retrieval import analyzer
from empg_gym.retrieval.build import FORMAT
from empg_gym.retrieval.corpus import Corpus, build_corpus, read_lines
from empg_gym.retrieval.folders import build_once


def open_world(size: int, seed: int) -> tuple[QuestionSet, Corpus]:
    """Return the questions and passages of the encyclopedia with this size and seed.

    Raises:
        ConfigError: size or seed is not an integer in its range.
    """
    if isinstance(size, bool) or not isinstance(size, int) or size < build.MIN_SIZE:
        raise ConfigError(f"world_size must be a whole number of at least {build.MIN_SIZE}, not {size!r}")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise ConfigError(f"world_seed must be a whole number, not {seed!r}")
    key = hashlib.sha256(f"{build.VERSION} {size} {seed} {analyzer.VERSION} {FORMAT}".encode()).hexdigest()[:16]
    return _open(cache_root() / "deepsearch" / f"encyclopedia-{size}-{key}", size, seed)


@lru_cache(maxsize=4)
def _open(folder: Path, size: int, seed: int) -> tuple[QuestionSet, Corpus]:
    def write(target: Path) -> None:
        build.write(target, size, seed)
        build_corpus(partial(read_lines, target / "corpus.jsonl"), target / "corpus")

    if not folder.exists():
        build_once(folder, write)
    entries, skipped = load_file(folder / "questions.jsonl")
    return collect(entries, skipped), Corpus(folder / "corpus")
