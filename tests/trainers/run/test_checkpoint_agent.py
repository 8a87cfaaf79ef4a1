"""The agent `checkpoint:DIR`."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import shutil
import sys

import pytest
from transformers.utils import logging

from empg_gym.agents import make_agent
from empg_gym.errors import ConfigError, DataError, MissingDependencyError
from empg_gym.evaluation import evaluate
from empg_gym.recipe import EnvRecipe
from empg_gym.report.tokens import token_texts
from empg_gym.rollout import Limits
from empg_gym.trainers.config.sections import FromScratch, TrainConfig
from empg_gym.trainers.generate.hf import HFGenerator
from empg_gym.trainers.policy.models import load_model
from empg_gym.trainers.run.checkpoint_agent import latest
from empg_gym.trajectory import read_trajectories
from tests.evaluation.agents import Watcher
from tests.trainers.generate.worlds import assert_equals_forward, play, texts, tokens_of


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder with two checkpoints."""
    folder = tmp_path_factory.mktemp("run")
    for seed in (0, 1):
        model, tokenizer = load_model(from_scratch=FromScratch(width=32), tokenizer_texts=texts(), seed=seed)
        model.save_pretrained(folder / "checkpoints" / f"rl-{seed}")
        tokenizer.save_pretrained(folder / "checkpoints" / f"rl-{seed}")
    (folder / "checkpoints" / "latest").write_text("rl-1\n")
    (folder / "config.json").write_text("{}")
    return folder


def test_uses_the_model_of_the_folder(run):
    folder = run / "checkpoints" / "rl-0"
    agent = make_agent(f"checkpoint:{folder}", device="cpu", temperature=1.0, max_response_tokens=6)
    trajectories = play(agent, 4)
    model, _ = load_model(str(folder))
    assert assert_equals_forward(model, trajectories) > 10
    assert agent.info.settings["temperature"] == 1.0
    assert agent.info.concurrency == 64


def test_greedy_episodes_do_not_depend_on_the_agents_seed(run):
    agent = make_agent(f"checkpoint:{run / 'checkpoints' / 'rl-0'}", device="cpu", temperature=0.0, max_response_tokens=6)
    assert tokens_of(play(agent, 3)) == tokens_of(play(agent, 3))


def test_a_run_folder_means_its_latest_checkpoint(run):
    newest = str(run / "checkpoints" / "rl-1")
    assert latest(run) == latest(run / "checkpoints") == latest(newest) == newest
    assert latest("organisation/model") == "organisation/model"


TRAINED = {
    "env": {
        "max_steps": 3,
        "options": {"strip_intro": True},
        "embedded_options": {"size": "small"},
        "dialogue": "plain",
        "history": 1,
        "show_admissible": True,
        "system_prompt": "",
    },
    "model": {"name": "unused"},
    "rollout": {"max_response_tokens": 5, "max_row_tokens": 900},
    "eval": {"temperature": 0.7},
}


@pytest.fixture
def trained(run, tmp_path):
    """A run folder as `empg-gym train` leaves it."""
    folder = tmp_path / "trained"
    shutil.copytree(run, folder)
    config = TrainConfig.model_validate(TRAINED)
    (folder / "config.json").write_text(config.model_dump_json())
    return folder, config


class Notes:
    """Collects the notes of an evaluation."""

    def __init__(self):
        self.lines = []

    def note(self, text):
        self.lines.append(text)

    def begin(self, totals, done):
        pass

    episode = end = lambda self, *_: None


def evaluated(folder, out, **options):
    watch = Notes()
    agent_options = {"device": "cpu", **options.pop("agent_options", {})}
    evaluate(
        options.pop("envs", "alfworld@valid_seen"),
        f"checkpoint:{folder}",
        tasks=[0, 1],
        out=out,
        watch=watch,
        agent_options=agent_options,
        **options,
    )
    return list(read_trajectories(out / "trajectories.jsonl")), json.loads((out / "config.json").read_text()), watch.lines


