"""Scores of an answer text against a list of accepted answers, each in [0, 1].

Rules:
    - `normalize_answer` is SQuAD's, byte for byte: lower case, ASCII punctuation removed, the words a, an, the replaced by a space, white
      space collapsed, in this order. Unicode quotes and dashes are kept.
    - A score over several accepted answers is the best one.
    - Listing candidates must not raise a score that is used as a reward; `cover_match` is guarded against it.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

_PUNCTUATION = frozenset(string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_CLOSED = frozenset({"yes", "no", "noanswer"})
_PIECES = re.compile(r"[,;/|\n]|\bor\b|\band\b", re.IGNORECASE)
_MAX_COVER_TOKENS = 64
_MAX_COVER_PIECES = 3


def normalize_answer(text: str) -> str:
    """Return `text` normalised as in SQuAD's evaluation script.

    Example: `normalize_answer("The  Answer, is: a Cat's")` gives `"answer is cats"`.
    """
    text = "".join(character for character in text.lower() if character not in _PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text).split())


def exact_match(answer: str, golds: Sequence[str]) -> float:
    """Return 1.0 if the normalised answer equals an accepted one (SQuAD, Search-R1)."""
    normal = normalize_answer(answer)
    return float(any(normal == normalize_answer(gold) for gold in golds))


def f1_score(answer: str, golds: Sequence[str]) -> float:
    """Return the best F1 of word multisets; 0 if one side is yes, no or noanswer and the other differs (HotpotQA, ARPO)."""
    return max((_f1(normalize_answer(answer), normalize_answer(gold)) for gold in golds), default=0.0)


def _f1(answer: str, gold: str) -> float:
    if answer != gold and (answer in _CLOSED or gold in _CLOSED):
        return 0.0
    answer_words, gold_words = answer.split(), gold.split()
    common = sum((Counter(answer_words) & Counter(gold_words)).values())
    if common == 0:
        return 0.0
    precision, recall = common / len(answer_words), common / len(gold_words)
    return 2 * precision * recall / (precision + recall)


def cover_match(answer: str, golds: Sequence[str]) -> float:
    """Return 1.0 if all words of an accepted answer occur in the answer (R1-Searcher's cover exact match), unless the answer is a list.

    "true" and "false" count as yes and no. An answer is a list, and gets 0, if it has more than 4 + 4 times the words of the accepted
    answer or more than 64 words; has more than 3 pieces and more than the accepted answer; contains both yes and no; or contains a
    second number where the accepted answer is a number.
    """
    return float(any(_covers(answer, gold) for gold in golds))


def _covers(answer: str, gold: str) -> bool:
    words = [{"true": "yes", "false": "no"}.get(word, word) for word in normalize_answer(answer).split()]
    wanted = normalize_answer({"true": "yes", "false": "no"}.get(gold.strip().lower(), gold)).split()
    if not wanted or not set(wanted) <= set(words):
        return False
    if len(words) > min(_MAX_COVER_TOKENS, 4 + 4 * len(wanted)):
        return False
    if len(_PIECES.split(answer)) > max(_MAX_COVER_PIECES, len(_PIECES.split(gold))):
        return False
    if {"yes", "no"} <= set(words):
        return False
    numbers = {word for word in words if word.isdigit()}
    return not (all(word.isdigit() for word in wanted) and numbers - set(wanted))
