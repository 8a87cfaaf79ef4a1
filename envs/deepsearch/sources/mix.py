"""Mixes: several question sets, sampled by weight, each labelled as in or out of domain for reports.

Rules:
    - A set is drawn in proportion to its weight, regardless of its size. Weights don't matter when a task is selected by name.
    - A mix is a TOML file, or the preset "paper" over a folder. Paths in the file are relative to the file.

Example of a mix file:
    [[source]]
    path = "hotpotqa/train.jsonl"
    weight = 2.0

    [[source]]
    path = "bamboogle/test.jsonl"
    domain = "out_of_domain"
"""

from __future__ import annotations

import tomllib
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from empg_gym.envs.deepsearch.questions import Domain
from empg_gym.envs.deepsearch.sources.load import Loaded, QuestionSet, collect, load_file, load_folder, prefixed, set_name
from empg_gym.envs.deepsearch.sources.records import kind_of
from empg_gym.errors import ConfigError, DataError, nearest

PAPER_IN_DOMAIN = ("webwalkerqa", "hotpotqa", "2wikimultihopqa", "nq", "triviaqa")
"""Sets on which the EMPG paper reportedly trains and tests."""
PAPER_OUT_OF_DOMAIN = ("musique", "bamboogle", "popqa")
MIXES = ("paper",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One file of a mix."""

    path: Path
    weight: float = 1.0
    dataset: str = ""
    """Name of the set; empty = from the file."""
    split: str = ""
    domain: Domain = "in_domain"


@dataclass(frozen=True, slots=True)
class Data:
    """Questions and the weights of their sets."""

    questions: QuestionSet
    weights: tuple[tuple[str, float], ...] = ()
    """Weight of each set; empty = every question is equally likely."""


def load_data(path: Path, mix: str | None = None) -> Data:
    """Read a question file, a folder of them or a mix file.

    Args:
        path: file or folder; a `.toml` file is a mix.
        mix: "paper" selects the sets of the paper's mix from a folder, with equal weights, and labels them.

    Raises:
        DataError: the path is missing or has no usable questions.
        ConfigError: the mix is unknown, or `path` is not a folder.
    """
    if mix is not None and mix not in MIXES:
        raise ConfigError(f"unknown mix {mix!r}; {nearest(mix, MIXES)}")
    if mix is not None and not path.is_dir():
        raise ConfigError(f"mix={mix!r} needs a folder with the question files of its sets as data")
    if not path.exists():
        raise DataError(f"there is no file or folder {path.name!r} where data points to; check the path")
    if path.is_dir():
        entries, skipped = load_folder(path)
        return _paper(entries, skipped, path) if mix == "paper" else Data(collect(entries, skipped))
    if path.suffix == ".toml":
        return _mixed(_sources(path))
    entries, skipped = load_file(path)
    return Data(collect(entries, skipped))


def data_files(path: Path) -> list[Path]:
    """Return the existing files that `load_data` reads."""
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file() and kind_of(file))
    named = [source.path for source in _sources(path)] if path.suffix == ".toml" and path.is_file() else []
    return [file for file in (path, *named) if file.is_file()]


def _paper(entries: list[Loaded], skipped: Counter[str], folder: Path) -> Data:
    kept = []
    for entry in entries:
        name = entry.question.dataset
        if name in PAPER_IN_DOMAIN:
            kept.append(entry)
        elif name in PAPER_OUT_OF_DOMAIN:
            kept.append(replace(entry, question=replace(entry.question, domain="out_of_domain")))
        else:
            skipped[f"a set that is not in the mix ({name})"] += 1
    if not kept:
        wanted = ", ".join((*PAPER_IN_DOMAIN, *PAPER_OUT_OF_DOMAIN))
        raise DataError(f"the folder {folder.name!r} has none of the sets of the paper's mix: {wanted}")
    names = dict.fromkeys(entry.question.dataset for entry in kept)
    return Data(collect(kept, skipped), tuple((name, 1.0) for name in names))


def _mixed(sources: list[Source]) -> Data:
    entries: list[Loaded] = []
    skipped: Counter[str] = Counter()
    weights: dict[str, float] = {}
    for source in sources:
        more, left_out = load_file(source.path, dataset=source.dataset, split=source.split, domain=source.domain)
        entries += [prefixed(entry) for entry in more]
        skipped += left_out
        for name in dict.fromkeys(entry.question.dataset for entry in more):
            weights[name] = max(weights.get(name, 0.0), source.weight)
    return Data(collect(entries, skipped), tuple(weights.items()))


def _sources(path: Path) -> list[Source]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path.name} is not a mix: {error}") from None
    entries = content.get("source")
    if not isinstance(entries, list) or not entries or set(content) != {"source"}:
        raise DataError(f"{path.name} is not a mix: expected tables [[source]] with path, weight, dataset, split and domain")
    return [_source(path, entry) for entry in entries]


def _source(path: Path, entry: dict[str, Any]) -> Source:
    known = set(Source.__dataclass_fields__)
    for name in entry:
        if name not in known:
            raise DataError(f"{path.name}: unknown member {name!r} of a source; {nearest(name, known)}")
    weight, domain = entry.get("weight", 1.0), entry.get("domain", "in_domain")
    if not isinstance(entry.get("path"), str):
        raise DataError(f"{path.name}: a source needs a path")
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not weight > 0:
        raise DataError(f"{path.name}: a weight must be a number above 0, not {weight!r}")
    if domain not in ("in_domain", "out_of_domain"):
        raise DataError(f"{path.name}: domain must be 'in_domain' or 'out_of_domain', not {domain!r}")
    return Source(
        path=path.parent / entry["path"],
        weight=float(weight),
        dataset=set_name(str(entry.get("dataset", ""))),
        split=str(entry.get("split", "")),
        domain=domain,
    )
