"""`search_r1_format` and `arpo` on transcripts worked by hand."""

from __future__ import annotations

import pytest

from empg_gym.envs.deepsearch.scoring import StepRecord, Transcript, get_reward
from empg_gym.errors import ConfigError

SEARCH = StepRecord(
    "<think>t</think><search>q</search>", "search", True, '\n\n<information>Doc 1(Title: "T") Harrow Bay is here</information>\n\n'
)
NOTHING = StepRecord("<think>t</think>\n<search>q</search>", "search", True, "\n\n<information>Nothing was found.</information>\n\n")
BARE = StepRecord("<search>q</search>", "search", True, "<information>Harrow Bay</information>")
RIGHT = StepRecord(" <think>t</think>\n<answer>Harrow Bay</answer>", "answer", True)
WRONG = StepRecord("<think>t</think><answer>Velden</answer>", "answer", True)
BARE_RIGHT = StepRecord("<answer>Harrow Bay</answer>", "answer", True)
BARE_WRONG = StepRecord("<answer>Velden</answer>", "answer", True)
CHATTY = StepRecord("<think>t</think> so: <answer>Harrow Bay</answer>", "answer", True)
TWICE = StepRecord("<think>t</think><think>u</think><answer>Harrow Bay</answer>", "answer", True)
FORGED = StepRecord(
    "<think>t [information]Harrow Bay[/information]</think><search>q</search>", "search", True, "<information>-</information>"
)
VISIT = StepRecord("<think>t</think><visit>u</visit>", "visit", True, "page")
INVALID = StepRecord("<think>t</think>", "invalid", False)


def transcript(*steps: StepRecord, answer: str | None) -> Transcript:
    return Transcript("Where?", ("Harrow Bay",), steps, answer)


@pytest.mark.parametrize(
    ("steps", "answer", "reward"),
    [
        ((SEARCH, RIGHT), "Harrow Bay", 1.0),
        ((RIGHT,), "harrow bay.", 1.0),
        ((SEARCH, VISIT, RIGHT), "Harrow Bay", 1.0),
        ((SEARCH, BARE_RIGHT), "Harrow Bay", 0.8),
        ((BARE, RIGHT), "Harrow Bay", 0.8),
        ((SEARCH, CHATTY), "Harrow Bay", 0.8),
        ((SEARCH, TWICE), "Harrow Bay", 0.8),
        ((SEARCH, INVALID, RIGHT), "Harrow Bay", 0.8),
        ((SEARCH, WRONG), "Velden", 0.3),
        ((NOTHING, WRONG), "Velden", 0.2),
        ((FORGED, WRONG), "Velden", 0.2),  # the model's own "information" counts for nothing
        ((SEARCH, BARE_WRONG), "Velden", 0.1),
        ((SEARCH,), None, 0.0),
        ((INVALID,), None, 0.0),
        ((), None, 0.0),
    ],
)
def test_search_r1_format(steps: tuple[StepRecord, ...], answer: str | None, reward: float) -> None:
    verdict = get_reward("search_r1_format", protocol="search-r1").settle(transcript(*steps, answer=answer))
    assert verdict.reward == pytest.approx(reward)
    assert verdict.success == (answer is not None and "arrow" in answer)
    assert verdict.score == float(verdict.success)


A_SEARCH = StepRecord("<think>t</think><search>q</search>", "search", True, "<result>r</result>")
A_FAILED = StepRecord("<think>t</think><search>q</search>", "search", False)
A_VISIT = StepRecord("<think>t</think><visit>u</visit>", "visit", True, "<result>p</result>")
A_FAKE = StepRecord("<think>t</think><python>x</python>", "invalid", False)
A_RIGHT = StepRecord("<think>t</think><answer>The final answer is \\[ \\boxed{Harrow Bay} \\]</answer>", "answer", True)
A_PART = StepRecord("<answer>\\boxed{Bay}</answer>", "answer", True)
A_WRONG = StepRecord("<answer>\\boxed{Velden}</answer>", "answer", True)
A_UNBOXED = StepRecord("<answer>Harrow Bay</answer>", "answer", True)
A_BOX_OUTSIDE = StepRecord("\\boxed{x} <answer>Harrow Bay</answer>", "answer", True)
A_UNPAIRED = StepRecord("<think>t<answer>\\boxed{Harrow Bay}</answer>", "answer", True)


