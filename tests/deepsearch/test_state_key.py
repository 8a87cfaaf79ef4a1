"""State keys of Deep Search: equal exactly when nothing that can happen from now on distinguishes the states."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from empg_gym.env import KeyPart, State
from empg_gym.envs.deepsearch.actions import Action, Answer, Search, Visit
from empg_gym.envs.deepsearch.env import DeepSearchEnv
from empg_gym.envs.deepsearch.scoring import Reward, Transcript, Verdict, get_reward
from empg_gym.retrieval.backends import SearchFailed
from tests.bisimulation import Probes, future, keys_of_process, revisits
from tests.deepsearch.helpers import small_env

HISTORY = ("step", "turns_left", "action_kind", "retrieved_ids")
"""Entries of `info` about the steps taken, which are not part of a state."""
UNLIMITED = (*HISTORY, "searches_left")
"""Without a limit on searches, `searches_left` counts steps too."""
FOREVER = 10**6


class CountsSteps(Reward):
    """Pays for the number of steps: a user's reward that reads the transcript and leaves `progress` as it is."""

    name = "steps"

    def settle(self, transcript: Transcript) -> Verdict:
        return Verdict(reward=float(len(transcript.steps)), score=0.0, success=False, scored_by=self.name)


CASES: list[tuple[str, str | Reward, int | None]] = [
    ("plain", "em", None),
    ("plain", "f1", 2),
    ("plain", "cover_em", 1),
    ("plain", CountsSteps(), None),
    ("hermes", "em", 3),
    ("search-r1", "search_r1_format", None),
    ("search-r1", "search_r1_format", 2),
    ("arpo", "arpo", None),
    ("asearcher", "em", None),
]


def open_env(protocol: str, reward: str | Reward, max_searches: int | None) -> DeepSearchEnv:
    env = small_env(
        protocol=protocol,
        reward=reward,
        split="test",
        max_steps=FOREVER,
        max_searches=max_searches,
        invalid_penalty=0.1,
        observation_tokens=200,
    )
    # A question whose answer a search can show, so that the retrieval bonus is within reach.
    env.reset(seed=0, options={"task": next(q.id for q in env._tasks.questions if q.kind == "1hop")})
    return env


def probes_of(env: DeepSearchEnv) -> Probes:
    """Return actions that tell all states of the reward and the protocol apart."""
    question, corpus = env._question, env.library.corpus
    assert corpus is not None
    page = corpus.passage(int(corpus.index.ordinal(question.support[0]) or 0))
    actions: list[Action] = [
        Search((page.title,)),
        Search((page.title.upper(),)),
        Search(("the river",)),
        Visit(page.url),
        Visit("https://encyclopedia.local/none"),
        Answer(question.golden_answers[0]),
        Answer("wrong"),
    ]
    if env.protocol.many_queries:
        actions += [Search((page.title, "the river")), Search(("The River", "the river", "a mountain"))]
    texts = ["", "nonsense", *(env.protocol.write(action, "") for action in actions)]
    if env.protocol.name != "plain":
        texts += [env.protocol.write(action, "t") for action in actions]
    if env.protocol.name == "arpo":
        right = env.protocol.write(Answer(question.golden_answers[0]), "")
        texts += ["<think>", "</think>", "<answer>", "</answer>", *(tag * n + right for n in (1, 2) for tag in ("<think>", "</think>"))]
        texts += [f"<think></think>{tag * n}{right}" for n in (0, 1, 2, 3) for tag in ("<think>", "</think>")]
    return lambda info: texts


@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 2**31))
@pytest.mark.parametrize(("protocol", "reward", "max_searches"), CASES, ids=lambda value: getattr(value, "name", value))
def test_where_a_key_comes_back_the_future_is_the_same(protocol: str, reward: str | Reward, max_searches: int | None, seed: int) -> None:
    env = open_env(protocol, reward, max_searches)
    history = UNLIMITED if max_searches is None else HISTORY
    least = 0 if isinstance(reward, CountsSteps) else 10
    assert revisits(env, probes_of(env), random.Random(seed), walks=6, steps=6, depth=1, history=history) >= least


