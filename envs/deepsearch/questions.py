"""A question with everything that the environment, but not the agent, knows about it.

Rules:
    - `golden_answers` and `support` never leave the environment: they reach neither observations nor info nor errors.
    - `domain` and `split` are labels for choosing and reporting; they say nothing about the answer.
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
    """Accepted answers; at least one, except in sets whose answers are not published."""
    dataset: str = ""
    """Short name of the set it comes from: "hotpotqa"."""
    split: Split = ""
    """"train", or "test" for anything held out (dev, validation, test); empty where the source does not say."""
    domain: Domain = "in_domain"
    kind: str = ""
    """Kind of question, as its set names it: "bridge", "comparison", "3hop"."""
    support: tuple[str, ...] = ()
    """Ids of the passages that the answer follows from, in the order of reasoning where it is known."""
    support_titles: tuple[str, ...] = ()
    """Titles of those passages, for corpora in which their ids are not known."""
    pattern: str = ""
    """Pattern of hops of a generated question: "work.creator.birthplace"."""

    @property
    def task_type(self) -> str:
        """The kind of question, or its set where that names none."""
        return self.kind or self.dataset
