"""Load question files and folders into one immutable set of questions.

Rules:
    - The set and the split of a question come from its record, else from the file's name or folder, else from its format.
    - dev, validation and test questions are all held out: their split is "test".
    - Ids are the file's own. Questions without an id are numbered; in a folder or a mix, ids are prefixed with the set's name.
    - Train and held-out questions are disjoint: a train question with the text of a held-out one is skipped. Ids are unique.
    - `skipped` counts the skipped records by reason.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from empg_gym.envs.deepsearch.questions import Domain, Question, Split
from empg_gym.envs.deepsearch.scoring.text import normalize_answer
from empg_gym.envs.deepsearch.sources.formats import FORMATS, Context, Format, QuestionRecord, Skipped, detect, is_corpus
from empg_gym.envs.deepsearch.sources.records import Record, kind_of, read_records
from empg_gym.errors import DataError

_SPLITS: dict[str, Split] = {
    "train": "train",
    "silver": "train",
    "dev": "test",
    "val": "test",
    "valid": "test",
    "validation": "test",
    "test": "test",
}
_SET_NAMES = {
    "hotpotqa": "hotpotqa",
    "hotpot": "hotpotqa",
    "2wikimultihopqa": "2wikimultihopqa",
    "2wiki": "2wikimultihopqa",
    "2wikimqa": "2wikimultihopqa",
    "musique": "musique",
    "bamboogle": "bamboogle",
    "nq": "nq",
    "triviaqa": "triviaqa",
    "trivia": "triviaqa",
    "popqa": "popqa",
    "webwalkerqa": "webwalkerqa",
    "webwalker": "webwalkerqa",
    "gaia": "gaia",
    "hle": "hle",
    "frames": "frames",
}
_WORDS = re.compile(r"[a-z0-9]+")
_HELD_OUT_SETS = frozenset(form.dataset for form in FORMATS if form.held_out)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A question with the passages that came with it."""

    question: Question
    contexts: tuple[Context, ...] = ()


@dataclass(frozen=True, eq=False)
class QuestionSet:
    """Questions in a fixed order."""

    entries: tuple[Loaded, ...]
    skipped: tuple[tuple[str, int], ...]
    """Number of skipped records, by reason."""
    fingerprint: str
    """Short hash of ids, questions, answers and labels."""


def set_name(name: str) -> str:
    """Return the canonical name of a set: "2wikimultihopqa" for "2wiki"; unknown names are returned in lower case."""
    return _SET_NAMES.get(name.strip().lower(), name.strip().lower())


def load_file(path: Path, *, dataset: str = "", split: str = "", domain: Domain | None = None) -> tuple[list[Loaded], Counter[str]]:
    """Read one file. `dataset`, `split` and `domain` override the file's own labels.

    Returns:
        The questions, and the number of skipped records by reason.

    Raises:
        DataError: the file is missing, damaged, of an unknown format, or without usable questions.
    """
    entries: list[Loaded] = []
    skipped: Counter[str] = Counter()
    form: Format | None = None
    for index, record in enumerate(read_records(path)):
        form = form or _detected(path, record)
        try:
            entry = _read(form, record, path, index)
            if not entry.answers:
                raise Skipped("no answer")
        except Skipped as reason:
            skipped[str(reason)] += 1
            continue
        entries.append(_labelled(entry, form, path, index, dataset=dataset, split=split, domain=domain))
    if not entries:
        reasons = ", ".join(f"{count} with {reason}" for reason, count in skipped.items())
        raise DataError(f"{path.name} has no usable questions" + (f" ({reasons})" if reasons else ": it is empty"))
    return entries, skipped


def _detected(path: Path, record: Record) -> Format:
    form = detect(record)
    if form is None:
        hint = "; it looks like a corpus: pass it as corpus=" if is_corpus(record) else ""
        known = ", ".join(form.name for form in FORMATS)
        members = ", ".join(sorted(map(str, record)))[:200]
        raise DataError(f"{path.name}: its records have the members {members}, which match none of the known formats ({known}){hint}")
    return form


