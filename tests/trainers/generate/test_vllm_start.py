"""What a user sees when vLLM can't be started. These tests need no vLLM."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from empg_gym.errors import ConfigError, MissingDependencyError
from empg_gym.trainers.generate.backends import build_generator
from empg_gym.trainers.generate.base import GenerationSettings
from empg_gym.trainers.generate.sampling import Sampling
from empg_gym.trainers.generate.vllm_server import _flags
from tests.trainers.generate.worlds import tiny_model

pytestmark = pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed: tests/vllm start it")
SETTINGS = GenerationSettings(sampling=Sampling(), max_response_tokens=4, max_row_tokens=64, max_batch=2)


@pytest.fixture(scope="module")
def tiny():
    return tiny_model()


def test_a_missing_vllm_names_the_extra(tiny):
    with pytest.raises(MissingDependencyError, match=r"backend \"vllm\" needs the package 'vllm'.*empg-gym\[vllm\]"):
        build_generator("vllm", {}, *tiny, SETTINGS)


def test_an_interpreter_without_vllm_is_named_with_its_error_and_the_log_is_kept(tiny, tmp_path):
    with pytest.raises(ConfigError, match=r"did not start under .*ended with status 1.*No module named .?.?vllm.*log: ") as failure:
        build_generator("vllm-server", {"folder": str(tmp_path)}, *tiny, SETTINGS)
    assert sys.executable in str(failure.value) and (tmp_path / "server.log").exists()
    assert {item.name for item in (tmp_path / "model").iterdir()} >= {"config.json", "model.safetensors", "tokenizer.json"}


def test_a_start_that_fails_leaves_the_log_and_no_copy_of_the_model(tiny, tmp_path):
    """In the temporary folder, even if the process ends without cleaning up."""
    script = (
        "import os; from empg_gym.errors import ConfigError; from tests.trainers.generate import test_vllm_start as t\n"
        "try: t.build_generator('vllm-server', {}, *t.tiny_model(), t.SETTINGS)\n"
        "except ConfigError: os.kill(os.getpid(), 9)"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[3])}
    assert subprocess.run([sys.executable, "-c", script], env=environment, check=False).returncode == -9
    deadline = time.monotonic() + 300
    while any(item.is_dir() for item in tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    (log,) = tmp_path.iterdir()
    assert log.name.startswith("empg-vllm-") and "No module named" in log.read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"python": "/nowhere/python"}, r"can't be started \(No such file or directory\); set rollout.backend_options.python"),
        ({"url": "http://127.0.0.1:9"}, "no vLLM server answers at http://127.0.0.1:9"),
        ({"url": "http://127.0.0.1:9", "python": "python3"}, "leave them or url out"),
        ({"ulr": "x"}, "did you mean 'url'"),
    ],
)
def test_options_that_cannot_work_are_refused(tiny, options, message):
    with pytest.raises(ConfigError, match=message):
        build_generator("vllm-server", options, *tiny, SETTINGS)


def test_a_server_that_does_not_answer_leaves_no_folder(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(ConfigError, match="no vLLM server answers"):
        build_generator("vllm-server", {"url": "http://127.0.0.1:9"}, *tiny, SETTINGS)
    assert not list(tmp_path.iterdir())


def test_command_line_options():
    given = {"model": "dir", "enforce-eager": True, "dtype": None, "quiet": False, "tensor-parallel-size": 2}
    assert _flags(given) == ["--model", "dir", "--enforce-eager", "--tensor-parallel-size", "2"]
