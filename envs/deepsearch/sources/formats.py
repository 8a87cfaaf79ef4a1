"""The supported question formats, recognised by the members of their records.

Rules:
    - A format reads one record at a time into a `QuestionRecord`; a record without a usable answer is skipped with a reason, never guessed.
    - The first format whose `marks` all occur in the first record reads the file.
    - The set and split in a record are kept; file names supply the rest (`load`).
    - Gated sets (GAIA, HLE) are read from the user's own copy; records with an image or an attachment are skipped, since there is no tool
      for them.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

Record = dict[str, Any]


class Context(NamedTuple):
    """A passage that comes with a question."""

    title: str
    text: str
    supporting: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionRecord:
    """A question as read from its file; members that the file doesn't give are empty."""

    question: str
    answers: tuple[str, ...]
    id: str = ""
    dataset: str = ""
    split: str = ""
    domain: str = ""
    kind: str = ""
    pattern: str = ""
    support: tuple[str, ...] = ()
    support_titles: tuple[str, ...] = ()
    contexts: tuple[Context, ...] = ()


class Skipped(Exception):
    """The record is skipped; the text says why. Not an error: `load` always catches it."""


@dataclass(frozen=True, slots=True)
class Format:
    """A format: its name, its set ("" for formats of several sets), the members that identify it, and its reader."""

    name: str
    dataset: str
    marks: tuple[tuple[str, ...], ...]
    """Each entry lists alternative spellings, one of which must be a member of the record."""
    read: Callable[[Record], QuestionRecord]
    held_out: bool = False
    """Whether the set is for evaluation only, so that its split is "test" unless the record or file says otherwise."""

    def fits(self, record: Record) -> bool:
        return all(any(spelling in record for spelling in spellings) for spellings in self.marks)


def texts(value: object) -> tuple[str, ...]:
    """Return the distinct non-empty texts in a string, a number or a list of them, in order."""
    if value is None or isinstance(value, dict):
        return ()
    values: Iterable[object] = value if isinstance(value, list | tuple) else [value]
    cleaned = (str(item).strip() for item in values if item is not None)
    return tuple(dict.fromkeys(text for text in cleaned if text))


def _first(record: Record, *names: str) -> Any:
    return next((record[name] for name in names if record.get(name) not in (None, "")), "")


def _question(record: Record, *names: str) -> str:
    question = str(_first(record, *names)).strip()
    if not question:
        raise Skipped("no question")
    return question


def _flashrag(record: Record) -> QuestionRecord:
    meta = record.get("metadata")
    meta = meta if isinstance(meta, dict) else {}
    domain = str(meta.get("domain") or "")
    titles = texts(meta.get("supporting_titles")) or _fact_titles(meta.get("supporting_facts"))
    return QuestionRecord(
        question=_question(record, "question"),
        answers=texts(record["golden_answers"]),
        id=str(_first(record, "id")),
        dataset=str(_first(meta, "dataset") or _first(record, "data_source")),
        split=str(meta.get("split") or ""),
        domain=domain if domain in ("in_domain", "out_of_domain") else "",
        kind=str(_first(meta, "type") or (f"{meta['hops']}hop" if "hops" in meta else "")),
        pattern=str(meta.get("pattern") or ""),
        support=texts(meta.get("supporting_doc_ids")),
        support_titles=titles,
        contexts=_contexts(meta.get("context"), titles),
    )


def _search_r1(record: Record) -> QuestionRecord:
    extra = record.get("extra_info") or {}
    truth = (record.get("reward_model") or {}).get("ground_truth")
    if isinstance(truth, dict):
        truth = truth.get("target")
    question = str(_first(record, "question") or _first(extra, "question"))
    if not question:
        prompt = record.get("prompt") or [{}]
        content = prompt if isinstance(prompt, str) else str(prompt[-1].get("content", ""))
        question = content.rsplit("Question:", 1)[-1].strip()
    if not question:
        raise Skipped("no question")
    split, index = str(extra.get("split") or ""), extra.get("index")
    own = str(_first(record, "id"))
    return QuestionRecord(
        question=question,
        answers=texts(truth),
        id=own or (f"{split or 'row'}_{index}" if index is not None else ""),
        dataset=str(_first(record, "data_source")),
        split=split,
    )


def _hotpot(record: Record) -> QuestionRecord:
    titles = _fact_titles(record.get("supporting_facts"))
    return QuestionRecord(
        question=_question(record, "question"),
        answers=texts(record.get("answer")),
        id=str(_first(record, "_id", "id")),
        kind=str(record.get("type") or ""),
        support_titles=titles,
        contexts=_contexts(record.get("context"), titles),
    )


def _fact_titles(facts: Any) -> tuple[str, ...]:
    """Read HotpotQA's supporting facts: pairs, dictionaries, or a dictionary of lists. Sentence numbers are ignored (some are wrong)."""
    if isinstance(facts, dict):
        return texts(facts["title"])
    return texts([fact["title"] if isinstance(fact, dict) else fact[0] for fact in facts or []])


def _contexts(context: Any, titles: tuple[str, ...]) -> tuple[Context, ...]:
    if isinstance(context, dict):
        context = list(zip(context["title"], context["sentences" if "sentences" in context else "content"], strict=True))
    return tuple(Context(str(title), _joined(sentences), str(title).strip() in titles) for title, sentences in context or [])


def _joined(sentences: object) -> str:
    if isinstance(sentences, str):
        return sentences.strip()
    parts = [str(sentence) for sentence in sentences] if isinstance(sentences, list | tuple) else []
    # HotpotQA's sentences include their leading space; 2Wiki's don't.
    return "".join(part if not index or part[:1].isspace() else " " + part for index, part in enumerate(parts)).strip()


