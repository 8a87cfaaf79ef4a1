"""The expert: looks up each supporting passage in turn, and answers once it has seen them all.

Rules:
    - It knows the supporting passages and the accepted answer, and searches under the agent's rules: one query per step.
    - A passage counts as seen once it has been shown, regardless of the query that found it.
    - It searches for a passage by its title, then by its title and the first words of its text. When these queries or the searches are
      exhausted, it has no action: it never answers from its knowledge alone.
    - Its thought quotes the sentence that it has read and that its action is based on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from empg_gym.envs.deepsearch.actions import MAX_QUERY_CHARS, Action, Answer, Search
from empg_gym.envs.deepsearch.episode import Episode
from empg_gym.envs.deepsearch.questions import Question
from empg_gym.retrieval.corpus import Corpus

_OPENING_WORDS = (8, 24)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


def next_action(question: Question, episode: Episode, corpus: Corpus | None, *, can_search: bool) -> Action | None:
    """Return the expert's next action, or None if it can't reach an answer that it can justify."""
    if not question.golden_answers:
        return None
    wanted = missing(question, episode, corpus)
    if wanted is None:
        return None
    if not wanted:
        return Answer(question.golden_answers[0])
    if not can_search:
        return None
    return next((Search((query,)) for query in wanted[0] if query.lower() not in episode.asked), None)


def missing(question: Question, episode: Episode, corpus: Corpus | None) -> list[list[str]] | None:
    """Return, for each supporting passage not yet seen, the queries that may find it; None if the supporting passages are unknown."""
    if question.support and corpus is not None:
        absent = [name for name in question.support if name not in episode.seen]
        return [list(_queries(corpus, name)) for name in absent]
    if question.support_titles:
        return [[" ".join(title.split())] for title in question.support_titles if title not in episode.seen_titles]
    return None


def evidence(action: Action, question: Question, episode: Episode, corpus: Corpus | None) -> str:
    """Return the sentence that names what the action searches for or answers, from the last supporting passage seen that has one.

    Empty if no such passage was seen, and for yes and no, which no sentence names.
    """
    wanted = action.text if isinstance(action, Answer) else action.queries[0] if isinstance(action, Search) else ""
    if corpus is None or not wanted or wanted.lower() in ("yes", "no"):
        return ""
    named = re.compile(rf"(?<!\w){re.escape(wanted)}(?!\w)", re.IGNORECASE)
    for name in reversed(question.support):
        passage = corpus.find(name) if name in episode.seen else None
        for sentence in _SENTENCE_END.split(passage.text) if passage is not None else ():
            if named.search(sentence):
                return sentence.strip()
    return ""


def _queries(corpus: Corpus, name: str) -> Iterator[str]:
    passage = corpus.find(name)
    if passage is None:
        return
    title = " ".join(passage.title.split())
    if title:
        yield title[:MAX_QUERY_CHARS]
    words = passage.text.split()
    for count in _OPENING_WORDS:
        yield " ".join([title, *words[:count]]).strip()[:MAX_QUERY_CHARS].strip()
