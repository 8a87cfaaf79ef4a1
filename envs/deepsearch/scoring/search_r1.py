"""`search_r1_format`: exact match and well-formed steps, with the values of Search-R1 v0.3.

                        well-formed                                              not well-formed
    right               1.0                                                      0.8
    wrong               0.2, or 0.3 if a search result held an accepted answer   0.1
    no answer           0 (the form asks for an answer)                          0

Well-formed is `<think>…</think>`, then any number of repetitions of `<search>…</search>`, its result and `<think>…</think>`, then
`<answer>…</answer>`, with only white space between them. Our `<visit>` may replace `<search>`. Only results from the environment count,
not text that a model wrote between result tags.
"""

from __future__ import annotations

import re

from empg_gym.env import KeyPart
from empg_gym.envs.deepsearch.scoring.base import Reward, Transcript, Verdict
from empg_gym.envs.deepsearch.scoring.text import exact_match, normalize_answer

STRUCTURE = 0.2
RETRIEVAL = 0.1
FINAL_FORMAT = 0.1

_TAG = re.compile(r"(</?(?:think|search|visit|answer)>)")
_NEXT = {
    ("start", "<think>"): "thinking",
    ("thinking", "</think>"): "thought",
    ("thought", "<search>"): "searching",
    ("thought", "<visit>"): "visiting",
    ("thought", "<answer>"): "answering",
    ("searching", "</search>"): "called",
    ("visiting", "</visit>"): "called",
    ("answering", "</answer>"): "answered",
}
_INSIDE = frozenset({"thinking", "searching", "visiting", "answering"})


class SearchR1Format(Reward):
    """See the module docstring."""

    name = "search_r1_format"
    protocols = ("search-r1",)

    def settle(self, transcript: Transcript) -> Verdict:
        right = transcript.answer is not None and exact_match(transcript.answer, transcript.golden_answers) == 1.0
        formed = transcript.answer is not None and well_formed(transcript)
        if right:
            reward = 1.0 if formed else 1.0 - STRUCTURE
        elif formed:
            reward = STRUCTURE + (RETRIEVAL if retrieved_answer(transcript) else 0.0)
        else:
            reward = FINAL_FORMAT if transcript.answer is not None else 0.0
        return Verdict(reward=reward, score=float(right), success=right, scored_by=self.name)

    def progress(self, transcript: Transcript) -> KeyPart:
        """Return whether an accepted answer was retrieved; None once a step is not well formed."""
        formed = all(_step_end(step.response) == "called" for step in transcript.steps)
        return retrieved_answer(transcript) if formed else None


def well_formed(transcript: Transcript) -> bool:
    """Return whether every step is one thought and one action, and the last action is the answer."""
    ends = [_step_end(step.response) for step in transcript.steps]
    return bool(ends) and ends[-1] == "answered" and all(end == "called" for end in ends[:-1])


def _step_end(response: str) -> str:
    state = "start"
    for part in _TAG.split(response):
        if _TAG.fullmatch(part):
            state = _NEXT.get((state, part), "broken")
        elif state not in _INSIDE and part.strip():
            return "broken"
    return state


def retrieved_answer(transcript: Transcript) -> bool:
    """Return whether an accepted answer occurs in a result, as a substring after normalisation."""
    results = [normalize_answer(step.retrieved) for step in transcript.steps if step.carried_out]
    return any(normalize_answer(gold) in result for gold in transcript.golden_answers for result in results)