def _musique(record: Record) -> QuestionRecord:
    if record.get("answerable") is False:
        raise Skipped("not answerable")
    paragraphs = record.get("paragraphs") or []
    steps = [step.get("paragraph_support_idx") for step in record.get("question_decomposition") or []]
    ordered = [p for index in dict.fromkeys(steps) for p in paragraphs if index is not None and p.get("idx") == index]
    supporting = ordered or [p for p in paragraphs if p.get("is_supporting")]
    return QuestionRecord(
        question=_question(record, "question"),
        answers=texts([record.get("answer"), *(record.get("answer_aliases") or [])]),
        id=str(_first(record, "id")),
        kind=str(record.get("id", "")).split("_")[0],
        support_titles=texts([p["title"] for p in supporting]),
        contexts=tuple(
            Context(p["title"], p["paragraph_text"], p in supporting)
            for p in [*supporting, *(q for q in paragraphs if q not in supporting)]
        ),
    )


def _bamboogle(record: Record) -> QuestionRecord:
    return QuestionRecord(question=_question(record, "Question"), answers=texts([record.get("Answer"), record.get("Answer 2")]))


def _nq(record: Record) -> QuestionRecord:
    return QuestionRecord(
        question=_question(record, "question"), answers=texts(record["answer"]), id=str(_first(record, "id", "example_id"))
    )


def _trivia(record: Record) -> QuestionRecord:
    answer = _first(record, "Answer", "answer")
    if not isinstance(answer, dict):
        raise Skipped("no answer")
    names = [_first(answer, "Value", "value"), *(_first(answer, "Aliases", "aliases") or [])]
    return QuestionRecord(
        question=_question(record, "Question", "question"),
        answers=texts([*names, *(_first(answer, "HumanAnswers", "human_answers") or [])]),
        id=str(_first(record, "QuestionId", "question_id")),
    )


def _popqa(record: Record) -> QuestionRecord:
    possible = record["possible_answers"]
    if isinstance(possible, str):
        try:
            possible = json.loads(possible)
        except ValueError:
            possible = ast.literal_eval(possible)
    return QuestionRecord(
        question=_question(record, "question"), answers=texts(possible), id=str(_first(record, "id")), kind=str(record.get("prop") or "")
    )


def _webwalker(record: Record) -> QuestionRecord:
    info = record.get("info") if isinstance(record.get("info"), dict) else record
    assert isinstance(info, dict)
    return QuestionRecord(
        question=_question(record, "question", "Question"),
        answers=texts(_first(record, "answer", "Answer")),
        id=str(_first(record, "id")),
        kind=str(_first(info, "type", "difficulty_level")),
    )


def _gaia(record: Record) -> QuestionRecord:
    if _first(record, "file_name"):
        raise Skipped("needs an attached file")
    answers = texts(_first(record, "Final answer", "answer"))
    if answers == ("?",):
        raise Skipped("answer not published")
    kind = f"level {record['Level']}" if "Level" in record else ""
    return QuestionRecord(question=_question(record, "Question"), answers=answers, id=str(_first(record, "task_id", "id")), kind=kind)


def _hle(record: Record) -> QuestionRecord:
    if _first(record, "image"):
        raise Skipped("needs an image")
    return QuestionRecord(
        question=_question(record, "question"),
        answers=texts(record.get("answer")),
        id=str(_first(record, "id")),
        kind=str(_first(record, "answer_type")),
    )


def _frames(record: Record) -> QuestionRecord:
    return QuestionRecord(
        question=_question(record, "Prompt"),
        answers=texts(record.get("Answer")),
        id=str(_first(record, "", "Unnamed: 0", "id")),
        kind=str(_first(record, "reasoning_types")),
    )


FORMATS = (
    Format("search-r1", "", (("reward_model",), ("prompt", "question", "extra_info")), _search_r1),
    Format("flashrag", "", (("question",), ("golden_answers",)), _flashrag),
    Format("2wikimultihopqa", "2wikimultihopqa", (("question",), ("context",), ("evidences", "evidences_id")), _hotpot),
    Format("hotpotqa", "hotpotqa", (("question",), ("context",), ("_id", "supporting_facts", "level")), _hotpot),
    Format("musique", "musique", (("question",), ("paragraphs",)), _musique),
    Format("popqa", "popqa", (("question",), ("possible_answers",)), _popqa, held_out=True),
    Format("webwalkerqa", "webwalkerqa", (("question", "Question"), ("answer", "Answer"), ("root_url",)), _webwalker, held_out=True),
    Format("gaia", "gaia", (("Question",), ("Level",), ("Final answer", "answer")), _gaia, held_out=True),
    Format("hle", "hle", (("question",), ("answer",), ("answer_type",)), _hle, held_out=True),
    Format("frames", "frames", (("Prompt",), ("Answer",)), _frames, held_out=True),
    Format("triviaqa", "triviaqa", (("Question", "question"), ("QuestionId", "question_id")), _trivia),
    Format("bamboogle", "bamboogle", (("Question",), ("Answer",)), _bamboogle, held_out=True),
    Format("nq", "nq", (("question",), ("answer",)), _nq),
)
"""All formats, most specific first."""


def detect(record: Record) -> Format | None:
    """Return the format of a record, or None if it is unknown."""
    return next((form for form in FORMATS if form.fits(record)), None)


def is_corpus(record: Record) -> bool:
    """Return whether a record is a passage to search rather than a question."""
    return detect(record) is None and ("contents" in record or ("title" in record and "text" in record))
