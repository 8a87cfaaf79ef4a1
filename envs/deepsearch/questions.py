"""A question, with what the environment knows about it and the agent doesn't.

Rules:
    - `golden_answers` and `support` never leave the environment: they don't appear in observations, `info` or errors.
    - `domain` and `split` are labels for selection and reporting; they reveal nothing about the answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Split = Literal["train", "test", ""]
Domain = Literal["in_domain", "out_of_domain"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One task.

    Example:
        Question(id="train-00017", text="Who founded Tarvok Shipping?", golden_answers=("Velra Tomsik",), dataset="embedded",
                 split="train", kind="1hop", support=("412",))
    """

    id: str
    text: str
    golden_answers: tuple[str, ...]
    """Accepted answers; at least one, except in sets with unpublished answers."""
    dataset: str = ""
    """Short name of the question's set: "hotpotqa"."""
    split: Split = ""
    """"train", or "test" for anything held out (dev, validation, test); empty where the source doesn't say."""
    domain: Domain = "in_domain"
    kind: str = ""
    """Kind of question, in the terms of its set: "bridge", "comparison", "3hop"."""
    support: tuple[str, ...] = ()
    """Ids of the supporting passages, in the order of reasoning where it is known."""
    support_titles: tuple[str, ...] = ()
    """Titles of the supporting passages, for corpora in which their ids are unknown."""
    pattern: str = ""
    """Hops of a generated question: "work.creator.birthplace"."""

    @property
    def task_type(self) -> str:
        """The kind of question, or its set if the set has no kinds."""
        return self.kind or self.dataset
