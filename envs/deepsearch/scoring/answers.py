"""Rewards of the answer alone: `em`, `f1`, `cover_em`. An episode without an answer gets 0."""

from __future__ import annotations

from empg_gym.envs.deepsearch.scoring.base import AnswerReward, Transcript, Verdict
from empg_gym.envs.deepsearch.scoring.text import cover_match, exact_match, f1_score


class ExactMatch(AnswerReward):
    """1 if the answer equals an accepted one after SQuAD normalisation, else 0. The default."""

    name = "em"

    def settle(self, transcript: Transcript) -> Verdict:
        value = exact_match(transcript.answer or "", transcript.golden_answers)
        return Verdict(reward=value, score=value, success=value == 1.0, scored_by=self.name)


class F1(AnswerReward):
    """Word F1 with the best accepted answer; success is an exact match."""

    name = "f1"

    def settle(self, transcript: Transcript) -> Verdict:
        answer = transcript.answer or ""
        value = f1_score(answer, transcript.golden_answers)
        return Verdict(reward=value, score=value, success=exact_match(answer, transcript.golden_answers) == 1.0, scored_by=self.name)


class CoverMatch(AnswerReward):
    """1 if the answer contains all words of an accepted one and is not a list of candidates, else 0."""

    name = "cover_em"

    def settle(self, transcript: Transcript) -> Verdict:
        value = cover_match(transcript.answer or "", transcript.golden_answers)
        return Verdict(reward=value, score=value, success=value == 1.0, scored_by=self.name)
