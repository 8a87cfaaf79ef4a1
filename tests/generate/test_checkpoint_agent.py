"""The agent `checkpoint:DIR`."""

from __future__ import annotations

import sys

import pytest

from empg_gym.agents import make_agent
from empg_gym.agents.checkpoint import latest
from empg_gym.errors import ConfigError, MissingDependencyError
from empg_gym.trainers.models import FromScratch, load_model
from tests.generate.worlds import assert_equals_forward, play, texts, tokens_of


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's folder with two checkpoints."""
    folder = tmp_path_factory.mktemp("run")
    for seed in (0, 1):
        model, tokenizer = load_model(from_scratch=FromScratch(width=32), tokenizer_texts=texts(), seed=seed)
        model.save_pretrained(folder / "checkpoints" / f"rl-{seed}")
        tokenizer.save_pretrained(folder / "checkpoints" / f"rl-{seed}")
    (folder / "checkpoints" / "latest").write_text("rl-1\n")
    (folder / "config.json").write_text("{}")
    return folder


def test_plays_the_model_of_the_folder(run):
    folder = run / "checkpoints" / "rl-0"
    agent = make_agent(f"checkpoint:{folder}", device="cpu", temperature=1.0, max_response_tokens=6)
    trajectories = play(agent, 4)
    model, _ = load_model(str(folder))
    assert assert_equals_forward(model, trajectories) > 10
    assert agent.describe()["temperature"] == 1.0
    assert agent.preferred_concurrency == 64


def test_greedy_episodes_do_not_depend_on_the_agents_seed(run):
    agent = make_agent(f"checkpoint:{run / 'checkpoints' / 'rl-0'}", device="cpu", temperature=0.0, max_response_tokens=6)
    assert tokens_of(play(agent, 3)) == tokens_of(play(agent, 3))


def test_a_run_stands_for_its_latest_checkpoint(run):
    newest = str(run / "checkpoints" / "rl-1")
    assert latest(run) == latest(run / "checkpoints") == latest(newest) == newest
    assert latest("organisation/model") == "organisation/model"


def test_a_run_without_checkpoint(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(ConfigError, match="no checkpoint yet"):
        make_agent(f"checkpoint:{tmp_path}")


def test_mistakes_are_named(run, tmp_path):
    with pytest.raises(ConfigError, match="no model folder"):
        make_agent(f"checkpoint:{tmp_path / 'none'}")
    with pytest.raises(ConfigError, match="bfloat16"):
        make_agent(f"checkpoint:{run}", dtype="float64")
    with pytest.raises(ConfigError, match="temperature"):
        make_agent(f"checkpoint:{run}", device="cpu", temperature=-1.0)


@pytest.mark.parametrize("package", ["torch", "transformers"])
def test_without_the_extra(monkeypatch, run, package):
    """The module imports without torch; making the agent says what to install."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=r"checkpoint:DIR needs the package.*empg-gym\[train\]"):
        make_agent(f"checkpoint:{run}")
