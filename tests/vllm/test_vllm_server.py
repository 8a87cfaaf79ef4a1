"""The agent `openai` against a real OpenAI-compatible server, vLLM's, which serves a saved model from scratch.

`make test-vllm` creates the environment `.venv-vllm` for the server (vLLM pins its own versions); without it these tests are skipped.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from empg_gym.agents.openai import OpenAIAgent
from empg_gym.errors import ConfigError
from empg_gym.evaluation import evaluate
from empg_gym.trainers.config.sections import FromScratch
from empg_gym.trainers.policy.models import load_model
from empg_gym.trajectory import read_trajectories
from tests.toy import TOY_ID, DoorsEnv

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("EMPG_VLLM_VENV") or ROOT / ".venv-vllm") / "bin" / "python"
START_SECONDS = 420

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="no .venv-vllm with vLLM: run `make test-vllm`"),
    pytest.mark.xdist_group("vllm"),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny") / "tiny-qwen2"
    env = DoorsEnv()
    texts = [env.reset(seed=seed)[0] for seed in range(20)]
    shape = FromScratch(width=64, heads=2, max_positions=4096, tie_embeddings=False, init_std=0.2)
    for part in load_model(from_scratch=shape, tokenizer_texts=texts):
        part.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def server(model, tmp_path_factory):
    log = tmp_path_factory.mktemp("server") / "log.txt"
    port = free_port()
    command = [str(PYTHON), "-m", "vllm.entrypoints.openai.api_server", "--model", str(model), "--served-model-name", "tiny"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--enforce-eager", "--dtype", "float32", "--max-model-len", "1024"]
    environment = {
        **os.environ,
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, cwd=model.parent, start_new_session=True)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(url, process, log)
        yield f"{url}/v1"
    finally:
        end(process)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError, urllib.error.URLError), urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            if answer.status == 200:
                return
        time.sleep(0.5)
    state = "did not answer in time" if process.poll() is None else f"ended with status {process.returncode}"
    pytest.fail(f"vLLM's server {state}; the end of its log:\n{log.read_text(errors='replace')[-3000:]}")


def end(process: subprocess.Popen[bytes]) -> None:
    """End the server and its engine: they share a process group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        pass
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def play(server, out, *, episodes=6, env_kwargs=None, **options):
    agent = OpenAIAgent("tiny", base_url=server, **{"max_tokens": 12, "temperature": 1.0, "token_ids": True, **options})
    summary = evaluate(TOY_ID, agent, episodes=episodes, dialogue="plain", out=out, env_kwargs={"max_steps": 4, **(env_kwargs or {})})
    return summary.results[TOY_ID], list(read_trajectories(out / "trajectories.jsonl"))


def test_episodes_with_ids_logprobs_and_bounded_entropies(server, model, tmp_path):
    """The server's values are the model's: equal log-probabilities, entropies as lower bounds, rows id by id."""
    import torch

    entry, trajectories = play(server, tmp_path / "run")
    assert (entry["episodes"], entry["errors"]) == (6, 0)
    assert entry["tokens"]["completion"] == sum(one.num_tokens for one in trajectories) > 0
    assert entry["tokens"]["prompt"] > 0 and entry["tokens"]["uncounted_steps"] == 0
    assert entry["entropy"]["is_bound"] and entry["entropy"]["mean"] > 0.0
    reference, tokenizer = load_model(str(model))
    compared = 0
    for trajectory in trajectories:
        prompt = trajectory.steps[0].prompt_token_ids.tolist()
        assert tokenizer.encode(tokenizer.decode(prompt)) == prompt, "the server splits text as our tokenizer does"
        row, last = [], -1
        for step in trajectory.steps:
            assert len(step.response_token_ids) == len(step.logprobs) == len(step.entropies) == step.completion_tokens
            opens_row = step.row != last
            row = [*([] if opens_row else row), *step.prompt_token_ids.tolist()]
            assert len(row) == step.prompt_tokens, "the row is the prompt that the server counted, id by id"
            begin, last = len(row), step.row
            row += step.response_token_ids.tolist()
            with torch.no_grad():
                logits = reference(torch.tensor([row])).logits[0, begin - 1 : -1]
            logprobs = torch.log_softmax(logits.double(), dim=-1)
            own = logprobs.gather(1, torch.tensor(row[begin:])[:, None])[:, 0].numpy()
            entropies = -(logprobs.exp() * logprobs).sum(dim=-1).numpy()
            np.testing.assert_allclose(step.logprobs, own, atol=2e-3)
            assert np.all(step.entropies <= entropies + 2e-3) and np.all(step.entropies > 0.3 * entropies)
            compared += len(own)
    assert compared > 100


def test_valid_actions_by_structured_output(server, tmp_path):
    """Extra request fields reach the server: its grammar restricts the untrained model to valid actions."""
    doors = [f"open door {number}" for number in range(1, 5)]
    entry, trajectories = play(server, tmp_path / "run", max_tokens=40, extra={"structured_outputs": {"choice": doors}})
    assert (entry["errors"], entry["invalid_actions"]["rate"]) == (0, 0.0)
    steps = [step for trajectory in trajectories for step in trajectory.steps]
    assert {step.action for step in steps} <= set(doors) and len({step.action for step in steps}) > 1
    assert any(step.row == 0 for trajectory in trajectories for step in trajectory.steps[1:]), "rows continue where text and ids agree"


def test_a_sampled_run_is_reproducible_by_its_seed(server, tmp_path):
    runs = [play(server, tmp_path / str(number), episodes=3)[1] for number in range(2)]
    texts = [sorted((one.task, [step.response for step in one.steps]) for one in run) for run in runs]
    assert texts[0] == texts[1]


def test_a_conversation_longer_than_the_context_ends_at_a_limit(server, tmp_path):
    entry, trajectories = play(server, tmp_path / "run", episodes=2, max_tokens=300, env_kwargs={"max_steps": 40}, token_ids=False)
    assert entry["errors"] == 0 and entry["stop_reasons"] == {"row_tokens": 2}
    assert all(1 <= len(one.steps) < 40 for one in trajectories)


def test_parameters_that_the_server_refuses_are_dropped(server, tmp_path):
    """By default vLLM allows 20 log-probabilities per token."""
    entry, _ = play(server, tmp_path / "run", episodes=1, top_logprobs=50)
    assert entry["errors"] == 0 and entry["entropy"] is None


def test_the_model_name_is_found_and_a_wrong_one_is_an_error(server, tmp_path):
    agent = OpenAIAgent(base_url=server, max_tokens=4)
    assert evaluate(TOY_ID, agent, episodes=1, dialogue="plain").data["agent"] == "openai:tiny"
    with pytest.raises(ConfigError, match="the model name"):
        evaluate(TOY_ID, OpenAIAgent("huge", base_url=server), episodes=1)
