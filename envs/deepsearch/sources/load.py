"""Question files and folders as one immutable set of questions.

Rules:
    - The set and the split of a question are what its record says, else what the file's name or folder says, else what its format says.
    - dev, validation and test rows are all held out: their split is "test".
    - Ids are the file's own. Rows without one are numbered; in a folder or a mix every id is preceded by the set's name.
    - Train and held-out questions are kept apart: a train row with the text of a held-out one is left out, and an id may occur once only.
    - What was left out is counted by reason in `skipped`.
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
from empg_gym.envs.deepsearch.sources.formats import FORMATS, Context, Format, Row, Skipped, detect, is_corpus
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

    rows: tuple[Loaded, ...]
    skipped: tuple[tuple[str, int], ...]
    """Reasons for which records were left out, with their number."""
    fingerprint: str
    """Short hash of ids, questions, answers and labels."""


def set_name(name: str) -> str:
    """Return the usual name of a set: "2wiki" is "2wikimultihopqa"; unknown names stay as they are."""
    return _SET_NAMES.get(name.strip().lower(), name.strip().lower())


def load_file(path: Path, *, dataset: str = "", split: str = "", domain: Domain | None = None) -> tuple[list[Loaded], Counter[str]]:
    """Read one file. `dataset`, `split` and `domain`, where given, replace what the file says.

    Returns:
        the questions, and the numbers of records left out by reason.

    Raises:
        DataError: the file is missing, damaged, of no known format, or holds no usable question.
    """
    rows: list[Loaded] = []
    skipped: Counter[str] = Counter()
    form: Format | None = None
    for index, record in enumerate(read_records(path)):
        form = form or _detected(path, record)
        try:
            row = _read(form, record, path, index)
            if not row.answers:
                raise Skipped("no answer")
        except Skipped as reason:
            skipped[str(reason)] += 1
            continue
        rows.append(_labelled(row, form, path, index, dataset=dataset, split=split, domain=domain))
    if not rows:
        reasons = ", ".join(f"{count} with {reason}" for reason, count in skipped.items())
        raise DataError(f"{path.name} holds no usable question" + (f" ({reasons})" if reasons else ": it is empty"))
    return rows, skipped


def _detected(path: Path, record: Record) -> Format:
    form = detect(record)
    if form is None:
        hint = "; it looks like a corpus: give it as corpus=" if is_corpus(record) else ""
        known = ", ".join(form.name for form in FORMATS)
        members = ", ".join(sorted(map(str, record)))[:200]
        raise DataError(f"{path.name}: its records have the members {members}, which fits no known format ({known}){hint}")
    return form


def _read(form: Format, record: Record, path: Path, index: int) -> Row:
    try:
        return form.read(record)
    except Skipped:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, SyntaxError) as error:
        raise DataError(
            f"{path.name}, record {index + 1} is damaged: it is not of the format {form.name} ({type(error).__name__})"
        ) from None


def _labelled(row: Row, form: Format, path: Path, index: int, *, dataset: str, split: str, domain: Domain | None) -> Loaded:
    words = _WORDS.findall(f"{path.parent.name} {path.name}".lower())
    name = set_name(dataset or row.dataset or form.dataset or next((word for word in words if word in _SET_NAMES), path.name.split(".")[0]))
    own_words = _WORDS.findall(path.name.lower())
    said = split or row.split or next((word for word in (word.rstrip("0123456789") for word in reversed(own_words)) if word in _SPLITS), "")
    label: Split = _SPLITS.get(said.lower(), "")
    if not label and name in _HELD_OUT_SETS:
        label = "test"
    given: Domain = "out_of_domain" if row.domain == "out_of_domain" else "in_domain"
    question = Question(
        id=row.id or f"{label or 'row'}_{index}",
        text=row.question,
        golden_answers=row.answers,
        dataset=name,
        split=label,
        domain=domain or given,
        kind=row.kind,
        support=row.support,
        support_titles=row.support_titles,
        pattern=row.pattern,
    )
    return Loaded(question, row.contexts)


def load_folder(folder: Path) -> tuple[list[Loaded], Counter[str]]:
    """Read every question file below a folder, corpora aside; ids are preceded by the set's name.

    Raises:
        DataError: there is no question file, or one that can't be read.
    """
    rows: list[Loaded] = []
    skipped: Counter[str] = Counter()
    for path in question_files(folder):
        more, left_out = load_file(path)
        rows += [prefixed(row) for row in more]
        skipped += left_out
    if not rows:
        raise DataError(f"the folder {folder.name!r} holds no question files; expected .jsonl, .json, .csv, .tsv or .parquet")
    return rows, skipped


def question_files(folder: Path) -> list[Path]:
    """Return the files below a folder that may hold questions, in the order of their paths; corpora are left out."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and kind_of(path))
    return [path for path in files if not is_corpus(next(iter(read_records(path)), {}))]


def prefixed(row: Loaded) -> Loaded:
    """Return the row with the set's name before its id."""
    return replace(row, question=replace(row.question, id=f"{row.question.dataset}/{row.question.id}"))


def collect(rows: Iterable[Loaded], skipped: Counter[str]) -> QuestionSet:
    """Check ids, keep train and held-out questions apart, and freeze.

    Raises:
        DataError: an id occurs twice.
    """
    rows = list(rows)
    skipped = Counter(skipped)
    held_out = {normalize_answer(row.question.text) for row in rows if row.question.split == "test"}
    kept: list[Loaded] = []
    seen: set[str] = set()
    for row in rows:
        question = row.question
        if question.split == "train" and normalize_answer(question.text) in held_out:
            skipped["a train question that is also held out"] += 1
            continue
        if question.id in seen:
            raise DataError(f"the question id {question.id[:80]!r} occurs twice; ids name tasks and must differ")
        seen.add(question.id)
        kept.append(row)
    return QuestionSet(tuple(kept), tuple(sorted(skipped.items())), _fingerprint(kept))


def _fingerprint(rows: Sequence[Loaded]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        question = row.question
        parts = (question.id, question.text, *question.golden_answers, question.dataset, question.split, question.domain)
        digest.update("\x1f".join(parts).encode("utf-8", "surrogatepass") + b"\x1e")
    return digest.hexdigest()[:16]