def test_an_evaluation_uses_the_settings_of_the_training(trained, tmp_path):
    """Messages and prompt tokens equal those of the run's own evaluation for the same responses."""
    folder, config = trained
    played, written, notes = evaluated(folder / "checkpoints" / "rl-0", tmp_path / "out")
    env = config.env.recipe("valid_seen").make()
    generator = HFGenerator(*load_model(str(folder / "checkpoints" / "rl-0")), max_response_tokens=5, max_row_tokens=900)
    for episode in played:
        env.reset(seed=episode.seed, options={"task": episode.task})
        first = asyncio.run(generator.session(env, 0).act(env.messages))
        assert first.prompt_token_ids.tolist() == episode.steps[0].prompt_token_ids.tolist()
        for step in episode.steps:
            assert step.observation == env.messages[-1]["content"]
            env.step(step.response)
        assert (episode.system_prompt, episode.dialogue) == (env.system_prompt, env.dialogue.name) == ("", "plain")
        assert len(episode.steps) <= 3 and all(len(step.response_token_ids) <= 5 for step in episode.steps)
    facts = written["environments"]["EMPG/ALFWorld-v0"]
    assert facts["kwargs"] == {"split": "valid_seen", "strip_intro": True, "size": "small", "max_steps": 3}
    assert facts["as_trained"]["env.strip_intro"] is True and facts["as_trained"]["system_prompt"] == ""
    ids = played[0].steps[0].response_token_ids.tolist()
    assert token_texts(tmp_path / "out", ids).keys() == set(ids), "the page shows tokens as texts"
    assert (facts["history"], facts["show_admissible"]) == (1, True)
    assert (written["agent"]["temperature"], written["agent"]["max_row_tokens"]) == (0.7, 900)
    (note,) = notes
    assert f'as in the training run {folder}: dialogue="plain" history=1 show_admissible=true system_prompt="" env.' in note
    assert "agent.temperature=0.7 agent.max_response_tokens=5 agent.max_row_tokens=900" in note


def test_explicit_options_override_those_of_the_run(trained, tmp_path):
    folder, _ = trained
    played, written, notes = evaluated(
        folder,
        tmp_path / "out",
        system_prompt="Play.",
        history=100,
        show_admissible=False,
        env_kwargs={"max_steps": 1},
        agent_options={"max_response_tokens": 2, "temperature": 0.0},
    )
    facts = written["environments"]["EMPG/ALFWorld-v0"]
    assert {one.system_prompt for one in played} == {"Play."} and {len(one.steps) for one in played} == {1}
    assert (facts["history"], facts["show_admissible"], facts["dialogue"]) == (100, False, "plain")
    assert (written["agent"]["max_response_tokens"], written["agent"]["temperature"]) == (2, 0.0)
    assert set(facts["as_trained"]) == {"dialogue", "env.strip_intro", "env.size"} and "temperature" not in notes[0]


def test_another_environment_uses_its_own_defaults(trained, tmp_path):
    folder, _ = trained
    (folder / "config.json").write_text(TrainConfig.model_validate({**TRAINED, "env": {"id": "EMPG/WebShop-v0"}}).model_dump_json())
    played, written, notes = evaluated(folder, tmp_path / "out", limits=Limits(max_steps=1))
    assert {one.dialogue for one in played} == {"think-action"} and all(one.system_prompt for one in played)
    assert "as_trained" not in written["environments"]["EMPG/ALFWorld-v0"]
    assert "in EMPG/ALFWorld-v0, where it was not trained, only agent.…" in notes[0]


def test_a_watcher_may_lack_note(trained):
    folder, _ = trained

    watcher = Watcher()
    evaluate("alfworld@valid_seen", f"checkpoint:{folder}", tasks=[0], agent_options={"device": "cpu"}, watch=watcher)
    assert watcher.seen == 1


def test_options_of_the_embedded_world_are_dropped_with_data(trained):
    folder, _ = trained
    recipe = make_agent(f"checkpoint:{folder}", device="cpu").info.training.recipe

    def arguments(trained, **kwargs):
        return EnvRecipe(recipe.env_id, kwargs).with_training_defaults(trained).arguments

    assert arguments(recipe, data="games") == {"strip_intro": True, "max_steps": 3, "data": "games"}
    official = dataclasses.replace(recipe, kwargs={**recipe.kwargs, "data": "official"})
    assert "size" not in arguments(official) and arguments(official, data=None)["size"] == "small"


