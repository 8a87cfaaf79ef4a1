"""What all adapters share: versions of the frameworks, episodes as rows, and the session that plays them."""

from __future__ import annotations

import socket
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError

import numpy as np
import pytest

from empg_gym import packages
from empg_gym.adapters.episode_task import EpisodeTask, episode_tasks
from empg_gym.adapters.framework import FRAMEWORKS, require_framework
from empg_gym.adapters.session import OVER, Session
from empg_gym.chat_settings import ChatSettings
from empg_gym.errors import ConfigError, EnvironmentFailure, MissingDependencyError, TaskError
from tests.docs.pages import ROOT
from tests.toy import TOY_ID

TASK = EpisodeTask(env_id=TOY_ID, split="train", task=3, seed=3)


def test_the_extras_install_what_the_adapters_accept():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for extra, item in FRAMEWORKS.items():
        named = [requirement.partition(";")[0].replace("[verl-core]", "") for requirement in extras[extra]]
        assert item.requirement in named


def missing(package):
    raise PackageNotFoundError(package)


def test_a_missing_or_wrong_package_is_one_sentence(monkeypatch):
    monkeypatch.setattr(packages, "version", missing)
    with pytest.raises(MissingDependencyError, match=r"^empg_gym\.adapters\.trl needs the package 'trl', which is not installed"):
        require_framework("trl")
    for installed in ("1.15.9", "1.17.0", "0.9", "2"):
        monkeypatch.setattr(packages, "version", lambda package, installed=installed: installed)
        with pytest.raises(
            MissingDependencyError, match=rf"was tested with trl>=1\.16,<1\.17, and version {installed} is installed; run: pip"
        ):
            require_framework("trl")
    for installed in ("1.16", "1.16.0", "1.16.3.post1"):
        monkeypatch.setattr(packages, "version", lambda package, installed=installed: installed)
        require_framework("trl")


def test_importing_the_package_imports_no_framework():
    code = (
        "import sys, empg_gym, empg_gym.adapters, empg_gym.adapters.session, empg_gym.cli\n"
        "print([name for name in ('trl', 'verifiers', 'inspect_ai', 'skyrl_gym', 'verl', 'datasets', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_task_survives_the_columns_of_a_data_set():
    for task in episode_tasks(TOY_ID, split="test", limit=3, seed=40):
        columns = {name: np.int64(value) if isinstance(value, int) else value for name, value in task.columns().items()}
        assert EpisodeTask.from_columns({**columns, "prompt": [], "other": None}) == task
    assert [task.seed for task in episode_tasks(TOY_ID, limit=2, seed=7)] == [7, 8]
    assert len(episode_tasks(TOY_ID)) == 50 and not episode_tasks(TOY_ID, limit=0)


def test_columns_that_a_row_lacks_have_defaults():
    assert EpisodeTask.from_columns({}, env_id="alfworld") == EpisodeTask(env_id="EMPG/ALFWorld-v0", split="train")
    with pytest.raises(ConfigError, match='names its environment in the column "env_id"'):
        EpisodeTask.from_columns({"task": 1})
    with pytest.raises(ConfigError, match="no environment 'alfwordl'; did you mean 'alfworld'"):
        EpisodeTask.from_columns({"env_id": "alfwordl"})
    with pytest.raises(ConfigError, match="limit must be None"):
        episode_tasks(TOY_ID, limit=-1)


def test_a_session_plays_episode_after_episode():
    session = Session(chat=ChatSettings(dialogue="plain"))
    with pytest.raises(TaskError, match="no episode yet"):
        session.step("open door 1")
    for _ in range(2):
        assert session.reset(TASK) == "Room 1. The note says 2."
        while not session.last.done:
            reply = session.step(session.env.text_env.expert() or f"open door {session.last.message.rstrip('.').split()[-1]}")
        assert reply.terminated and session.metrics == {
            "reward": 1.0, "score": 1.0, "success": 1.0, "steps": 3.0, "malformed": 0.0, "invalid_actions": 0.0
        }  # fmt: skip
        after = session.step("open door 1")
        assert (after.message, after.reward, after.terminated) == (OVER, 0.0, True) and session.metrics["steps"] == 3.0
    made = session.env
    session.reset(EpisodeTask(env_id=TOY_ID, split="train", task=4))
    assert session.env is made, "an environment is reused"
    session.reset(EpisodeTask(env_id=TOY_ID, split="test", task=4))
    assert session.trajectory.split == "test"
    session.close()
    session.close()


def test_unknown_tasks_and_arguments_are_one_sentence():
    with pytest.raises(TaskError, match=r"has tasks 0\.\.49, not 50"):
        Session().reset(EpisodeTask(env_id=TOY_ID, split="train", task=50))
    with pytest.raises(ConfigError, match="takes no argument 'dors'; did you mean 'doors'"):
        Session({"dors": 3}).reset(TASK)


def test_a_served_environment_is_played_like_a_local_one():
    pytest.importorskip("websockets")
    from empg_gym.recipe import EnvRecipe
    from tests.serve.serving import serving

    remote = Session()
    with serving(EnvRecipe("EMPG/ALFWorld-v0", {"size": "small"})) as (url, _):
        tasks = episode_tasks(url, limit=2, seed=3)
        assert [task.task for task in tasks] == [task.task for task in episode_tasks("alfworld", limit=2, size="small")]
        assert EpisodeTask.from_columns(tasks[1].columns()) == tasks[1]
        local = Session({"size": "small"})
        for task in tasks:
            here = EpisodeTask(env_id="alfworld", split="train", task=task.task, seed=task.seed)
            assert remote.reset(task) == local.reset(here)
            while not local.last.done:
                said = local.env.dialogue.render("", local.env.text_env.expert())
                assert remote.step(said) == local.step(said)
            assert remote.metrics == local.metrics
        with pytest.raises(ConfigError, match="makes its environment; give it the options size when it is started"):
            Session({"size": "small"}).reset(tasks[0])
        remote.close()
    with pytest.raises(EnvironmentFailure):
        remote.reset(tasks[0])


def test_a_dead_server_is_one_sentence():
    pytest.importorskip("websockets")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    for play in (lambda: Session().reset(EpisodeTask(env_id=address, split="train")), lambda: episode_tasks(address)):
        with pytest.raises(EnvironmentFailure, match=r"no server answers at .*; start one with: empg-gym serve env NAME$"):
            play()
