"""Open the tasks and the library that the environment's arguments describe.

Rules:
    - `train`: training questions; `test`: held out, in domain; `ood`: held out, out of domain; `all`: every question, labelled or not.
    - Opened data is immutable and shared by the environments of a process (a bounded cache); files are read again when they change.
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
    """Position of each question in `questions`, by id."""
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
        """Draw a question: first a set by weight, then one of its questions; without weights all questions are equally likely."""
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
    """Open tasks and library; see `DeepSearchEnv` for the arguments.

    Raises:
        ConfigError: arguments are incompatible, or the split is empty.
        DataError: a file is missing or damaged.
    """
    kinds = None if task_types is None else _kinds(task_types)
    if data is None:
        if corpus is not None or mix is not None:
            raise ConfigError("corpus and mix need data: pass the questions as data=PATH as well")
        from empg_gym.envs.deepsearch.world.embedded import open_world

        questions, passages = open_world(world_size, world_seed)
        return _tasks(questions, (), split, kinds), open_library(passages, backend, visit, web)
    if data == "official":
        raise ConfigError(
            "Deep Search has several official sets: `empg-gym data list` shows them; run `empg-gym data get NAME`, then pass "
            "data=PATH with the path that `empg-gym data path NAME` prints"
        )
    path = Path(data).expanduser()
    loaded = _load(path, mix, _stamp(path))
    if corpus is not None:
        passages = local_corpus(Path(corpus).expanduser())
        return _tasks(loaded.questions, loaded.weights, split, kinds), open_library(passages, backend, visit, web)
    if isinstance(backend, str) and backend in LOCAL_BACKENDS:
        if not any(entry.contexts for entry in loaded.questions.entries):
            raise ConfigError("these questions come without passages: pass corpus=PATH (JSON lines), or a backend with its own corpus")
        questions, passages = _with_contexts(loaded.questions)
        return _tasks(questions, loaded.weights, split, kinds), open_library(passages, backend, visit, web)
    return _tasks(loaded.questions, loaded.weights, split, kinds), open_library(None, backend, visit, web)


@lru_cache(maxsize=8)
def _load(data: Path, mix: str | None, stamp: tuple[tuple[str, int, int], ...]) -> Data:
    return load_data(data, mix)


def _stamp(path: Path) -> tuple[tuple[str, int, int], ...]:
    """Return names, sizes and modification times, to notice when files change."""
    return tuple((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in data_files(path))


def _kinds(task_types: Sequence[str]) -> tuple[str, ...]:
    if isinstance(task_types, str) or not task_types:
        raise ConfigError(f"task_types must be a list of kinds of questions, such as ['1hop', '2hop'], not {task_types!r}")
    return tuple(sorted(set(map(str, task_types))))


@lru_cache(maxsize=16)
def _tasks(questions: QuestionSet, weights: tuple[tuple[str, float], ...], split: str, kinds: tuple[str, ...] | None) -> Tasks:
    all_questions = [entry.question for entry in questions.entries]
    chosen = tuple(question for question in all_questions if split == "all" or _split_of(question) == split)
    if not chosen:
        counts = {name: sum(_split_of(question) == name for question in all_questions) for name in ("train", "test", "ood", "unlabelled")}
        found = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        raise ConfigError(f"the data has no questions in split {split!r} (it has {found}); choose another split, or split='all'")
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
    """Build one corpus from the passages of all questions: searching only a question's own passages would give the answer away."""
    ids: dict[tuple[str, str], str] = {}
    entries: list[Loaded] = []
    for entry in questions.entries:
        names = {context: ids.setdefault((context.title, context.text), str(len(ids))) for context in entry.contexts}
        support = tuple(dict.fromkeys(name for context, name in names.items() if context.supporting))
        entries.append(replace(entry, question=replace(entry.question, support=entry.question.support or support)))
    key = hashlib.sha256(json.dumps(list(ids)).encode()).hexdigest()[:24]

    def lines() -> Iterator[str]:
        for (title, text), name in ids.items():
            yield json.dumps({"id": name, "title": title, "text": text, "url": f"https://corpus.local/{name}"})

    passages = build_corpus(lines, cache_root() / "corpora" / f"contexts-{key}")
    return QuestionSet(tuple(entries), questions.skipped, questions.fingerprint), passages
