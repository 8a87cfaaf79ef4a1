"""From the arguments of the environment to its tasks and its library.

Rules:
    - `train`: train rows; `test`: held-out rows in domain; `ood`: held-out rows out of domain; `all`: every row, unlabelled ones too.
    - What is opened is immutable and shared by the environments of a process (a bounded cache); files are read again when they change.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from empg_gym.cache import cache_root
from empg_gym.envs.deepsearch.library import LOCAL_BACKENDS, Library, local_corpus, open_library
from empg_gym.envs.deepsearch.questions import Question
from empg_gym.envs.deepsearch.sources.load import Loaded, QuestionSet
from empg_gym.envs.deepsearch.sources.mix import Data, data_files, load_data
from empg_gym.errors import ConfigError, nearest
from empg_gym.retrieval.backends import Retriever, Visitor
from empg_gym.retrieval.corpus import Corpus, build_corpus


@dataclass(frozen=True, eq=False)
class Tasks:
    """The questions of a split."""

    questions: tuple[Question, ...]
    weights: tuple[tuple[str, float], ...]
    skipped: tuple[tuple[str, int], ...]
    fingerprint: str
    places: dict[str, int] = field(init=False, repr=False)
    """Id to place."""
    _groups: tuple[tuple[int, ...], ...] = field(init=False, repr=False)
    _shares: tuple[float, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "places", {question.id: place for place, question in enumerate(self.questions)})
        groups: dict[str, list[int]] = {name: [] for name, _ in self.weights}
        for place, question in enumerate(self.questions if self.weights else ()):
            groups[question.dataset].append(place)
        used = [(tuple(groups[name]), weight) for name, weight in self.weights if groups[name]]
        total = sum(weight for _, weight in used)
        object.__setattr__(self, "_groups", tuple(places for places, _ in used))
        object.__setattr__(self, "_shares", tuple(weight / total for _, weight in used))

    def draw(self, rng: np.random.Generator) -> Question:
        """Draw a question: a set by weight, then one of its questions; without weights all are equally likely."""
        if not self._groups:
            return self.questions[int(rng.integers(len(self.questions)))]
        group = self._groups[int(rng.choice(len(self._groups), p=self._shares))]
        return self.questions[group[int(rng.integers(len(group)))]]


def open_tasks(
    *,
    split: str,
    data: str | Path | None,
    corpus: str | Path | None,
    mix: str | None,
    task_types: Sequence[str] | None,
    backend: str | Retriever,
    visit: bool | str | Visitor | None,
    web: Mapping[str, Any] | None,
    world_size: int,
    world_seed: int,
) -> tuple[Tasks, Library]:
    """Open what the environment's arguments name; see `DeepSearchEnv` for them.

    Raises:
        ConfigError: arguments that don't go together, or a split without questions.
        DataError: files missing or damaged.
    """
    kinds = None if task_types is None else _kinds(task_types)
    if data is None:
        if corpus is not None or mix is not None:
            raise ConfigError("corpus and mix go with data: give the questions, data=PATH, as well")
        from empg_gym.envs.deepsearch.world.embedded import open_world

        questions, passages = open_world(world_size, world_seed)
        return _tasks(questions, (), split, kinds), open_library(passages, backend, visit, web)
    if data == "official":
        raise ConfigError(
            "Deep Search has no one official set: `empg-gym data list` names them; after `empg-gym data get NAME` give data=PATH, "
            "as `empg-gym data path NAME` tells it"
        )
    path = Path(data).expanduser()
    loaded = _load(path, mix, _stamp(path))
    if corpus is not None:
        passages = local_corpus(Path(corpus).expanduser())
        return _tasks(loaded.questions, loaded.weights, split, kinds), open_library(passages, backend, visit, web)
    if isinstance(backend, str) and backend in LOCAL_BACKENDS:
        if not any(row.contexts for row in loaded.questions.rows):
            raise ConfigError("these questions come without passages: give corpus=PATH (JSON lines), or a backend that brings its own")
        questions, passages = _with_contexts(loaded.questions)
        return _tasks(questions, loaded.weights, split, kinds), open_library(passages, backend, visit, web)
    return _tasks(loaded.questions, loaded.weights, split, kinds), open_library(None, backend, visit, web)


@lru_cache(maxsize=8)
def _load(data: Path, mix: str | None, stamp: tuple[tuple[str, int, int], ...]) -> Data:
    return load_data(data, mix)


def _stamp(path: Path) -> tuple[tuple[str, int, int], ...]:
    """What tells whether files have changed: names, sizes and times."""
    return tuple((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in data_files(path))


def _kinds(task_types: Sequence[str]) -> tuple[str, ...]:
    if isinstance(task_types, str) or not task_types:
        raise ConfigError(f"task_types is a list of kinds of questions, such as ['1hop', '2hop'], not {task_types!r}")
    return tuple(sorted(set(map(str, task_types))))


@lru_cache(maxsize=16)
def _tasks(questions: QuestionSet, weights: tuple[tuple[str, float], ...], split: str, kinds: tuple[str, ...] | None) -> Tasks:
    rows = [row.question for row in questions.rows]
    chosen = tuple(question for question in rows if split == "all" or _split_of(question) == split)
    if not chosen:
        counts = {name: sum(_split_of(question) == name for question in rows) for name in ("train", "test", "ood", "unlabelled")}
        found = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        raise ConfigError(f"the data has no question for split {split!r} (it has {found}); choose another split, or split='all'")
    if kinds is not None:
        known = {question.task_type for question in chosen}
        for kind in kinds:
            if kind not in known:
                raise ConfigError(f"split {split!r} has no questions of the kind {kind!r}; {nearest(kind, known)}")
        chosen = tuple(question for question in chosen if question.task_type in kinds)
    fingerprint = hashlib.sha256(f"{questions.fingerprint} {split} {weights} {kinds}".encode()).hexdigest()[:16]
    return Tasks(chosen, weights, questions.skipped, fingerprint)


def _split_of(question: Question) -> str:
    if question.split == "test":
        return "ood" if question.domain == "out_of_domain" else "test"
    return question.split if question.domain == "in_domain" and question.split else "unlabelled"


@lru_cache(maxsize=4)
def _with_contexts(questions: QuestionSet) -> tuple[QuestionSet, Corpus]:
    """Make one corpus of the passages that come with all questions: searching only a question's own would give the answer away."""
    ids: dict[tuple[str, str], str] = {}
    rows: list[Loaded] = []
    for row in questions.rows:
        names = {context: ids.setdefault((context.title, context.text), str(len(ids))) for context in row.contexts}
        support = tuple(dict.fromkeys(name for context, name in names.items() if context.supporting))
        rows.append(replace(row, question=replace(row.question, support=row.question.support or support)))
    key = hashlib.sha256(json.dumps(list(ids)).encode()).hexdigest()[:24]

    def lines() -> Iterator[str]:
        for (title, text), name in ids.items():
            yield json.dumps({"id": name, "title": title, "text": text, "url": f"https://corpus.local/{name}"})

    passages = build_corpus(lines, cache_root() / "corpora" / f"contexts-{key}")
    return QuestionSet(tuple(rows), questions.skipped, questions.fingerprint), passages
