"""The backend `vllm-server` in a training run: vLLM's own server, in its own environment, is killed in the middle of a step."""

from __future__ import annotations

import io
import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from empg_gym.errors import TrainingError
from empg_gym.trainers.generate.vllm_server import VLLMServerGenerator
from empg_gym.trainers.run.progress import ProgressView
from empg_gym.trainers.run.trainer import Trainer
from empg_gym.trajectory import read_trajectories
from tests.trainers.corridor import corridor_config
from tests.trainers.generate.worlds import tokens_of

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("EMPG_VLLM_VENV") or ROOT / ".venv-vllm") / "bin" / "python"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="no .venv-vllm with vLLM: run `make test-vllm`"),
    pytest.mark.xdist_group("vllm"),
]


def config(folder, backend, steps):
    options = {"python": str(PYTHON), "kv_cache_gib": 0.1, "folder": str(folder.parent / "server"), "start_seconds": 1500.0}
    return corridor_config(
        str(folder),
        model={"from_scratch": {"layers": 1, "width": 64, "heads": 2, "init_std": 0.2, "tie_embeddings": True}},
        rollout={
            "max_response_tokens": 6,
            "max_row_tokens": 128,
            "concurrency": 16,
            "backend": backend,
            "backend_options": options if backend == "vllm-server" else {},
        },
        warmstart={"steps": 30, "episodes": 64, "episodes_per_step": 16, "optimizer": {"lr": 1e-2}},
        rl={"steps": steps, "tasks_per_step": 8, "repeats": 8, "minibatches": 1, "reward": "score", "optimizer": {"lr": 1e-3}},
        run={"threads": 1, "device": "cpu", "out": str(folder), "checkpoint_every": 1, "keep_rollouts": True},
        eval={"splits": []},
    )


def journal(folder, step):
    return folder / "rollouts" / f"step-{step:06d}.jsonl"


def ends(group):
    """Whether the processes of a group are gone; those that were killed disappear when their parent notices."""
    for _ in range(120):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.5)
    return False


def test_a_run_whose_server_is_killed_mid_step_stops_and_resumes(tmp_path, monkeypatch):
    folder, servers = tmp_path / "run", []
    generate = VLLMServerGenerator._generate

    async def killing(self, ids, parameters):
        if self._process.pid not in servers:
            servers.append(self._process.pid)
        if len(servers) == 1 and journal(folder, 2).exists() and journal(folder, 2).read_text().count("\n") >= 3:
            os.killpg(servers[0], signal.SIGKILL)
        return await generate(self, ids, parameters)

    monkeypatch.setattr(VLLMServerGenerator, "_generate", killing)
    with pytest.raises(TrainingError, match=r"vLLM's server at .* has failed \(it ended with status -9\).*log.*--resume"):
        Trainer(config(folder, "vllm-server", 3), ProgressView(Console(file=io.StringIO()))).run()
    finished = list(read_trajectories(journal(folder, 2)))
    assert 3 <= len(finished) < 64
    Trainer(config(folder, "vllm-server", 3), ProgressView(Console(file=io.StringIO())), resume=True).run()
    assert len(servers) == 2
    assert all(ends(pid) for pid in servers)
    assert not list((tmp_path / "server").glob("weights-*"))

    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    lines = [line for line in lines if line["phase"] == "rl" and line["step"]]
    assert [line["step"] for line in lines] == [1, 2, 3]
    for line in lines:  # every token has the log-probability of this step's weights
        assert line["rollout/logprob_gap_max"] < 1e-3 and line["rollout/logprob_gap_mean"] < 1e-4, (
            "the weights of this step, token by token"
        )
        assert line["entropy/step_mean"] > 0 and line["train/failed_episodes"] == 0
    again = {(item.group, item.repeat): tokens_of([item]) for item in read_trajectories(journal(folder, 2))}
    assert len(again) == 64
    assert all(again[item.group, item.repeat] == tokens_of([item]) for item in finished), "finished episodes are kept"

    Trainer(config(tmp_path / "hf", "hf", 1), ProgressView(Console(file=io.StringIO()))).run()
    ours, theirs = (list(read_trajectories(journal(name, 1))) for name in (folder, tmp_path / "hf"))
    for of in (
        lambda item: item.score,
        lambda item: float(np.mean([step.logprobs.mean() for step in item.steps])),
        lambda item: len(item.steps),
    ):
        one, other = np.array([of(item) for item in ours], float), np.array([of(item) for item in theirs], float)
        error = np.sqrt(one.var(ddof=1) / len(one) + other.var(ddof=1) / len(other))
        assert abs(one.mean() - other.mean()) <= 4 * error + 1e-9, "equal within sampling noise"
