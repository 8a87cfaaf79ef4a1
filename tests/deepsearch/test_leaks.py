"""Accepted answers, supporting passages and file paths never reach an agent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from empg_gym.envs.deepsearch.actions import Answer
from empg_gym.envs.deepsearch.env import DeepSearchEnv
from empg_gym.envs.deepsearch.protocols import PROTOCOLS
from empg_gym.errors import EMPGGymError, TaskError
from empg_gym.retrieval.backends import Page, Passage
from tests.deepsearch.helpers import CORPUS, small_env, write_lines

GOLD, SUPPORT, TITLE, FOLDER = "Zanzigold", "zsupport77", "Zititle", "zfolder99"
SECRETS = (GOLD, SUPPORT, TITLE, FOLDER)


class Leaky:
    """A backend whose errors tell everything that they know."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def search(self, queries: list[str], k: int) -> list[list[Passage]]:
        raise RuntimeError(f"{self.folder}/{GOLD}.idx: {SUPPORT} {TITLE}")

    def visit(self, url: str) -> Page:
        raise OSError(f"{self.folder}: {GOLD}")


def everything_shown(env: DeepSearchEnv, actions: list[str]) -> str:
    """All that an agent and its logs get to see in an episode."""
    observation, info = env.reset(options={"task": 0})
    shown: list[Any] = [observation, info, env.rules, env.tools, env.instruction, env.render(), env.task_type, env.skipped]
    for action in actions:
        observation, reward, terminated, truncated, info = env.step(action)
        shown += [observation, info, reward, terminated, truncated, env.render()]
    for wanted in ("absent", 99, -1, None.__class__, 1.5):
        try:
            env.reset(options={"task": wanted})
        except EMPGGymError as error:
            shown.append(str(error))
    return json.dumps(shown, default=repr)


@pytest.mark.parametrize("protocol", sorted(PROTOCOLS))
@pytest.mark.parametrize("reward", ["em", "f1", "cover_em", "llm_judge"])
def test_nothing_leaks(tmp_path: Path, protocol: str, reward: str) -> None:
    folder = tmp_path / FOLDER
    meta = {"supporting_doc_ids": [SUPPORT], "supporting_titles": [TITLE], "split": "test", "dataset": "toy"}
    data = write_lines(folder / "questions.jsonl", [{"id": "q1", "question": "Where?", "golden_answers": [GOLD], "metadata": meta}])
    hidden = {"id": SUPPORT, "title": TITLE, "text": f"{GOLD} unfindable", "url": "https://corpus.local/hidden"}
    corpus = write_lines(folder / "corpus.jsonl", [*CORPUS, hidden])
    judge = {"base_url": "http://127.0.0.1:9/v1", "model": "m", "tries": 1, "cache": ""} if reward == "llm_judge" else None
    arguments = {
        "data": data,
        "protocol": protocol,
        "reward": reward,
        "judge": judge,
        "split": "all",
        "render_mode": "ansi",
        "max_steps": 40,
    }
    leaky = Leaky(folder)
    for more in ({"corpus": corpus}, {"corpus": corpus, "backend": leaky, "visit": leaky}, {"backend": leaky}):
        env = DeepSearchEnv(**arguments, **more)
        words = ["Velden", "river", "mayor", "", "x" * 600, "</search>", "{", "https://corpus.local/velden", "file:///etc/passwd"]
        actions = [text for word in words for text in templates(env, word)] + [
            f"answer[{words[0]}]",
            "<answer>Velden</answer>",
            "after the end",
        ]
        shown = everything_shown(env, actions)
        assert ("Velden is a town" in shown) == ("backend" not in more)
        for secret in SECRETS:
            assert secret.lower() not in shown.lower(), secret


@pytest.mark.parametrize("protocol", sorted(PROTOCOLS))
def test_the_hook_for_trainers_gives_the_first_answer_and_leaves_no_trace(tmp_path: Path, protocol: str) -> None:
    """`gold_answer` is for trainers: what an agent sees afterwards, and the environment's state, are as without the call."""
    meta = {"split": "test", "dataset": "toy"}
    rows = [{"id": "q1", "question": "Where?", "golden_answers": [f" {GOLD} ", "another"], "metadata": meta}]
    arguments = {"data": write_lines(tmp_path / "q.jsonl", rows), "corpus": write_lines(tmp_path / "c.jsonl", CORPUS), "split": "all"}
    env, untouched = (DeepSearchEnv(**arguments, protocol=protocol, render_mode="ansi") for _ in range(2))
    with pytest.raises(TaskError):
        env.gold_answer()
    env.reset(options={"task": 0})
    gold = env.gold_answer()
    assert gold is not None
    assert gold.text == GOLD
    action = env.protocol.parse(gold.before + gold.text + {"plain": "]", "arpo": "} \\]</answer>"}.get(protocol, "</answer>")).action
    assert action == Answer(GOLD)
    assert env.protocol.write(action, "I know enough to answer.").startswith(gold.before + gold.text)
    for one in (env, untouched):
        one.reset(options={"task": 0}, seed=3)
    env.gold_answer()
    assert env.snapshot() == untouched.snapshot()
    assert env.state_key() == untouched.state_key()
    shown = everything_shown(env, templates(env, "Velden"))
    assert shown == everything_shown(untouched, templates(untouched, "Velden"))
    assert GOLD.lower() not in shown.lower()


def templates(env: DeepSearchEnv, word: str) -> list[str]:
    return [
        template.replace("<query>", word).replace("<url>", word).replace("<goal>", word)
        for template in env.reset(options={"task": 0})[1]["admissible_actions"]
        if "answer" not in template
    ]


def test_the_embedded_world_tells_its_answers_in_passages_only() -> None:
    env = small_env(split="test", max_steps=6)
    for task in range(env.num_tasks):
        observation, info = env.reset(options={"task": task})
        question = env._question
        (gold,) = question.golden_answers
        shown = json.dumps([observation, info, env.rules, env.tools, env.task_type])
        if gold not in ("yes", "no") and gold not in question.text:
            assert gold not in shown.replace(question.id, "")
        assert question.pattern not in shown
        info = env.step("answer[zzz]")[4]
        assert gold in ("yes", "no") or gold in question.text or gold not in json.dumps(info).replace(question.id, "")


def test_a_snapshot_holds_no_answer() -> None:
    env = small_env(split="test")
    env.reset(options={"task": 1})
    env.step("search[zzz]")
    assert env._question.golden_answers[0] not in repr(env.snapshot()).replace(env._question.text, "")
