"""Exports: conversations, data for supervised fine-tuning, Parquet with a card, and the way back."""

from __future__ import annotations

import dataclasses
import json
import sys

import pytest

from empg_gym.agents import make_agent
from empg_gym.cli import main
from empg_gym.errors import ConfigError, DataError
from empg_gym.evaluation import evaluate
from empg_gym.export import export, read_parquet
from empg_gym.trajectory import read_trajectories, write_trajectories
from tests.toy import TOY_ID


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for agent in ("expert", "random"):
        evaluate(TOY_ID, make_agent(agent), episodes=5, out=folder / agent, env_kwargs={"max_steps": 4})
    return [folder / "expert", folder / "random"]


def episodes(runs):
    return [trajectory for run in runs for trajectory in read_trajectories(run / "trajectories.jsonl")]


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_messages_are_the_conversation(runs, tmp_path):
    assert export(runs, tmp_path / "new" / "out.jsonl", format="messages") == 10
    for line, trajectory in zip(lines(tmp_path / "new" / "out.jsonl"), episodes(runs), strict=True):
        assert (line["task"], line["success"], line["score"]) == (trajectory.task, trajectory.success, trajectory.score)
        roles = [message["role"] for message in line["messages"]]
        assert roles == ["system"] + ["user", "assistant"] * len(trajectory.steps)
        assert line["messages"][-1]["content"] == trajectory.steps[-1].response and len(line["rewards"]) == len(trajectory.steps)
        assert line["messages"] == trajectory.to_messages()


def test_only_solved_episodes_are_for_supervised_learning(runs, tmp_path):
    solved = [trajectory for trajectory in episodes(runs) if trajectory.success]
    assert 5 <= len(solved) < 10
    assert export(runs, tmp_path / "sft.jsonl", format="sft") == len(solved)
    assert lines(tmp_path / "sft.jsonl") == [{"messages": trajectory.to_messages()} for trajectory in solved]


def test_parquet_restores_every_trajectory(runs, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    wanted = episodes(runs)
    assert export(runs, tmp_path / "set", format="parquet") == 10
    assert [item.to_json() for item in read_parquet(tmp_path / "set")] == [item.to_json() for item in wanted]
    table = parquet.read_table(tmp_path / "set" / "episodes.parquet").to_pylist()
    assert [row["messages"] for row in table] == [item.to_messages() for item in wanted]
    assert [row["actions"] for row in table] == [[step.action for step in item.steps] for item in wanted]
    card = (tmp_path / "set" / "README.md").read_text()
    assert card.startswith("---\n") and "path: episodes.parquet" in card and "10 episodes of Test/Doors-v0" in card and "- n<1K" in card


def test_a_branch_begins_with_the_steps_of_its_parent(runs, tmp_path):
    whole = episodes(runs)[0]
    child = dataclasses.replace(whole, repeat=1, parent=0, branch_step=1, steps=whole.steps[1:])
    write_trajectories(tmp_path / "tree.jsonl", [whole, child])
    assert export([tmp_path / "tree.jsonl"], tmp_path / "out.jsonl", format="messages") == 2
    first, second = lines(tmp_path / "out.jsonl")
    assert first["messages"] == second["messages"] and first["rewards"] == second["rewards"]


def test_texts_that_utf8_cannot_hold_are_replaced(runs, tmp_path):
    pytest.importorskip("pyarrow")
    broken = episodes(runs)[0]
    broken.steps[0].response = "a\ud800b"
    write_trajectories(tmp_path / "broken.jsonl", [broken])
    for format, name in (("messages", "out.jsonl"), ("parquet", "set")):
        assert export([tmp_path / "broken.jsonl"], tmp_path / name, format=format) == 1
    (restored,) = read_parquet(tmp_path / "set")
    assert restored.steps[0].response == "a\ud800b"


def test_bad_input_is_one_sentence_and_writes_nothing(runs, tmp_path, monkeypatch, capsys):
    with pytest.raises(ConfigError, match="did you mean 'parquet'"):
        export(runs, tmp_path / "x", format="parkuet")
    with pytest.raises(DataError, match="no episodes at"):
        export([tmp_path], tmp_path / "x", format="sft")
    (tmp_path / "damaged.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match="not a trajectory"):
        export([tmp_path / "damaged.jsonl"], tmp_path / "x", format="parquet")
    write_trajectories(tmp_path / "lost.jsonl", [item for item in episodes(runs) if not item.success][:1])
    with pytest.raises(DataError, match="no solved episodes"):
        export([tmp_path / "lost.jsonl"], tmp_path / "x", format="sft")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="is a file"):
        export(runs, tmp_path / "file", format="parquet")
    with pytest.raises(DataError, match="not a Parquet file"):
        list(read_parquet(tmp_path / "file"))
    assert not (tmp_path / "x").exists()
    monkeypatch.setattr(sys, "argv", ["empg-gym", "export", str(tmp_path / "nothing"), "--out", str(tmp_path / "x")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2 and "error: no episodes at" in capsys.readouterr().err


def test_the_command(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["empg-gym", "export", *map(str, runs), "--out", str(tmp_path / "out.jsonl"), "--format", "sft"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (0, None) and "episodes: " in capsys.readouterr().out
