"""An environment of a user's own, in the current folder: `train` and `eval` by `--env`, and a warm start from recorded episodes."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import gymnasium as gym
import pytest

from empg_gym.cli import main
from empg_gym.errors import ConfigError, DataError
from empg_gym.export import export
from empg_gym.trainers.collect.demonstrations import DETOUR
from empg_gym.trainers.collect.recordings import encoded, read_recordings
from empg_gym.trainers.config.file import load_config
from empg_gym.trainers.policy.models import FromScratch, load_model
from empg_gym.trajectory import StopReason, read_trajectories, write_trajectories

PAGE = (Path(__file__).parents[3] / "docs" / "own_environment.md").read_text()
(MODULE,) = re.findall(r"^cat > rooms.py <<'END'\n(.*?)^END$", PAGE, re.MULTILINE | re.DOTALL)
(REWARD,) = re.findall(r"^cat > rewards.py <<'END'\n(.*?)^END$", PAGE, re.MULTILINE | re.DOTALL)
ROOMS = "rooms:My/Rooms-v0"
SHORT = ["warmstart.steps=30", "warmstart.episodes_per_step=4", "rl.steps=1", "rl.tasks_per_step=2", "rl.repeats=2", "eval.tasks=4"]


def run(*words: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["empg-gym", *words])
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code in (0, None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the page's module, and `teacher`: an evaluation of its expert on the training split."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "rooms.py").write_text(MODULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        run("eval", "--env", f"{ROOMS}@train", "-a", "expert", "-n", "24", "--dialogue", "plain", "--no-report", "--out", "teacher")
        yield folder
    for name in ("rooms", "rewards"):
        sys.modules.pop(name, None)
    gym.registry.pop("My/Rooms-v0", None)


def config(folder, *overrides):
    return load_config(["tiny"], [f"warmstart.trajectories={folder / 'teacher'}", *overrides], env=ROOMS)


def recorded(folder):
    return list(read_trajectories(folder / "teacher" / "trajectories.jsonl"))


def test_a_tiny_model_learns_from_an_evaluation_of_the_expert(folder, monkeypatch):
    (folder / "rewards.py").write_text(REWARD)
    own = ("warmstart.trajectories=teacher", "rl.reward=rewards:quick", "algorithm.filters=[]")
    settings = [word for item in (*SHORT, *own) for word in ("--set", item)]
    run("train", "--env", ROOMS, *settings, "--out", "trained")
    lines = [json.loads(line) for line in (folder / "trained" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["warmstart/loss"] for line in lines if "warmstart/loss" in line]
    assert len(losses) == 30 and losses[-1] < 0.5 * losses[0]
    played = [item for item in read_trajectories(folder / "trained" / "trajectories.jsonl") if item.info["kind"] == "training"]
    assert played and all(item.info["training_reward"] == item.success - 0.05 * len(item.steps) for item in played), "the page's reward"
    config = json.loads((folder / "trained" / "config.json").read_text())
    assert (config["env"]["id"], config["eval"]["splits"], config["warmstart"]["trajectories"]) == (ROOMS, ["test"], ["teacher"])
    card = (folder / "trained" / "checkpoints" / "rl-000001" / "README.md").read_text()
    assert f"An agent for {ROOMS}, trained from scratch: 30 supervised steps on recorded episodes, then 1 of 1 steps" in card
    run("eval", "--env", ROOMS, "--agent", "checkpoint:trained", "-n", "2", "--no-report", "--out", "evaluated")
    summary = json.loads((folder / "evaluated" / "summary.json").read_text())
    assert summary["results"]["My/Rooms-v0"]["errors"] == 0


def test_without_a_configuration_or_an_environment_nothing_runs(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["empg-gym", "train"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "an environment of yours: empg-gym train --env my_module:My/Env-v0" in " ".join(capsys.readouterr().err.split())


def test_another_environment_drops_what_belongs_to_the_first(folder):
    changed = load_config(["alfworld-tiny"], ["rl.steps=3"], env=ROOMS)
    assert (changed.env.id, changed.env.options, changed.env.embedded_options, changed.env.max_steps) == (ROOMS, {}, {}, None)
    assert changed.eval.splits == ("test",) and changed.rl.steps == 3 and changed.env.dialogue == "plain"
    same = load_config(["alfworld-tiny"], env="alfworld")
    assert same == load_config(["alfworld-tiny"]), "the configuration's own environment keeps everything"
    with pytest.raises(ConfigError, match=r"no environment 'My/Rums-v0'; did you mean 'My/Rooms-v0'\?"):
        load_config(["tiny"], env="rooms:My/Rums-v0")


def test_recorded_episodes_become_rows_of_the_runs_own_form(folder):
    chosen = config(folder, "warmstart.episodes=5", 'env.system_prompt="Open the doors."', "env.history=1")
    env = chosen.env.recipe().make()
    found = read_recordings(chosen, env)
    assert len(found.episodes) == 5 and found.summary == "5 recorded episodes"
    found.episodes[0].steps[1].valid_action = False
    texts = [text for item in found.episodes for step in item.steps for text in (step.observation, step.response)]
    _, tokenizer = load_model(from_scratch=FromScratch(layers=1, width=32, heads=2), tokenizer_texts=[*texts, env.system_prompt])
    first = encoded(found, env, tokenizer, chosen).episodes[0]
    assert [DETOUR in step.diagnostics for step in first.steps] == [False, True, False], "an invalid action is read, not learned"
    env.reset(options={"task": first.task})
    rows: dict[int, str] = {}
    for step in first.steps:
        row = rows.get(step.row, "") + tokenizer.decode(step.prompt_token_ids.tolist(), skip_special_tokens=False)
        rows[step.row] = row + step.response
        assert all(message["content"] in row for message in env.messages) and "Open the doors." in row
        assert tokenizer.decode(step.response_token_ids.tolist(), skip_special_tokens=True) == step.response
        env.step(step.response)
    assert [step.row for step in first.steps] == [0, 0, 1], "a window of the history that moves starts a new row"
    with pytest.raises(DataError, match=r"no episode to learn from \(0 recorded episodes; left out: 5 longer than rollout.max_row_tokens"):
        encoded(found, env, tokenizer, config(folder, "rollout.max_row_tokens=5"))


def test_exported_episodes_are_read_too(folder, tmp_path):
    pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    env = config(folder).env.recipe().make()
    responses = [[step.response for step in item.steps] for item in recorded(folder)]
    for name, format in (("chat.jsonl", "messages"), ("sft.jsonl", "sft"), ("data", "parquet")):
        export([folder / "teacher"], tmp_path / name, format=format)
        found = read_recordings(config(folder, f"warmstart.trajectories={tmp_path / name}"), env)
        assert [[step.response for step in item.steps] for item in found.episodes] == responses, format


def test_what_is_left_out_is_counted(folder, tmp_path):
    episodes = recorded(folder)[:4]
    episodes[0].success = False
    episodes[1].stop_reason = StopReason.ERROR
    episodes[2].env_id = "Other/Env-v0"
    write_trajectories(tmp_path / "some.jsonl", episodes)
    chosen = config(folder, f"warmstart.trajectories={tmp_path / 'some.jsonl'}")
    with chosen.env.recipe().make() as env:
        assert read_recordings(chosen, env).summary == "1 recorded episodes; left out: 1 failed, 1 not solved, 1 of Other/Env-v0"
        every = config(folder, f"warmstart.trajectories={tmp_path / 'some.jsonl'}", "warmstart.only_solved=false")
        assert len(read_recordings(every, env).episodes) == 2


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["env.dialogue=react"], r"recorded with the dialogue 'plain', this run uses 'react': set env.dialogue=plain, or record them with"),
        (["env.show_admissible=true"], "do not list the admissible actions, unlike those of this run: set env.show_admissible=false"),
        (['eval.splits=["train"]'], "are of the split 'train', which this run evaluates"),
        (["warmstart.trajectories=nowhere"], r"no episodes at nowhere \(warmstart.trajectories\): expected the folder of an evaluation"),
        (["env.id=EMPG/ALFWorld-v0", "eval.splits=[]"], "no episode to learn from .*left out: 24 of My/Rooms-v0"),
    ],
)
def test_episodes_that_do_not_fit_are_one_sentence(folder, overrides, says):
    chosen = config(folder, *overrides)
    with chosen.env.recipe().make() as env, pytest.raises((ConfigError, DataError), match=says):
        read_recordings(chosen, env)


def test_a_damaged_conversation_names_its_line(folder, tmp_path):
    (tmp_path / "chat.jsonl").write_text('{"messages": [{"role": "user", "content": "a"}]}\n')
    chosen = config(folder, f"warmstart.trajectories={tmp_path / 'chat.jsonl'}")
    with chosen.env.recipe().make() as env, pytest.raises(DataError, match=r"chat.jsonl, line 1: after a system prompt"):
        read_recordings(chosen, env)
