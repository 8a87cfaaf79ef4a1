"""Deep Search on the reference data: every file is read, the expert answers, and one search is not enough."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import gymnasium as gym
import pytest

import empg_gym  # noqa: F401 (registers the ids)
from empg_gym.envs.deepsearch.env import DeepSearchEnv
from empg_gym.envs.deepsearch.sources.load import load_file, load_folder
from empg_gym.envs.deepsearch.world.build import generate
from tests.reference import reference_data

FILES = {
    "2wiki_dev_qa_only.jsonl": (200, "2wikimultihopqa", "test"),
    "bamboogle.jsonl": (125, "bamboogle", "test"),
    "hotpotqa_dev_qa_only.jsonl": (200, "hotpotqa", "test"),
    "hotpotqa_train60.jsonl": (60, "hotpotqa", "train"),
    "musique_dev_qa_only.jsonl": (200, "musique", "test"),
    "musique_train60.jsonl": (60, "musique", "train"),
    "nq_sample.jsonl": (17, "nq", ""),
    "webwalkerqa.jsonl": (680, "webwalkerqa", "test"),
}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMPG_GYM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def folder() -> Path:
    return reference_data("deepsearch")


def reference_env(folder: Path, name: str, **arguments: object) -> DeepSearchEnv:
    paths = {"data": str(folder / f"{name}.jsonl"), "corpus": str(folder / "corpus.jsonl")}
    env = gym.make("EMPG/DeepSearch-v0", **paths, protocol="plain", split="all", **arguments).unwrapped
    assert isinstance(env, DeepSearchEnv)
    return env


@pytest.mark.parametrize("name", sorted(FILES))
def test_every_file_is_read(folder: Path, name: str) -> None:
    count, dataset, split = FILES[name]
    rows, skipped = load_file(folder / name)
    assert len(rows) == count and not skipped
    assert {row.question.dataset for row in rows} == {dataset}
    assert {row.question.split for row in rows} == {split}
    assert all(row.question.golden_answers for row in rows)


def test_the_folder_is_one_set_of_questions(folder: Path) -> None:
    rows, _ = load_folder(folder)
    assert Counter(row.question.dataset for row in rows)["webwalkerqa"] == 680
    assert len(rows) == sum(count for count, _, _ in FILES.values())


@pytest.mark.parametrize(("name", "most"), [("hotpotqa_train60", 36), ("musique_train60", 15)])
def test_the_expert_answers_and_one_search_is_not_enough(folder: Path, name: str, most: int) -> None:
    env = reference_env(folder, name)
    assert env.num_tasks == 60 and len(env.library.corpus or ()) == 9_002
    won = at_once = 0
    for task in range(env.num_tasks):
        env.reset(options={"task": task})
        while (action := env.expert()) is not None:
            env.step(action)
        won += env.success
        _, info = env.reset(options={"task": task})
        env.step(f"search[{info['instruction']}]")
        known = env.expert()
        at_once += known is not None and known.startswith("answer[")
    assert won >= 57
    assert at_once <= most


def test_the_papers_mix_over_the_reference_folder(folder: Path) -> None:
    corpus = str(folder / "corpus.jsonl")
    env = DeepSearchEnv(data=folder, corpus=corpus, mix="paper", split="ood", protocol="plain")
    assert {env.task_id(n).split("/")[0] for n in range(env.num_tasks)} == {"musique", "bamboogle"}
    held_out = DeepSearchEnv(data=folder, corpus=corpus, mix="paper", split="test", protocol="plain")
    assert {held_out.task_id(n).split("/")[0] for n in range(held_out.num_tasks)} == {"webwalkerqa", "hotpotqa", "2wikimultihopqa"}
    assert env.reset(seed=0)[1]["domain"] == "out_of_domain"


def test_the_embedded_world_has_no_name_of_the_real_one(folder: Path) -> None:
    real = {json.loads(line)["title"].lower() for line in (folder / "corpus.jsonl").open()}
    passages, _ = generate(2_000, 0)
    assert not real & {passage["title"].lower() for passage in passages}
