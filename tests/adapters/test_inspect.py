"""Logs that Inspect reads and its viewer lists, and tasks that Inspect's own command plays against a server on the loopback."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("inspect_ai")

from inspect_ai import eval as inspect_eval
from inspect_ai.log import read_eval_log
from inspect_ai.model import ModelOutput, ModelUsage, get_model

from empg_gym.adapters.episode_task import episode_tasks
from empg_gym.adapters.inspect import empg
from empg_gym.errors import ConfigError, DataError
from empg_gym.export import export
from empg_gym.trajectory import StopReason, write_trajectories
from tests.adapters.expert_server import expert_episodes, serving
from tests.docs.pages import ROOT

BIN = Path(sys.executable).parent
SMALL = {"size": "small"}


@pytest.fixture(scope="module")
def episodes():
    played = expert_episodes(episode_tasks("alfworld", limit=3, **SMALL), **SMALL)
    for number, item in enumerate(played):
        item.agent = "openai:model-1"
        for index, step in enumerate(item.steps):
            step.entropies = np.array([0.25, 0.75], dtype=np.float32) * (index + 1)
            step.entropy, step.prompt_tokens, step.completion_tokens, step.model_seconds = 0.5 * (index + 1), 100, 7, 0.25
        item.repeat = number
    played[1].stop_reason, played[1].success, played[1].score, played[1].total_reward = StopReason.STEP_LIMIT, False, 0.0, 0.0
    played[2].stop_reason, played[2].error, played[2].steps[-1].error = StopReason.ERROR, "AgentError: gone", "AgentError: gone"
    return played


@pytest.fixture(scope="module")
def folder(episodes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("inspect")
    write_trajectories(folder / "trajectories.jsonl", episodes)
    assert export([folder], folder / "logs", format="inspect") == 3
    return folder / "logs"


def test_a_log_has_messages_scores_usage_and_entropies(folder, episodes):
    (file,) = folder.glob("*.eval")
    log = read_eval_log(str(file))
    assert log.status == "success" and log.eval.task == "empg_gym/alfworld" and log.eval.model == "openai:model-1"
    assert log.eval.metadata["data_fingerprint"] == episodes[0].data_fingerprint
    for sample, item in zip(log.samples, episodes, strict=True):
        assert (sample.id, sample.epoch, sample.input) == (item.task, 1, item.instruction)
        said = [{"role": message.role, "content": message.text} for message in sample.messages]
        assert said == item.to_messages()
        answers = [message for message in sample.messages if message.role == "assistant"]
        assert [message.metadata["entropy"] for message in answers] == [step.entropy for step in item.steps]
        assert [message.metadata["reward"] for message in answers] == [step.reward for step in item.steps]
        models = [event for event in sample.events if event.event == "model"]
        assert [event.output.metadata["entropy"] for event in models] == [step.entropy for step in item.steps]
        assert [len(event.input) for event in models] == [2 + 2 * number for number in range(len(item.steps))]
        assert sample.model_usage["openai:model-1"].total_tokens == 107 * len(item.steps)
    solved, limited, failed = log.samples
    assert solved.scores["outcome"].value == {"score": 1.0, "success": 1.0, "reward": 1.0} and solved.limit is None
    assert solved.scores["outcome"].metadata["entropy_max"] == episodes[0].steps[-1].entropy
    assert limited.scores["outcome"].value["success"] == 0.0 and limited.limit.type == "turn"
    assert failed.scores is None and failed.error.message == "AgentError: gone"
    means = {score.name: score.metrics["mean"].value for score in log.results.scores}
    assert means == {"score": 0.5, "success": 0.5, "reward": 0.5} and log.results.scores[0].unscored_samples == 1


def test_the_viewer_lists_the_log(folder):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(BIN / "inspect"), "view", "start", "--log-dir", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    viewer = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + 300
    try:
        while True:
            assert viewer.poll() is None and time.monotonic() < deadline
            try:
                listed = opener.open(f"http://127.0.0.1:{port}/api/logs", timeout=300).read().decode()
                break
            except OSError:
                time.sleep(0.1)
    finally:
        viewer.kill()
        viewer.wait()
    (file,) = folder.glob("*.eval")
    assert [(Path(item["name"]).name, item["task"]) for item in json.loads(listed)["files"]] == [(file.name, "alfworld")]


def test_the_command_plays_the_same_episodes(tmp_path):
    local = expert_episodes(episode_tasks("alfworld", split="valid_seen", limit=2, seed=5, **SMALL), **SMALL)
    with serving(local) as url:
        environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        environment |= {"LOOPBACK_BASE_URL": url, "LOOPBACK_API_KEY": "x", "PYTHONPATH": "" if installed() else str(ROOT)}
        command = [
            str(BIN / "inspect"), "eval", "empg_gym/alfworld" if installed() else f"{ROOT}/empg_gym/adapters/inspect/task.py@alfworld",
            "--model", "openai-api/loopback/expert", "--log-dir", str(tmp_path), "--display", "none",
            "-T", "limit=2", "-T", "seed=5", "-T", f"env_kwargs={json.dumps(SMALL)}",
        ]  # fmt: skip
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    files = list(tmp_path.glob("*.eval"))
    assert len(files) == 1, done.stdout[-2000:] + done.stderr[-2000:]
    log = read_eval_log(str(files[0]))
    assert log.status == "success", log.error
    for sample, item in zip(log.samples, local, strict=True):
        for message, wanted in zip(sample.messages, item.to_messages(), strict=True):
            text = wanted["content"].removeprefix("<think>as planned</think>")  # Inspect shows it as reasoning
            assert (message.role, message.text) == (wanted["role"], text)
        stored = sample.store["empg_gym"]
        assert stored["thoughts"] == ["as planned"] * len(item.steps), "the environment gets it back"
        assert stored["rewards"] == [step.reward for step in item.steps] and stored["actions"] == [step.action for step in item.steps]
        assert stored["final_observation"] == item.final_observation and stored["terminated"] and not stored["truncated"]
        assert sample.scores["outcome"].value == {"score": 1.0, "success": 1.0, "reward": 1.0}
        assert sum(event.event == "info" and event.source == "empg-gym" for event in sample.events) == len(item.steps)


def installed():
    """Whether the package is installed with its entry point; in a bare tree the task is named by its file."""
    from importlib.metadata import entry_points

    return any(point.value == "empg_gym.adapters.inspect" for point in entry_points(group="inspect_ai"))


@pytest.mark.parametrize("env_id", ["webshop", "deepsearch"])
def test_a_model_of_inspect_plays(env_id, tmp_path):
    """In the process, with Inspect's own mock model; one that never answers sensibly runs into the limit of steps."""
    answers = [ModelOutput.from_content("mockllm/model", "no idea") for _ in range(3)]
    for answer in answers:
        answer.usage = ModelUsage(input_tokens=9, output_tokens=2, total_tokens=11)  # else Inspect downloads a tokenizer to count
    model = get_model("mockllm/model", custom_outputs=answers)
    task = empg(env_id, limit=1, env_kwargs={"max_steps": 3})
    (log,) = inspect_eval(task, model=model, log_dir=str(tmp_path), display="none")
    (sample,) = log.samples
    assert log.status == "success" and sample.scores["outcome"].explanation == "truncated"
    assert sample.scores["outcome"].metadata["steps"] == 3 and sample.scores["outcome"].metadata["invalid_actions"] == 1.0


def test_bad_input_is_one_sentence(episodes, tmp_path):
    with pytest.raises(ConfigError, match="no environment 'alfwordl'; did you mean 'alfworld'"):
        empg("alfwordl")
    with pytest.raises(ConfigError, match="has no split 'tset'"):
        empg("webshop", split="tset")
    with pytest.raises(ConfigError, match="there are no tasks to play"):
        empg("webshop", limit=0)
    (tmp_path / "file").write_text("")
    write_trajectories(tmp_path / "episodes.jsonl", episodes[:1])
    with pytest.raises(DataError, match="is a file; the format inspect writes a folder"):
        export([tmp_path / "episodes.jsonl"], tmp_path / "file", format="inspect")
