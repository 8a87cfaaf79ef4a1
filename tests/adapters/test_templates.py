"""The templates for NeMo Gym and GEM, against stubs with the signatures of their base classes: neither runs on this Python."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from types import ModuleType

import pytest

from empg_gym.adapters.episode_task import EpisodeTask, episode_tasks
from empg_gym.errors import ConfigError
from tests.adapters.expert_server import expert_episodes
from tests.docs.pages import ROOT

TEMPLATES = ROOT / "examples" / "adapters" / "templates"
SMALL = {"size": "small"}


def load(name, monkeypatch, **stubs):
    for module, attributes in stubs.items():
        stub = ModuleType(module)
        vars(stub).update(attributes)
        monkeypatch.setitem(sys.modules, module.replace("__", "."), stub)
    spec = importlib.util.spec_from_file_location(name, TEMPLATES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class GymnasiumServer:
    def __init__(self):
        self.session_state = {}

    def extract_text(self, action):
        return action["output"]


class GemEnv:
    pass


def test_nemo_gym(monkeypatch):
    module = load("nemo_gym_app", monkeypatch, resources_servers={}, resources_servers__gymnasium={"GymnasiumServer": GymnasiumServer})
    server = module.EMPGGymServer()
    task = episode_tasks("deepsearch", limit=1)[0]
    episode = expert_episodes([task])[0]

    async def play():
        observation, _ = await server.reset(task.columns(), "one")
        played = [(observation, 0.0, False, False)]
        await server.reset(task.columns(), "two")
        for step in episode.steps:
            observation, reward, terminated, truncated, metrics = await server.step({"output": step.response}, {}, "one")
            played.append((observation, reward, terminated, truncated))
        await server.close_session("one")
        await server.close_session("one")
        return played, metrics

    played, metrics = asyncio.run(play())
    assert played[0][0] == f"{episode.system_prompt}\n\n{episode.steps[0].observation}"
    assert [item[0] for item in played[1:]] == [*(step.observation for step in episode.steps[1:]), None]
    assert played[-1][1:] == (1.0, True, False) and metrics["success"] == 1.0 and set(server.session_state) == {"two"}
    with pytest.raises(ConfigError, match="names its environment"):
        asyncio.run(server.reset({}, "three"))


def test_gem(monkeypatch):
    registered = {}
    stub = {"Env": GemEnv, "register": lambda name, entry, **kwargs: registered.update({name: kwargs})}
    module = load("gem_env", monkeypatch, gem=stub)
    assert set(registered) == {"empg:alfworld-train", "empg:webshop-train", "empg:deepsearch-train"}
    env = module.EMPGGemEnv("alfworld", **SMALL)
    episode = expert_episodes([EpisodeTask(env_id="alfworld", split="train", seed=4)], **SMALL)[0]
    observation, _ = env.reset(seed=4)
    assert observation == episode.steps[0].observation
    for step in episode.steps[:-1]:
        env.step(step.response)
    twin = env.spawn(same_state=True)
    assert env.step(episode.steps[-1].response)[1:4] == twin.step(episode.steps[-1].response)[1:4] == (1.0, True, False)
    assert env.reset()[0] != observation
    assert isinstance(env.step(env.sample_random_action())[0], str)
