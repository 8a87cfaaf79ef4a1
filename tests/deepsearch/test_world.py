"""The embedded encyclopedia: deterministic, consistent, its splits apart, its questions answerable and nothing else."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter, defaultdict
from functools import reduce
from itertools import pairwise
from pathlib import Path

import pytest

from empg_gym.envs.deepsearch.questions import Question
from empg_gym.envs.deepsearch.world.build import SPLITS, count, generate, write
from empg_gym.envs.deepsearch.world.facts import ORDER, RELATIONS
from empg_gym.envs.deepsearch.world.patterns import QUESTIONS, patterns
from empg_gym.errors import ConfigError

SIZE = 2_000


@pytest.fixture(scope="module")
def world() -> tuple[list[dict[str, str]], list[Question]]:
    return generate(SIZE, 0)


@pytest.fixture(scope="module")
def by_split(world: tuple[list[dict[str, str]], list[Question]]) -> dict[str, list[Question]]:
    splits = defaultdict(list)
    for question in world[1]:
        splits[question.id.split("-")[0]].append(question)
    return splits


def test_passages(world: tuple[list[dict[str, str]], list[Question]]) -> None:
    rows = world[0]
    assert len(rows) == SIZE
    for member in ("id", "title", "url"):
        assert len({row[member] for row in rows}) == SIZE
    lengths = [len(row["text"].split()) for row in rows]
    assert min(lengths) > 20 and max(lengths) < 120
    assert all(row["contents"] == f'"{row["title"]}"\n{row["text"]}' for row in rows)


def test_every_kind_of_question_is_asked(by_split: dict[str, list[Question]]) -> None:
    every = {"1hop", "2hop", "3hop", "4hop", "comparison", "bridge_comparison", "yes_no", "bridge_yes_no"}
    for split in SPLITS:
        kinds = Counter(question.kind for question in by_split[split])
        assert set(kinds) == every - ({"1hop"} if split == "ood" else set())
        assert len(by_split[split]) == count(split, SIZE)
        assert min(kinds.values()) > 0.03 * len(by_split[split])


def test_the_answer_follows_from_the_supporting_passages(world: tuple[list[dict[str, str]], list[Question]]) -> None:
    rows = {row["id"]: row for row in world[0]}
    for question in world[1]:
        support = [rows[name] for name in question.support]
        texts = " ".join(row["title"] + " " + row["text"] for row in support)
        (answer,) = question.golden_answers
        hops = {"1hop": 1, "2hop": 2, "3hop": 3, "4hop": 4, "comparison": 2, "bridge_comparison": 4, "yes_no": 2, "bridge_yes_no": 4}
        assert len(support) == len(set(question.support)) == hops[question.kind]
        assert support[0]["title"] in question.text
        if answer not in ("yes", "no"):
            assert answer in texts
        if question.kind.endswith("hop"):
            assert answer in support[-1]["text"]
            assert answer not in question.text
            assert all(later["title"] in earlier["text"] for earlier, later in pairwise(support))


def test_comparisons_are_right(world: tuple[list[dict[str, str]], list[Question]]) -> None:
    rows = {row["id"]: row for row in world[0]}
    years = set(map(str, range(600, 2000)))
    for question in world[1]:
        if question.kind == "comparison":
            first, second = (rows[name] for name in question.support)
            found = [next(word.strip(".,") for word in row["text"].split() if word.strip(".,") in years) for row in (first, second)]
            earlier = first if int(found[0]) < int(found[1]) else second
            assert question.golden_answers == (earlier["title"],)


def test_yes_and_no_are_equally_frequent(by_split: dict[str, list[Question]]) -> None:
    for split in SPLITS:
        answers = Counter(question.golden_answers[0] for question in by_split[split] if question.kind.endswith("yes_no"))
        assert abs(answers["yes"] - answers["no"]) <= 1


def test_train_never_asks_about_what_test_asks_about(by_split: dict[str, list[Question]]) -> None:
    asked = {split: {name for question in by_split[split] for name in question.support} for split in SPLITS}
    assert not asked["train"] & asked["test"]
    assert not asked["train"] & asked["ood"]
    texts = [question.text for split in SPLITS for question in by_split[split]]
    assert len(set(texts)) == len(texts)


def test_train_never_has_the_patterns_of_ood_but_every_relation(by_split: dict[str, list[Question]]) -> None:
    seen = {split: {question.pattern for question in by_split[split]} for split in SPLITS}
    assert not seen["train"] & seen["ood"]
    assert not seen["test"] & seen["ood"]
    single = {f"{kind}.{relation}" for kind, relations in RELATIONS.items() for relation in relations}
    assert single <= seen["train"]
    assert {question.domain for question in by_split["ood"]} == {"out_of_domain"}
    assert {question.domain for question in by_split["test"]} == {"in_domain"}


def test_patterns_fit_the_relations() -> None:
    every = patterns()
    assert len({pattern.name for pattern in every}) == len(every)
    held_out = Counter(pattern.kind for pattern in every if pattern.held_out)
    for kind, total in Counter(pattern.kind for pattern in every).items():
        assert kind == "1hop" or 0 < held_out[kind] < total
    for pattern in every:
        if pattern.shape == "comparison":
            assert reduce(lambda kind, relation: RELATIONS[kind][relation], pattern.relations, pattern.start) in ORDER
    assert set(QUESTIONS) == {(kind, relation) for kind, relations in RELATIONS.items() for relation in relations}


def test_no_answer_is_much_more_likely_than_others(by_split: dict[str, list[Question]]) -> None:
    for split in SPLITS:
        answers = Counter(question.golden_answers[0] for question in by_split[split])
        del answers["yes"], answers["no"]
        assert answers.most_common(1)[0][1] < 0.03 * len(by_split[split])


def test_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    write(tmp_path, 300, 7)
    code = "import sys, pathlib; from empg_gym.envs.deepsearch.world.build import write; write(pathlib.Path(sys.argv[1]), 300, 7)"
    other = tmp_path / "other"
    other.mkdir()
    subprocess.run([sys.executable, "-c", code, str(other)], check=True, env={"PYTHONHASHSEED": "1", "PATH": ""})
    for name in ("corpus.jsonl", "questions.jsonl"):
        assert (tmp_path / name).read_bytes() == (other / name).read_bytes()
    assert generate(300, 8)[1] != generate(300, 7)[1]


@pytest.mark.parametrize("size", [200, 500])
def test_any_size(size: int) -> None:
    rows, questions = generate(size, 3)
    assert len(rows) == size
    assert {split: sum(q.id.startswith(split) for q in questions) for split in SPLITS} == {split: count(split, size) for split in SPLITS}


def test_too_small_a_world_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 200"):
        generate(50, 0)