@pytest.mark.parametrize(("protocol", "reward", "max_searches"), CASES, ids=lambda value: getattr(value, "name", value))
def test_states_with_different_keys_have_different_futures(protocol: str, reward: str | Reward, max_searches: int | None) -> None:
    env = open_env(protocol, reward, max_searches)
    if isinstance(reward, CountsSteps):
        pytest.skip("the default keeps all steps, which is allowed to distinguish more")
    probes, rng = probes_of(env), random.Random(0)
    states: dict[str, State] = {}
    start = env.snapshot()
    for _ in range(60):
        info = env.restore(start)[1]
        states[env.state_key()] = start
        for _ in range(4):
            info = env.step(rng.choice(probes(info)))[4]
            if protocol == "arpo" and not _within_reach(env):
                break
            states[env.state_key()] = env.snapshot()
    history = UNLIMITED if max_searches is None else HISTORY
    depth = 2 if protocol == "arpo" else 1  # the bonus for two tools shows after the second tool and the answer
    futures = {key: repr(future(env, state, probes, depth, history)) for key, state in states.items()}
    assert len(set(futures.values())) == len(futures) > 5


def _within_reach(env: DeepSearchEnv) -> bool:
    """Whether the probes can balance the thoughts."""
    text = "".join(step.response for step in env._episode.steps)
    return abs(text.count("<think>") - text.count("</think>")) <= 2


def key_after(*actions: str, **arguments: Any) -> str:
    env = small_env(**{"split": "test", **arguments})
    env.reset(options={"task": 0})
    for action in actions:
        env.step(action)
    return env.state_key()


def test_the_path_to_a_state_does_not_count() -> None:
    start = key_after()
    assert start == key_after("visit[nowhere]") == key_after("nonsense", "") == key_after(max_steps=4)
    searched = key_after("search[a]", "search[b]")
    assert searched == key_after("search[B]", "visit[x]", "search[a]", "search[A]", "nonsense", max_steps=7)
    assert len({start, searched, key_after("search[a]"), key_after("search[c]", "search[b]")}) == 4


def test_searches_left_count_only_where_they_are_limited() -> None:
    twice = '<tool_call>{"name": "search", "arguments": {"query": ["Orm", "orm"]}}</tool_call>'
    once = '<tool_call>{"name": "search", "arguments": {"query": "orm"}}</tool_call>'
    assert key_after(twice, protocol="hermes") == key_after(once, protocol="hermes")
    assert key_after(twice, protocol="hermes", max_searches=3) != key_after(once, protocol="hermes", max_searches=3)
    assert key_after(twice, protocol="hermes", max_searches=3) == key_after(once, protocol="hermes", max_searches=2)


def test_the_end_counts_and_nothing_before_it_does() -> None:
    assert key_after("answer[x]") == key_after("search[a]", "answer[y]", "answer[z]") != key_after()
    assert key_after("nonsense", max_steps=1) not in (key_after(), key_after("answer[x]"))  # truncated: the task has not ended


@pytest.mark.parametrize(
    "arguments",
    [{"top_k": 5}, {"passage_chars": 50}, {"observation_tokens": 9}, {"reward": "f1"}, {"invalid_penalty": 0.5}, {"protocol": "arpo"}],
)
def test_settings_that_shape_observations_and_rewards_are_in_the_key(arguments: dict[str, Any]) -> None:
    assert key_after(**arguments) != key_after()


class Flaky:
    """A retriever that always fails."""

    def search(self, queries: list[str], k: int) -> list[list[Any]]:
        raise SearchFailed("the server is down")


def test_a_search_that_failed_leaves_the_state_as_it_was() -> None:
    assert key_after("search[a]", backend=Flaky()) == key_after(backend=Flaky())


def test_progress_of_the_built_in_rewards() -> None:
    def progress(name: str, protocol: str, *responses: str) -> KeyPart:
        env = small_env(split="test", protocol=protocol, reward=name)
        env.reset(options={"task": 0})
        for response in responses:
            env.step(response)
        return env.reward.progress(env._transcript(None))

    assert progress("em", "plain", "search[a]", "nonsense") is None
    assert progress("search_r1_format", "search-r1") is False
    assert progress("search_r1_format", "search-r1", "<search>a</search>") is None
    assert progress("arpo", "arpo") == (0, False, ())
    assert progress("arpo", "arpo", "<think><search>a</search>") == (1, False, ("search",))
    assert progress("arpo", "arpo", "<think>a</think><search>a</search>") == (0, True, ("search",))
    assert progress("arpo", "arpo", "</answer>") is None
    assert get_reward("arpo", protocol="arpo").name == "arpo"


SCRIPT = """
from empg_gym.envs.deepsearch.env import DeepSearchEnv
env = DeepSearchEnv(split="test", world_size=240)
env.reset(seed=5)
while (action := env.expert()) is not None:
    env.step(action)
    print(env.state_key())
"""


def test_keys_are_equal_in_every_process() -> None:
    runs = [keys_of_process(SCRIPT, hash_seed) for hash_seed in (1, 2)]
    assert runs[0] == runs[1]
    assert len(set(runs[0])) == len(runs[0]) > 1
