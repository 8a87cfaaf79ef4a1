"""Load and faults of the environment server with real ALFWorld: sessions held, steps per second, and what other sessions notice of a fault.

The server and its clients share the cores of this machine. CPU seconds of the server's processes are counted apart from the clients', so
that a result says what a step costs the server, and what more cores would give it.

python -m benchmarks.serve_load --python .venv-openenv/bin/python
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
from websockets.asyncio.client import connect as open_websocket

import empg_gym
from benchmarks.machine import machine
from empg_gym.errors import EnvironmentFailure
from empg_gym.serve.client import Sessions, websocket_url
from empg_gym.serve.websocket import WebSocket

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "serve_load.json"
_TICK = os.sysconf("SC_CLK_TCK")


class Server:
    """A running `empg-gym serve env alfworld`."""

    def __init__(self, python: str, workers: int, sessions: int) -> None:
        command = [python, "-c", "from empg_gym.cli import main; main()", "serve", "env", "alfworld"]
        options = ["--port", "0", "--workers", str(workers), "--max-sessions", str(sessions)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True, env=environment)
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        if "serving" not in line:
            raise SystemExit(line + self.process.stderr.read())
        self.url = line.split()[-1]
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    @property
    def workers(self) -> list[int]:
        """Process ids of the workers, or of the server if it has none."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        found = [int(pid) for pid in children if "empg_gym.serve.workers" in Path(f"/proc/{pid}/cmdline").read_text()]
        return found or [self.process.pid]

    def cpu_seconds(self) -> float:
        """CPU seconds of all workers so far."""
        fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in self.workers]
        return sum(int(of[11]) + int(of[12]) for of in fields) / _TICK

    def memory_mb(self) -> float:
        """Proportional memory of all workers."""
        lines = [line for pid in self.workers for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()]
        return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024

    def close(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


@contextlib.contextmanager
def serving(*arguments: Any) -> Iterator[Server]:
    server = Server(*arguments)
    try:
        yield server
    finally:
        server.close()


def measured(server: Server, steps: int, wall: float, cpu: tuple[float, float]) -> dict[str, float]:
    """Return rates from the wall time and the CPU seconds of server and client."""
    of_server, of_client = cpu
    return {
        "steps": steps,
        "steps_per_second": steps / wall,
        "server_cpu_ms_per_step": 1000 * of_server / steps,
        "client_cpu_ms_per_step": 1000 * of_client / steps,
        "server_steps_per_core_second": steps / of_server,
    }


async def openenv_sessions(server: Server, count: int, seconds: float) -> dict[str, Any]:
    """Hold `count` sessions of OpenEnv's protocol, each in an episode, and step all of them at the same time, one step a message."""
    url = server.url.replace("http", "ws") + "/ws"
    gate = asyncio.Semaphore(64)
    times: list[float] = []
    stop = time.monotonic() + 1e9

    async def opened(number: int) -> tuple[Any, dict[str, Any]]:
        async with gate:
            socket = await open_websocket(url, compression=None, max_size=None, open_timeout=600, ping_interval=None)
            await socket.send(json.dumps({"type": "reset", "data": {"seed": number}}))
            return socket, json.loads(await socket.recv())["data"]

    began = time.monotonic()
    sessions = await asyncio.gather(*(opened(number) for number in range(count)))
    opening = time.monotonic() - began
    memory = server.memory_mb()

    async def play(number: int, socket: Any, seen: dict[str, Any]) -> None:
        rng = random.Random(number)
        while time.monotonic() < stop:
            if seen["done"]:
                message = {"type": "reset", "data": {"seed": rng.randrange(10**6)}}
            else:
                message = {"type": "step", "data": {"action": rng.choice(seen["observation"]["admissible_actions"])}}
            sent = time.perf_counter()
            await socket.send(json.dumps(message))
            seen = json.loads(await socket.recv())["data"]
            times.append(time.perf_counter() - sent)

    stop = time.monotonic() + seconds
    cpu, own, began = server.cpu_seconds(), time.process_time(), time.monotonic()
    await asyncio.gather(*(play(number, *session) for number, session in enumerate(sessions)))
    wall = time.monotonic() - began
    used = (server.cpu_seconds() - cpu, time.process_time() - own)
    for socket, _ in sessions:
        await socket.close()
    times.sort()
    return {
        "sessions": count,
        "opening_seconds": opening,
        "memory_mb": memory,
        **measured(server, len(times), wall, used),
        "median_ms": 1000 * statistics.median(times),
        "p99_ms": 1000 * times[int(0.99 * len(times))],
    }


def batched_steps(server: Server, count: int, seconds: float) -> dict[str, Any]:
    """Step `count` sessions with `connect_batch`."""
    batch = empg_gym.connect_batch(server.url, count, seconds=600)
    rng = random.Random(0)
    infos = [info for _, info in batch.reset(seeds=range(count))]
    steps = 0
    cpu, own, began = server.cpu_seconds(), time.process_time(), time.monotonic()
    while time.monotonic() - began < seconds:
        outcomes = batch.step([rng.choice(info["admissible_actions"]) for info in infos])
        steps += count
        infos = [outcome[4] for outcome in outcomes]
        ended = {number: rng.randrange(10**6) for number, outcome in enumerate(outcomes) if outcome[2] or outcome[3]}
        if ended:
            for number, (_, info) in zip(ended, batch.reset(ended), strict=True):
                infos[number] = info
    wall = time.monotonic() - began
    used = (server.cpu_seconds() - cpu, time.process_time() - own)
    batch.close()
    return {"sessions": count, **measured(server, steps, wall, used)}


def fastest(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the fastest run, with the rates of all."""
    best = max(runs, key=lambda run: run["steps_per_second"])
    return {**best, "all_steps_per_second": [run["steps_per_second"] for run in runs]}


def local_steps(seconds: float) -> dict[str, float]:
    """Step the environment in this process."""
    env, rng, steps = gym.make("EMPG/ALFWorld-v0"), random.Random(0), 0
    _, info = env.reset(seed=0)
    own = time.process_time()
    while time.process_time() - own < seconds:
        _, _, terminated, truncated, info = env.step(rng.choice(info["admissible_actions"]))
        steps += 1
        if terminated or truncated:
            _, info = env.reset(seed=rng.randrange(10**6))
    return {"steps": steps, "cpu_ms_per_step": 1000 * (time.process_time() - own) / steps}


class Witness:
    """Sessions that play on while something happens to others, each compared with the local environment at every step."""

    def __init__(self, url: str, count: int) -> None:
        self.sessions = [(empg_gym.connect(url), gym.make("EMPG/ALFWorld-v0"), random.Random(number)) for number in range(count)]
        self.workers = [env.unwrapped._described["worker"] for env, _, _ in self.sessions]
        self.infos = [self._reset(number, number) for number in range(count)]

    def play(self, turns: int) -> dict[str, int]:
        """Step all sessions; return how many steps were equal, differed, or failed, by worker of the failed."""
        found = {"equal": 0, "different": 0, "failed": 0}
        for _ in range(turns):
            for number, (served, local, rng) in enumerate(self.sessions):
                action = rng.choice(self.infos[number]["admissible_actions"])
                wanted = local.step(action)
                try:
                    given = served.step(action)
                except EnvironmentFailure:
                    found["failed"] += 1
                    self.infos[number] = self._reset(number, rng.randrange(10**6))
                    continue
                found["equal" if given == wanted else "different"] += 1
                self.infos[number] = wanted[4]
                if wanted[2] or wanted[3]:
                    self.infos[number] = self._reset(number, rng.randrange(10**6))
        return found

    def _reset(self, number: int, seed: int) -> dict[str, Any]:
        served, local, _ = self.sessions[number]
        observation, info = local.reset(seed=seed)
        assert served.reset(seed=seed) == (observation, info)
        return info

    def close(self) -> None:
        for served, _, _ in self.sessions:
            served.close()


def faults(server: Server, count: int) -> dict[str, Any]:
    """Return what `count` other sessions notice while clients misbehave and a worker is killed."""
    witness = Witness(server.url, count)
    results: dict[str, Any] = {"sessions": count, "undisturbed": witness.play(5)}

    def cut() -> None:
        for _ in range(100):
            sessions = Sessions(server.url)
            sessions.send([(0, "open", [None]), (0, "reset", [0, None])])
            sessions._socket._socket.close()

    def slow() -> None:
        sessions = [Sessions(server.url) for _ in range(20)]
        for one in sessions:
            one.ask(0, "open", None)
            one.ask(0, "reset", 0, None)
            one._socket._socket.settimeout(0.2)
            with contextlib.suppress(TimeoutError, EnvironmentFailure):
                for _ in range(200):
                    one.send([(0, "step", ["look"])] * 400)

    def wrong() -> None:
        rng = random.Random(0)
        for number in range(200):
            with contextlib.suppress(Exception):
                socket = WebSocket(websocket_url(server.url), headers={}, seconds=60, max_bytes=1 << 24)
                socket.send("x" * (2 << 20) if number % 4 == 0 else "".join(chr(rng.randrange(32, 0x2FF)) for _ in range(500)))
                socket.receive(60)
                socket.close()

    for name, act in (("cut_connections", cut), ("slow_readers", slow), ("malformed_and_oversized", wrong)):
        thread = threading.Thread(target=act)
        thread.start()
        total = {"equal": 0, "different": 0, "failed": 0}
        while True:
            alive = thread.is_alive()
            for key, value in witness.play(2).items():
                total[key] += value
            if not alive:
                break
        results[name] = total
    victim = witness.workers[0]
    pids = server.workers
    # Workers are numbered in the order in which they were started.
    os.kill(sorted(pids)[victim], signal.SIGKILL)
    after = witness.play(5)
    results["killed_worker"] = {**after, "sessions_of_the_worker": witness.workers.count(victim)}
    results["sessions_by_worker"] = [witness.workers.count(number) for number in range(len(pids))]
    witness.close()
    deadline = time.monotonic() + 300
    seen: set[int] = set()
    while len(seen) < len(pids) and time.monotonic() < deadline:
        with contextlib.suppress(EnvironmentFailure):
            env = empg_gym.connect(server.url)
            seen.add(env.unwrapped._described["worker"])  # type: ignore[attr-defined]
            env.close()
        time.sleep(0.05)
    results["killed_worker"]["workers_afterwards"] = len(seen)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="interpreter with the extra `openenv` (made by `make test-adapters`)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--sessions", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each measurement")
    parser.add_argument("--repeats", type=int, default=5, help="the fastest is reported: the machine may be shared")
    parser.add_argument("--held", type=int, default=4096, help="sessions that are held at once, and stepped in turn")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    record: dict[str, Any] = {
        "machine": machine("websockets", "gymnasium"),
        "workers": options.workers,
        "load_average": os.getloadavg()[1],
    }
    with serving(options.python, options.workers, options.sessions + 64) as server:
        record["local"] = local_steps(3.0)
        single, batched = [], []
        for _ in range(options.repeats):
            single.append(asyncio.run(openenv_sessions(server, options.sessions, options.seconds)))
            batched.append(batched_steps(server, options.batch, options.seconds))
            print(json.dumps([single[-1], batched[-1]]))
        record["openenv"], record["batched"] = fastest(single), fastest(batched)
        record["faults"] = faults(server, 24)
        print(json.dumps(record["faults"]))
    with serving(options.python, options.workers, options.held) as server:
        held = asyncio.run(openenv_sessions(server, options.held, options.seconds))
        record["held"] = {name: held[name] for name in ("sessions", "opening_seconds", "memory_mb", "steps", "p99_ms")}
        print(json.dumps(record["held"]))
    options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
