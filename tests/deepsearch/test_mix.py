from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from empg_gym.envs.deepsearch.env import DeepSearchEnv
from empg_gym.envs.deepsearch.sources.mix import PAPER_IN_DOMAIN, PAPER_OUT_OF_DOMAIN
from empg_gym.errors import ConfigError, DataError
from tests.deepsearch.helpers import CORPUS, write_lines


def questions(folder: Path, dataset: str, split: str, count: int) -> Path:
    rows = [{"id": f"{split}_{n}", "question": f"{dataset} {split} {n}?", "golden_answers": ["a"]} for n in range(count)]
    return write_lines(folder / dataset / f"{split}.jsonl", rows)


def env(folder: Path, **arguments: object) -> DeepSearchEnv:
    corpus = write_lines(folder.parent / "passages.jsonl", CORPUS)
    return DeepSearchEnv(**{"data": folder, "corpus": corpus, "protocol": "plain", **arguments})


def drawn(one: DeepSearchEnv, count: int = 1500) -> Counter[str]:
    one.reset(seed=0)
    return Counter(one.reset()[1]["dataset"] for _ in range(count))


def test_the_papers_mix(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for place, name in enumerate((*PAPER_IN_DOMAIN, *PAPER_OUT_OF_DOMAIN, "frames")):
        questions(folder, name, "train", 5 + 20 * place)
        questions(folder, name, "test", 3)
    train = env(folder, mix="paper", split="train")
    counts = drawn(train)
    assert set(counts) == set(PAPER_IN_DOMAIN)
    assert max(counts.values()) < 1.3 * min(counts.values())  # equally often, whatever the size
    assert train.skipped["a set that is not in the mix (frames)"] == 98 + 70
    held_out, ood = env(folder, mix="paper", split="test"), env(folder, mix="paper", split="ood")
    assert {held_out.task_id(n).split("/")[0] for n in range(held_out.num_tasks)} == set(PAPER_IN_DOMAIN)
    assert {ood.task_id(n).split("/")[0] for n in range(ood.num_tasks)} == set(PAPER_OUT_OF_DOMAIN)
    assert held_out.reset(seed=0)[1]["domain"] == "in_domain"
    assert ood.reset(seed=0)[1]["domain"] == "out_of_domain"
    ids = [{one.task_id(n) for n in range(one.num_tasks)} for one in (train, held_out, ood)]
    assert not ids[0] & ids[1] and not ids[0] & ids[2] and not ids[1] & ids[2]


def test_weights(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    questions(folder, "nq", "train", 300)
    questions(folder, "hotpotqa", "train", 10)
    questions(folder, "bamboogle", "test", 4)
    mix = folder / "mix.toml"
    mix.write_text(
        '[[source]]\npath = "nq/train.jsonl"\n[[source]]\npath = "hotpotqa/train.jsonl"\nweight = 3\n'
        '[[source]]\npath = "bamboogle/test.jsonl"\ndomain = "out_of_domain"\ndataset = "bam"\n'
    )
    counts = drawn(env(folder, data=mix, split="train"))
    assert set(counts) == {"nq", "hotpotqa"}
    assert 2.4 < counts["hotpotqa"] / counts["nq"] < 3.7
    ood = env(folder, data=mix, split="ood")
    assert ood.task_id(0) == "bam/test_0"
    plain = env(folder, split="train")
    assert drawn(plain)["nq"] > 1400  # without a mix every question is equally likely


def test_a_file_that_a_mix_names_is_read_again_when_it_changes(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    questions(folder, "nq", "train", 3)
    mix = folder / "mix.toml"
    mix.write_text('[[source]]\npath = "nq/train.jsonl"\n')
    assert env(folder, data=mix, split="train").num_tasks == 3
    questions(folder, "nq", "train", 5)
    assert env(folder, data=mix, split="train").num_tasks == 5


def test_the_home_folder_may_be_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    questions(tmp_path / "data", "nq", "train", 2)
    write_lines(tmp_path / "passages.jsonl", CORPUS)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert DeepSearchEnv(data="~/data", corpus="~/passages.jsonl", split="train").num_tasks == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1", "expected tables"),
        ("[[source]]\nweight = 1", "needs a path"),
        ('[[source]]\npath = "p"\nwieght = 1', "did you mean 'weight'"),
        ('[[source]]\npath = "p"\nweight = 0', "above 0"),
        ('[[source]]\npath = "p"\ndomain = "x"', "domain must be"),
        ('[[source]]\npath = "absent.jsonl"', "the question file"),
        ("[[", "is not a mix"),
    ],
)
def test_a_mix_that_cannot_be_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "mix.toml").write_text(text)
    with pytest.raises(DataError, match=says):
        env(tmp_path, data=tmp_path / "mix.toml")


def test_a_preset_needs_a_folder_and_its_sets(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    path = questions(folder, "frames", "test", 2)
    with pytest.raises(ConfigError, match="needs a folder"):
        env(folder, data=path, mix="paper")
    with pytest.raises(ConfigError, match="did you mean 'paper'"):
        env(folder, mix="papr")
    with pytest.raises(DataError, match="none of the sets"):
        env(folder, mix="paper")