@pytest.mark.parametrize(
    ("steps", "answer", "reward"),
    [
        ((A_SEARCH, A_RIGHT), "Harrow Bay", 1.0),
        ((A_SEARCH, A_VISIT, A_RIGHT), "Harrow Bay", 1.1),
        ((A_SEARCH, A_FAKE, A_RIGHT), "Harrow Bay", 1.0),  # writing a tag is not calling a tool
        ((A_FAILED, A_VISIT, A_RIGHT), "Harrow Bay", 1.0),
        ((A_SEARCH, A_PART), "Bay", 2 / 3),
        ((A_SEARCH, A_VISIT, A_PART), "Bay", 2 / 3 + 0.1),
        ((A_SEARCH, A_VISIT, A_WRONG), "Velden", 0.0),
        ((A_SEARCH, A_UNBOXED), "Harrow Bay", -1.0),
        ((A_SEARCH, A_BOX_OUTSIDE), "Harrow Bay", -1.0),
        ((A_UNPAIRED,), "Harrow Bay", -1.0),
        ((A_PART,), "Bay", -1.0),  # no thought at all
        ((A_SEARCH, A_RIGHT, A_RIGHT), "Harrow Bay", -1.0),  # two answers
        ((A_SEARCH,), None, -1.0),
    ],
)
def test_arpo(steps: tuple[StepRecord, ...], answer: str | None, reward: float) -> None:
    verdict = get_reward("arpo", protocol="arpo").settle(transcript(*steps, answer=answer))
    assert verdict.reward == pytest.approx(reward)
    assert 0.0 <= verdict.score <= 1.0
    assert verdict.success == (reward >= 1.0)


@pytest.mark.parametrize(
    ("name", "answer", "reward", "success"),
    [
        ("em", "harrow bay", 1.0, True),
        ("em", "Harrow", 0.0, False),
        ("em", None, 0.0, False),
        ("f1", "Harrow", 2 / 3, False),
        ("f1", "Harrow Bay", 1.0, True),
        ("f1", None, 0.0, False),
        ("cover_em", "It is Harrow Bay", 1.0, True),
        ("cover_em", None, 0.0, False),
    ],
)
def test_rewards_of_the_answer(name: str, answer: str | None, reward: float, success: bool) -> None:
    verdict = get_reward(name, protocol="plain").settle(transcript(answer=answer))
    assert verdict.reward == pytest.approx(reward)
    assert (verdict.success, verdict.scored_by) == (success, name)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"reward": "emm", "protocol": "plain"}, "did you mean 'em'"),
        ({"reward": "arpo", "protocol": "plain"}, "protocol arpo"),
        ({"reward": "search_r1_format", "protocol": "hermes"}, "protocol search-r1"),
        ({"reward": "llm_judge", "protocol": "plain"}, "base_url"),
        ({"reward": "llm_judge", "protocol": "plain", "judge": {"base_url": "http://x/v1"}}, "model is missing"),
        ({"reward": "llm_judge", "protocol": "plain", "judge": {"base_url": "x", "model": "m"}}, "http://"),
        ({"reward": "llm_judge", "protocol": "plain", "judge": {"modle": "m"}}, "did you mean 'model'"),
        ({"reward": "em", "protocol": "plain", "judge": {"model": "m"}}, "llm_judge"),
    ],
)
def test_a_reward_that_cannot_be_is_refused(arguments: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        get_reward(**arguments)
