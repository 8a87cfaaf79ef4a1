"""The doors of the adapters: the episodes as other people's frameworks see them. Each needs its framework's environment.

Actions are texts in the dialogue `plain`; TRL gets the tool call of the same meaning.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.identity.episodes import KWARGS, SEED, Entry, Episode

ROOT = Path(__file__).parents[2]


def trl_door(env_id: str, episodes: Sequence[Episode]) -> list[list[Entry]]:
    """Play through the tools that `GRPOTrainer` calls."""
    from empg_gym.adapters.trl import ALFWorldTools, DeepSearchTools, WebShopTools

    environment = {"alfworld": ALFWorldTools, "webshop": WebShopTools, "deepsearch": DeepSearchTools}[env_id](**KWARGS[env_id])
    seen = []
    for episode in episodes:
        entries = [(environment.reset(**episode.task.columns(), prompt=[]), 0.0, False, False)]
        for action in episode.actions:
            if isinstance(environment, ALFWorldTools):
                observation = environment.act(action)
            else:
                called = re.fullmatch(r"(\w+)\[(.*)\]", action, re.DOTALL)
                assert called is not None, action
                observation = getattr(environment, called[1])(called[2])
            last = environment.session.last
            entries.append((observation, last.reward, last.terminated, last.truncated))
        assert environment.get_reward() == sum(entry[1] for entry in entries)
        seen.append(entries)
    return seen


def skyrl_door(env_id: str, episodes: Sequence[Episode]) -> list[list[Entry]]:
    """Play through SkyRL-gym's registry."""
    import skyrl_gym

    from empg_gym.adapters.skyrl import register

    register()
    seen = []
    for episode in episodes:
        config = {"dialogue": "plain", "kwargs": KWARGS[env_id]}
        env = skyrl_gym.make("empg", env_config=config, extras={**episode.task.columns(), "max_turns": 1_000})
        messages, _ = env.init([])
        entries = [(messages[-1]["content"], 0.0, False, False)]
        for action in episode.actions:
            output = env.step(action)
            facts = output["metadata"]
            shown = output["observations"][0]["content"] if output["observations"] else facts["message"]
            entries.append((shown, output["reward"], facts["terminated"], facts["truncated"]))
        env.close()
        seen.append(entries)
    return seen


def inspect_door(env_id: str, episodes: Sequence[Episode]) -> list[list[Entry]]:
    """Play as one evaluation of Inspect with a scripted model."""
    from inspect_ai import Task
    from inspect_ai import eval as inspect_eval
    from inspect_ai.dataset import MemoryDataset, Sample
    from inspect_ai.model import ModelOutput, ModelUsage, get_model

    from empg_gym.adapters.inspect import outcome, play

    script = {episode.entries[0][0]: episode.actions for episode in episodes}

    def answer(messages: Any, *_: Any) -> Any:
        first = next(message.text for message in messages if message.role == "user")
        said = sum(message.role == "assistant" for message in messages)
        output = ModelOutput.from_content("mockllm/model", script[first][said])
        output.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
        return output

    samples = [
        Sample(id=str(number), input=f"episode {number}", target="", metadata=item.task.columns()) for number, item in enumerate(episodes)
    ]
    task = Task(dataset=MemoryDataset(samples), solver=play(dialogue="plain", env_kwargs=KWARGS[env_id]), scorer=outcome())
    with tempfile.TemporaryDirectory() as folder:
        model = get_model("mockllm/model", custom_outputs=answer)
        (log,) = inspect_eval(task, model=model, log_dir=folder, display="none", max_samples=4)
        assert log.status == "success", log.error
        samples = sorted(log.samples, key=lambda sample: int(sample.id))  # read from the folder
        return [
            _entries([message.text for message in sample.messages if message.role == "user"], sample.store["empg_gym"])
            for sample in samples
        ]


def verifiers_door(env_id: str, episodes: Sequence[Episode]) -> list[list[Entry]]:
    """Play with verifiers' command and a scripted server on the loopback."""
    from tests.adapters.script_server import serving

    script = {episode.entries[0][0]: episode.actions for episode in episodes}
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment |= {"LOOPBACK_KEY": "x", "PYTHONPATH": f"{ROOT}:{ROOT / 'examples' / 'adapters' / 'empg_gym_v1'}"}
    last = max(int(episode.task.seed) for episode in episodes) - SEED + 1
    with serving(script) as url, tempfile.TemporaryDirectory() as folder:
        command = [
            str(Path(sys.executable).with_name("vf-eval")), "empg-gym-v1", "-n", str(last), "-m", "script", "-c", "4", "-o", folder,
            "--client.base-url", url, "--client.api-key-var", "LOOPBACK_KEY", "--no-push", "--no-rich",
            "--env.taskset.env-id", env_id, "--env.taskset.seed", str(SEED), "--env.taskset.dialogue", "plain",
            "--env.taskset.env-kwargs", json.dumps(KWARGS[env_id]),
        ]  # fmt: skip
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        files = list(Path(folder).rglob("traces.jsonl"))
        assert files, done.stdout[-2000:] + done.stderr[-2000:]
        traces = [trace for line in files[0].read_text().splitlines() for trace in json.loads(line)["traces"]]
    for trace in traces:
        if trace["errors"]:
            raise SystemExit(f"verifiers could not play {trace['task']['data']['name']}: {trace['errors'][0]['message']}")
    by_seed = {trace["info"]["empg_gym"]["seed"]: trace for trace in traces}
    seen = []
    for episode in episodes:
        trace = by_seed[episode.task.seed]
        shown = [node["message"]["content"] for node in trace["nodes"] if node["message"]["role"] == "user"]
        seen.append(_entries(shown, trace["info"]["empg_gym"]))
    return seen


def _entries(shown: Sequence[str], facts: dict[str, Any]) -> list[Entry]:
    """Return entries from the messages to the model and what the adapter recorded."""
    observations, rewards = [*shown[1:], facts["final_observation"]], facts["rewards"]
    middle = [(text, reward, False, False) for text, reward in zip(observations, rewards, strict=True)]
    middle[-1] = (*middle[-1][:2], facts["terminated"], facts["truncated"])
    return [(shown[0], 0.0, False, False), *middle]


def verl_door(env_id: str, episodes: Sequence[Episode]) -> list[list[Entry]]:
    """Play through verl's agent loop with a scripted model; observations are read from the tokens of its prompts."""
    from tests.adapters.verl_loop import byte_tokenizer, play

    tokenizer = byte_tokenizer()
    seen = []
    for episode in episodes:
        columns = episode.task.columns()
        output, server, loop = play(columns, episode.actions, tokenizer, env_kwargs=KWARGS[env_id], dialogue="plain")
        shown = [prompt.rpartition("<|im_start|>user\n")[2].partition("<|im_end|>")[0] for prompt in server.prompts]
        last = loop.session.last
        facts = {"terminated": last.terminated, "truncated": last.truncated, "final_observation": last.message}
        seen.append(_entries(shown, {**facts, "rewards": output.extra_fields["turn_scores"]}))
    return seen