def test_a_damaged_configuration_of_the_run_is_named(trained):
    folder, _ = trained
    (folder / "config.json").write_text(json.dumps({**TRAINED, "rollout": {"max_row_tokens": -1}}))
    with pytest.raises(DataError, match=r"config.json is damaged or of another version \(.*greater than 0"):
        make_agent(f"checkpoint:{folder}", device="cpu")


def test_loading_shows_no_progress_bar(run, capfd):
    make_agent(f"checkpoint:{run}", device="cpu")
    assert capfd.readouterr().err == ""
    assert logging.is_progress_bar_enabled(), "the user's setting is as it was"


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
    """The module imports without torch; creating the agent raises an error that says what to install."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=r"checkpoint:DIR needs the package.*empg-gym\[train\]"):
        make_agent(f"checkpoint:{run}")


HOSTILE = {
    "judge": {"base_url": "http://127.0.0.1:9/v1", "model": "m", "api_key_env": "HOME", "cache": "stolen.sqlite"},
    "reward": "llm_judge",
    "backend": "http://127.0.0.1:9/",
    "visit": "fetch",
    "web": {"cache": "record", "recording": "recording.jsonl"},
    "corpus": "/etc/passwd",
    "mix": "/etc/passwd",
    "world_size": 10**9,
    "protocol": "plain",
    "top_k": 1,
}


def test_a_foreign_run_decides_nothing_beyond_the_allow_list(trained, tmp_path, monkeypatch):
    folder, _ = trained
    env = {"id": "EMPG/DeepSearch-v0", "data": "/etc/passwd", "options": HOSTILE, "max_steps": 1}
    rollout = {"max_response_tokens": 10**9, "max_row_tokens": 900, "env_backend": "antigravity:run", "backend": "os:system"}
    (folder / "config.json").write_text(TrainConfig.model_validate({**TRAINED, "env": env, "rollout": rollout}).model_dump_json())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: pytest.fail("looked up an address"))
    _, written, notes = evaluated(
        folder, tmp_path / "out", envs="deepsearch@test", env_kwargs={"world_size": 200}, agent_options={"max_response_tokens": 2}
    )
    facts = written["environments"]["EMPG/DeepSearch-v0"]
    assert facts["kwargs"] == {"split": "test", "max_steps": 1, "protocol": "plain", "top_k": 1, "world_size": 200}
    assert "127.0.0.1" not in json.dumps(written) and not [path for path in tmp_path.iterdir() if path.name not in ("out", "trained")]
    assert len(notes) == 2 and notes[1].startswith(f"not taken from the training run {folder}")
    for name in ("judge", "reward", "backend", "visit", "web", "corpus", "mix", "data"):
        assert f"--set env.{name}=" in notes[1], name
    assert "agent.max_response_tokens" in notes[1] and "world_size" not in notes[1], "world_size is given"


def test_what_was_ignored_is_logged_where_nobody_watches(trained, caplog):
    folder, _ = trained
    options = {"embedded_options": {"size": "small"}, "options": {"engine": "textworld"}}
    (folder / "config.json").write_text(TrainConfig.model_validate({**TRAINED, "env": options}).model_dump_json())
    evaluate("alfworld@valid_seen", f"checkpoint:{folder}", tasks=[0], agent_options={"device": "cpu"}, limits=Limits(max_steps=1))
    assert "env.engine" in caplog.text and "textworld" not in caplog.text


@pytest.mark.parametrize("name", ["../../elsewhere", "/etc", "a/b", "..", "", "a\nb", "x" * 600, "\x00"])
def test_the_pointer_of_a_foreign_run_stays_in_its_folder(run, tmp_path, name):
    folder = tmp_path / "foreign"
    shutil.copytree(run, folder)
    (folder / "checkpoints" / "latest").write_text(name)
    for place in (folder, folder / "checkpoints"):
        with pytest.raises(DataError, match="not the name of a checkpoint"):
            latest(place)