def _read(form: Format, record: Record, path: Path, index: int) -> QuestionRecord:
    try:
        return form.read(record)
    except Skipped:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, SyntaxError) as error:
        raise DataError(
            f"{path.name}, record {index + 1} is damaged: it does not match the format {form.name} ({type(error).__name__})"
        ) from None


def _labelled(record: QuestionRecord, form: Format, path: Path, index: int, *, dataset: str, split: str, domain: Domain | None) -> Loaded:
    words = _WORDS.findall(f"{path.parent.name} {path.name}".lower())
    name = set_name(
        dataset or record.dataset or form.dataset or next((word for word in words if word in _SET_NAMES), path.name.split(".")[0])
    )
    own_words = _WORDS.findall(path.name.lower())
    said = (
        split or record.split or next((word for word in (word.rstrip("0123456789") for word in reversed(own_words)) if word in _SPLITS), "")
    )
    label: Split = _SPLITS.get(said.lower(), "")
    if not label and name in _HELD_OUT_SETS:
        label = "test"
    given: Domain = "out_of_domain" if record.domain == "out_of_domain" else "in_domain"
    question = Question(
        id=record.id or f"{label or 'row'}_{index}",
        text=record.question,
        golden_answers=record.answers,
        dataset=name,
        split=label,
        domain=domain or given,
        kind=record.kind,
        support=record.support,
        support_titles=record.support_titles,
        pattern=record.pattern,
    )
    return Loaded(question, record.contexts)


def load_folder(folder: Path) -> tuple[list[Loaded], Counter[str]]:
    """Read every question file below a folder, except corpora; ids are prefixed with the set's name.

    Raises:
        DataError: there are no question files, or one can't be read.
    """
    entries: list[Loaded] = []
    skipped: Counter[str] = Counter()
    for path in question_files(folder):
        more, left_out = load_file(path)
        entries += [prefixed(entry) for entry in more]
        skipped += left_out
    if not entries:
        raise DataError(f"the folder {folder.name!r} has no question files; expected .jsonl, .json, .csv, .tsv or .parquet")
    return entries, skipped


def question_files(folder: Path) -> list[Path]:
    """Return the files below a folder that may contain questions, sorted by path, without corpora."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and kind_of(path))
    return [path for path in files if not is_corpus(next(iter(read_records(path)), {}))]


def prefixed(entry: Loaded) -> Loaded:
    """Return the question with the set's name before its id."""
    return replace(entry, question=replace(entry.question, id=f"{entry.question.dataset}/{entry.question.id}"))


def collect(entries: Iterable[Loaded], skipped: Counter[str]) -> QuestionSet:
    """Check that ids are unique, drop train questions that are also held out, and return an immutable set.

    Raises:
        DataError: an id occurs twice.
    """
    entries = list(entries)
    skipped = Counter(skipped)
    held_out = {normalize_answer(entry.question.text) for entry in entries if entry.question.split == "test"}
    kept: list[Loaded] = []
    seen: set[str] = set()
    for entry in entries:
        question = entry.question
        if question.split == "train" and normalize_answer(question.text) in held_out:
            skipped["a train question that is also held out"] += 1
            continue
        if question.id in seen:
            raise DataError(f"the question id {question.id[:80]!r} occurs twice; ids must be unique, since they name tasks")
        seen.add(question.id)
        kept.append(entry)
    return QuestionSet(tuple(kept), tuple(sorted(skipped.items())), _fingerprint(kept))


def _fingerprint(entries: Sequence[Loaded]) -> str:
    digest = hashlib.sha256()
    for entry in entries:
        question = entry.question
        parts = (question.id, question.text, *question.golden_answers, question.dataset, question.split, question.domain)
        digest.update("\x1f".join(parts).encode("utf-8", "surrogatepass") + b"\x1e")
    return digest.hexdigest()[:16]
