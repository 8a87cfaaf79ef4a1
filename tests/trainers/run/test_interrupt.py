"""SIGTERM ends a training run with a summary that says how far it came, and the run resumes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.evaluation.test_interrupt import ROOT, wait
from tests.trainers.run.test_cli_train import SHORT, TINY

MAIN = "import sys; from empg_gym.cli import main; sys.argv[0] = 'empg-gym'; main()"


def train(folder, steps, *more):
    settings = [part for item in [*SHORT, f"rl.steps={steps}"] for part in ("--set", item)]
    command = [sys.executable, "-c", MAIN, "train", str(TINY), "--out", str(folder), *settings, *more]
    return subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_a_signal_ends_training_with_a_summary_and_the_run_resumes(tmp_path):
    folder = tmp_path / "run"
    metrics = folder / "metrics.jsonl"
    process = train(folder, 500)
    wait(lambda: process.poll() is not None or (metrics.exists() and '"rl", "step": 1' in metrics.read_text()))
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 143 and "--resume" in err and "Traceback" not in err, err
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["complete"] is False and summary["phase"] == "rl" and 1 <= summary["step"] < 500
    assert summary["before"] and "after" not in summary

    resumed = train(folder, summary["step"] + 1, "--resume")
    _, err = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, err
    finished = json.loads((folder / "summary.json").read_text())
    assert finished["complete"] is True and finished["after"] and finished["before"] == summary["before"]
