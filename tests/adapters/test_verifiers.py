"""verifiers' own command on the installed environment package, against a server on the loopback; EMPG's credit on its traces."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("verifiers.v1")

import verifiers.v1 as vf

from empg_gym.adapters.episode_task import episode_tasks
from empg_gym.adapters.verifiers import EMPGTaskset, EMPGTasksetConfig
from empg_gym.errors import ConfigError
from tests.adapters.expert_server import expert_episodes, serving
from tests.docs.pages import ROOT

BENCHMARKS = {"alfworld": {"size": "small"}, "webshop": {}, "deepsearch": {}}
SEED = 5


def evaluate(folder, url, env_id, kwargs, *more, count=2):
    """Run `vf-eval` and return its finished process."""
    command = [
        str(Path(sys.executable).parent / "vf-eval"), "empg-gym-v1", "-n", str(count), "-m", "expert", "--client.base-url", url,
        "--client.api-key-var", "LOOPBACK_KEY", "--no-push", "--no-rich", "-o", str(folder), "--env.taskset.env-id", env_id,
        "--env.taskset.seed", str(SEED), "--env.taskset.env-kwargs", json.dumps(kwargs), *more,
    ]  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment |= {"LOOPBACK_KEY": "x", "PYTHONPATH": f"{ROOT}:{ROOT / 'examples' / 'adapters' / 'empg_gym_v1'}"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("env_id", BENCHMARKS)
def test_the_command_plays_the_same_episodes(env_id, tmp_path):
    kwargs = BENCHMARKS[env_id]
    local = expert_episodes(episode_tasks(env_id, limit=2, seed=SEED, **kwargs), **kwargs)
    with serving(local, overloaded_every=3 if env_id == "alfworld" else 0) as url:
        done = evaluate(tmp_path, url, env_id, kwargs)
    files = list(tmp_path.rglob("traces.jsonl"))
    assert files, done.stdout[-3000:] + done.stderr[-3000:]
    traces = [trace for line in files[0].read_text().splitlines() for trace in json.loads(line)["traces"]]
    assert len(traces) == len(local)
    by_task = {trace["info"]["empg_gym"]["task"]: trace for trace in traces}
    for episode in local:
        trace = by_task[episode.task]
        said = [(node["message"]["role"], node["message"]["content"]) for node in trace["nodes"]]
        assert said == [(message["role"], message["content"]) for message in episode.to_messages()]
        info = trace["info"]["empg_gym"]
        assert info["rewards"] == [step.reward for step in episode.steps] and info["actions"] == [step.action for step in episode.steps]
        assert info["final_observation"] == episode.final_observation and info["terminated"] and not info["truncated"]
        assert trace["stop_condition"] == "terminated" and not trace["errors"]
        assert trace["metrics"]["success"] == 1.0 and trace["metrics"]["steps"] == len(episode.steps)


def test_bad_input_is_one_sentence():
    def load(**options):
        return list(EMPGTaskset(EMPGTasksetConfig(id="empg-gym-v1", **options)).load())

    assert isinstance(load(env_kwargs={"size": "small"})[0], vf.Task)
    with pytest.raises(ConfigError, match="no environment 'alfwordl'; did you mean 'alfworld'"):
        load(env_id="alfwordl")
    with pytest.raises(ConfigError, match="has no split 'tset'"):
        load(env_id="webshop", split="tset")
    with pytest.raises(ConfigError, match="unknown dialogue format 'raect'; did you mean 'react'"):
        load(dialogue="raect")


def trace(*steps, advantage):
    """Return a real trace with one sampled node per (log-probabilities, entropies)."""
    from verifiers.v1.graph import MessageNode

    nodes = []
    for logprobs, entropies in steps:
        nodes.append(
            MessageNode(parent=len(nodes) - 1 if nodes else None, message=vf.UserMessage(content="look"), token_ids=[1], mask=[False])
        )
        nodes.append(
            MessageNode(
                parent=len(nodes) - 1,
                message=vf.AssistantMessage(content="go"),
                sampled=True,
                token_ids=[0] + [5] * len(logprobs),
                mask=[False] + [True] * len(logprobs),
                logprobs=logprobs,
                entropies=entropies,
                advantages=[advantage] * len(logprobs),
            )
        )
    return vf.Trace.model_construct(nodes=nodes)


class Episode:
    def __init__(self, *traces):
        self.traces = traces


class Base:
    """As prime-rl's GRPO: the group's credit is on the nodes afterwards."""

    async def score_group(self, episodes):
        for number, episode in enumerate(episodes):
            for item in episode.traces:
                for node in item.nodes:
                    if node.sampled:
                        node.advantages = [1.0 - 2.0 * number] * len(node.logprobs)


def test_credit_of_a_group_is_modulate_of_its_steps():
    import asyncio

    import torch

    from empg_gym.adapters.credit import EMPGOptions
    from empg_gym.adapters.verifiers.credit import EMPGCredit, modulate_traces
    from empg_gym.trainers.algorithms.empg import modulate

    class Algorithm(EMPGCredit, Base):
        empg = EMPGOptions(zeta=0.2)

    first = trace(([-0.5, -1.5], None), ([-0.1], None), advantage=0.0)
    second = trace(([-9.0], [0.3]), advantage=0.0)
    asyncio.run(Algorithm().score_group([Episode(first), Episode(second)]))
    a, h = torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64), torch.tensor([1.0, 0.1, 0.3], dtype=torch.float64)
    expected = modulate(a, h, torch.tensor([0, 0, 1]), torch.tensor([0, 1, 0]), zeta=0.2).tolist()
    got = [node.advantages for item in (first, second) for node in item.nodes if node.sampled]
    assert [values[0] for values in got] == pytest.approx(expected) and [len(values) for values in got] == [2, 1, 1]
    bare = trace(([], None), advantage=0.0)
    assert modulate_traces([bare]) == 0
    with pytest.raises(ConfigError, match="needs entropies or log-probabilities"):
        bare.nodes[1].advantages = [1.0]
        bare.nodes[1].mask = [True]
        modulate_traces([bare])
