"""The command with several workers behind one port: sessions stay with their worker, and the death of one is noticed by no other's."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import gymnasium as gym
import httpx
import pytest
from openenv.core import GenericEnvClient

import empg_gym
from empg_gym.errors import EnvironmentFailure
from empg_gym.serve.websocket import WebSocket

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-c", "from empg_gym.cli import main; main()", "serve", "env"]


@contextlib.contextmanager
def command(*arguments):
    """Run `empg-gym serve env`; yield its process and the address that it prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([*COMMAND, *arguments], stderr=subprocess.PIPE, text=True, env=environment)
    try:
        lines = []
        while not lines or "serving" not in lines[-1]:
            lines.append(process.stderr.readline())
            assert lines[-1], "".join(lines)
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield process, re.search(r"http://\S+", lines[-1])[0]
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(300) == 143


@pytest.fixture(scope="module")
def running():
    with command("alfworld", "--port", "0", "--workers", "2", "--max-sessions", "30") as found:
        yield found


def _workers(process):
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return sorted(int(pid) for pid in children if "empg_gym.serve.workers" in Path(f"/proc/{pid}/cmdline").read_text())


def _worker(env):
    return env.unwrapped._described["worker"]


def _connected(url):
    """Return sessions on both workers, each with its local twin in the same episode."""
    pairs, deadline = [], time.monotonic() + 300
    while sorted(_worker(env) for env, _ in pairs) != [0, 0, 0, 1, 1, 1]:
        assert time.monotonic() < deadline
        env, local = empg_gym.connect(url), gym.make("EMPG/ALFWorld-v0")
        if sum(_worker(env) == _worker(other) for other, _ in pairs) == 3:
            env.close()
            time.sleep(0.05)
            continue
        assert env.reset(seed=len(pairs)) == local.reset(seed=len(pairs))
        pairs.append((env, local))
    return pairs


def test_the_limit_is_that_of_all_workers(running):
    batch = empg_gym.connect_batch(running[1], 30, connections=6)
    with pytest.raises(EnvironmentFailure, match=r"full \(30 sessions\)"):
        empg_gym.connect(running[1])
    batch.reset(seeds=range(30))
    batch.close()


def test_an_http_session_is_found_from_every_worker(running):
    url = running[1]

    def rpc(method, **params):
        data = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return httpx.post(f"{url}/mcp", json=data, timeout=300).json()  # a connection of its own

    local = gym.make("EMPG/ALFWorld-v0")
    for seed in range(3):
        session = rpc("openenv/session/create")["result"]
        started = rpc("tools/call", name="start_episode", arguments={"seed": seed}, **session)["result"]
        assert started["text"] == local.reset(seed=seed)[0]
        for _ in range(6):
            assert rpc("tools/call", name="act", arguments={"action": "look"}, **session)["result"]["text"] == local.step("look")[0]
        for _ in range(4):  # attached, by whichever worker
            address = f"{url.replace('http', 'ws')}/ws?session_id={session['session_id']}"
            socket = WebSocket(address, headers={}, seconds=300, max_bytes=1 << 24)
            socket.send('{"type": "step", "data": {"action": "look"}}')
            answer = json.loads(socket.receive(300))
            while answer["type"] == "error" and "already has" in answer["data"]["message"]:
                time.sleep(0.05)
                socket = WebSocket(address, headers={}, seconds=300, max_bytes=1 << 24)
                socket.send('{"type": "step", "data": {"action": "look"}}')
                answer = json.loads(socket.receive(300))
            assert answer["data"]["observation"]["text"] == local.step("look")[0]
            socket.close()
        assert rpc("openenv/session/close", **session)["result"]


def test_a_killed_worker_takes_its_own_sessions_and_no_others(running):
    process, url = running
    pairs = _connected(url)
    client = GenericEnvClient(base_url=url).sync()
    client.reset(seed=0)
    # Workers are numbered in the order in which they were started.
    os.kill(_workers(process)[0], signal.SIGKILL)
    for env, local in pairs:
        if _worker(env) == 0:
            with pytest.raises(EnvironmentFailure, match=r"lost .* reset\(\) starts another one"):
                env.step("look")
            assert env.reset(seed=9) == local.reset(seed=9)
        assert env.step("look") == local.step("look")
    deadline = time.monotonic() + 300
    while len(_workers(process)) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    for env, _ in pairs:
        env.close()
    for env, _ in _connected(url):  # on both workers again
        env.close()
    client.close()


def test_wrong_use_of_the_command_is_one_sentence(capsys, monkeypatch):
    from empg_gym.cli import main
    from empg_gym.net.server import listen

    taken = listen("127.0.0.1", 0)
    taken.listen()
    port = str(taken.getsockname()[1])
    monkeypatch.setenv("EMPG_GYM_TOKEN", "short")
    for arguments, said in (
        (["alfwold"], "did you mean 'alfworld'"),
        (["alfworld@trian", "--no-auth"], "did you mean 'train'"),
        (["alfworld", "webshop", "--set", "max_steps=3", "--no-auth"], "--set belongs to one environment"),
        (["alfworld", "alfworld@valid_seen", "--no-auth"], "the second environment with the name 'alfworld'"),
        (["alfworld", "--set", "sise=3", "--no-auth"], "takes no argument 'sise'"),
        (["alfworld"], "EMPG_GYM_TOKEN must have at least 16"),
        (["alfworld", "--port", port, "--no-auth"], "choose another port"),
        (["alfworld", "--host", "192.0.2.1", "--no-auth"], "can't listen on 192.0.2.1"),
    ):
        used = [] if "--port" in arguments else ["--port", "0"]
        monkeypatch.setattr(sys, "argv", ["empg-gym", "serve", "env", *arguments, *used])
        if said.startswith("did you mean 'alfworld'"):
            monkeypatch.setenv("EMPG_GYM_TOKEN", "long enough".replace(" ", "-") * 3)
        else:
            monkeypatch.setenv("EMPG_GYM_TOKEN", "short")
        with pytest.raises(SystemExit) as left:
            main()
        error = capsys.readouterr().err
        assert left.value.code == 2 and said in error and "Traceback" not in error and error.count("\n") == 1, error
    taken.close()


def test_an_environment_that_can_not_be_made_ends_the_workers():
    result = subprocess.run(
        [*COMMAND, "alfworld@trian", "--port", "0", "--workers", "2"], capture_output=True, text=True, timeout=600, cwd=ROOT
    )
    assert result.returncode == 2 and "did you mean 'train'" in result.stderr and "Traceback" not in result.stderr
