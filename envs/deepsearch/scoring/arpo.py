"""`arpo`: -1 for a malformed episode, else the F1 of the boxed answer, plus 0.1 if several tools were used (ARPO's deep-research reward).

Rules:
    - Malformed: no thought, unpaired thought tags, not exactly one `<answer>` pair, an answer without `\\boxed{}`, or no answer at all.
    - Upstream pays the 0.1 when both `</search>` and `</python>` occur in the text, so writing the tags is enough. Here a tool counts
      only if it ran; the two tools are search and visit, since there is no Python.
"""

from __future__ import annotations

from empg_gym.env import KeyPart
from empg_gym.envs.deepsearch.scoring.base import Kind, Reward, Transcript, Verdict
from empg_gym.envs.deepsearch.scoring.text import exact_match, f1_score

MALFORMED = -1.0
SEVERAL_TOOLS = 0.1


class ArpoReward(Reward):
    """See the module docstring. The score is the F1; success is an exact match of the boxed answer."""

    name = "arpo"
    protocols = ("arpo",)

    def settle(self, transcript: Transcript) -> Verdict:
        answer = transcript.answer
        if answer is None or not well_formed(transcript):
            return Verdict(reward=MALFORMED, score=0.0, success=False, scored_by=self.name)
        value = f1_score(answer, transcript.golden_answers)
        bonus = SEVERAL_TOOLS if value > 0 and len(_tools(transcript)) > 1 else 0.0
        success = exact_match(answer, transcript.golden_answers) == 1.0
        return Verdict(reward=value + bonus, score=value, success=success, scored_by=self.name)

    def progress(self, transcript: Transcript) -> KeyPart:
        """Return the unpaired thought tags, whether there was a thought, and the tools that ran; None once the episode is malformed."""
        text = "\n".join(step.response for step in transcript.steps)
        # The answer brings its own pair of tags: earlier ones can't be made up for.
        if "<answer>" in text or "</answer>" in text:
            return None
        thoughts = text.count("<think>")
        unpaired = thoughts - text.count("</think>")
        return unpaired, unpaired == 0 and thoughts > 0, tuple(sorted(_tools(transcript)))


def _tools(transcript: Transcript) -> set[Kind]:
    return {step.kind for step in transcript.steps if step.carried_out} & {"search", "visit"}


def well_formed(transcript: Transcript) -> bool:
    """Return whether thought tags are paired and there is one boxed answer."""
    text = "\n".join(step.response for step in transcript.steps)
    thoughts = text.count("<think>")
    if thoughts < 1 or thoughts != text.count("</think>"):
        return False
    if text.count("<answer>") != 1 or text.count("</answer>") != 1:
        return False
    return "\\boxed{" in text[text.index("<answer>") : text.index("</answer>")]
