"""Attacks and faults: `python -m benchmarks.soak [--folder runs/soak] [--attacks]`. Writes `benchmarks/results/soak.json`.

    attacks   the cases of `benchmarks.attacks`: hostile clients, servers, pages and files; seconds. `--attacks` runs these alone.
    soak      10,080 episodes in the embedded worlds through `empg-gym eval`, with agents in this process, in processes of their own and
              behind HTTP, and environments in processes. Faults come at a fixed rate: agents crash, hang and write garbage; connections
              are cut; environment processes are killed; the command is killed, gets SIGTERM or SIGHUP, or finds the disk full (a limit
              on the size of its files) and is then started again. In half of the attempts SIGINT is ignored, as in the background jobs
              of a script. Killed and started again with the same folder, the soak resumes.
    memory    six commands of 4,000 episodes each, whose agents go wrong at the same rates: memory and open files over the episodes
              (`benchmarks.soak_memory`).

After every attempt, no process of it may be left, and its terminal output may hold no traceback. At the end of a run, every planned
episode must be in the folder exactly once.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from benchmarks.soak_memory import LineCount, growth, records_mb
from benchmarks.soak_server import ChatServer

OUT = Path(__file__).parent / "results" / "soak.json"
ROOT = Path(__file__).parents[1]
AGENT = Path(__file__).with_name("soak_agent.sh")
TOKEN = "EMPG_GYM_SOAK"
"""Environment variable by which the processes of an attempt are found."""
MAIN = "import sys; from empg_gym.cli import main; sys.argv[0] = 'empg-gym'; main()"
WATCHED = "import pathlib; from benchmarks.soak_memory import watch; watch(pathlib.Path({lines!r}), pathlib.Path({out!r})); " + MAIN
ENVIRONMENTS = ("alfworld", "webshop", "deepsearch")
TASKS = 120
REPEATS = {("expert", "inline"): 10, ("random", "inline"): 5, ("exec", "inline"): 7, ("openai", "inline"): 4, ("random", "processes"): 2}
"""Repeats of the tasks, by agent and backend."""
LONG_TASKS, LONG_REPEATS = 2000, 2
LONG_AGENTS = ("exec", "openai")
EPISODES_BETWEEN = 110
"""Episodes between two faults of the command, on average."""
FAULTS = {"kill -9": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "SIGHUP": signal.SIGHUP, "full disk": None}
"""Faults of the command, with the signal that it gets."""
EXIT_CODES = {"kill -9": -9, "SIGTERM": 143, "SIGHUP": 129, "full disk": 2}
UNWANTED = {"Traceback", "destroyed", "Exception"}
"""Words of the messages that Python and asyncio write about what nobody handled."""
SETTLE_SECONDS = 10.0
FILES = {"config.json", "trajectories.jsonl", "failures.jsonl", "summary.json"}


@dataclass(frozen=True, kw_only=True)
class Run:
    """One evaluation of the soak."""

    env: str
    agent: str
    backend: str = "inline"
    repeats: int
    tasks: int = TASKS
    is_long: bool = False
    """Whether it is one command without faults of its own, whose memory is sampled."""

    @property
    def name(self) -> str:
        return f"{self.env}-{self.agent}-{'long' if self.is_long else self.backend}"

    @property
    def episodes(self) -> int:
        return self.tasks * self.repeats

    def command(self, folder: Path, port: int) -> list[str]:
        """Return the command, which stops its agents after 3 seconds without an answer."""
        named = {
            "exec": ["-a", f"exec:sh {AGENT} {folder.with_suffix('.faults')}", "--set", "agent.timeout=3"],
            "openai": [
                *("-a", "openai", "--model", "soak", "--base-url", f"http://127.0.0.1:{port}/v1"),
                *("--set", "agent.timeout=3", "--set", "agent.retries=1"),
            ],
        }.get(self.agent, ["-a", self.agent])
        lines, out = str(folder / "trajectories.jsonl"), str(folder.with_suffix(".samples"))
        code = WATCHED.format(lines=lines, out=out) if self.is_long else MAIN
        command = [sys.executable, "-c", code, "eval", f"{self.env}@train", *named, "-n", str(self.tasks), "--repeats", str(self.repeats)]
        command += ["-c", "8", "--backend", self.backend, "--set", "limits.max_steps=3", "--out", str(folder), "--no-report"]
        return command


def runs() -> Iterator[Run]:
    """Yield the evaluations of the soak, in their order."""
    for env in ENVIRONMENTS:
        for (agent, backend), repeats in REPEATS.items():
            yield Run(env=env, agent=agent, backend=backend, repeats=repeats)
        for agent in LONG_AGENTS:
            yield Run(env=env, agent=agent, repeats=LONG_REPEATS, tasks=LONG_TASKS, is_long=True)


def soak(folder: Path) -> dict[str, Any]:
    """Run or resume the soak and return its results."""
    folder.mkdir(parents=True, exist_ok=True)
    saved = folder / "state.json"
    state: dict[str, Any] = json.loads(saved.read_text()) if saved.exists() else {"port": 0, "runs": {}, "faults": {}}
    server = ChatServer(state["port"])
    state["port"] = server.server_address[1]
    for run in runs():
        found = state["runs"].setdefault(run.name, {"planned": run.episodes, "attempts": [], "complete": False})
        while not found["complete"]:
            server.faults.clear()
            next_attempt(folder / run.name, run, found, server.server_address[1])
            state["faults"] = dict(Counter(state["faults"]) + Counter({name: count for name, count in server.faults.items() if name}))
            saved.write_text(json.dumps(state, indent=1))
        print(run.name, json.dumps({key: value for key, value in found.items() if key not in ("samples", "attempts")}), flush=True)
    return results(state, folder)


def next_attempt(folder: Path, run: Run, found: dict[str, Any], port: int) -> None:
    """Start a run's command once more, with its next fault, and add the facts to `found`."""
    attempts = found["attempts"]
    rng = random.Random(f"{run.name} {len(attempts)}")
    fault = rng.choice(list(FAULTS)) if not run.is_long and len(attempts) < run.episodes / EPISODES_BETWEEN else ""
    samples = folder.with_suffix(".samples")
    samples.unlink(missing_ok=True)
    attempts.append(one_attempt(run.command(folder, port), folder, fault, rng, kill_envs=run.backend == "processes"))
    if attempts[-1]["exit"] != 0:
        if len(attempts) > 60:
            raise RuntimeError(f"{folder} does not end: {attempts[-1]}")
        return
    log = folder.with_suffix(".faults")
    lines = [json.loads(line) for line in (folder / "trajectories.jsonl").read_text().splitlines()]
    keys = Counter((line["task"], line["repeat"]) for line in lines)
    found |= {
        "episodes": len(lines),
        "missing": run.episodes - len(keys),
        "twice": len(lines) - len(keys),
        "errors": sum(line["stop_reason"] == "error" for line in lines),
        "retried": sum(line["attempts"] > 1 for line in lines),
        "complete": json.loads((folder / "summary.json").read_text())["complete"],
        "other_files": sorted(path.name for path in folder.iterdir() if path.name not in FILES),
        "faults": dict(Counter(log.read_text().split())) if log.exists() else {},
    }
    if killed := sum(attempt["environments_killed"] for attempt in attempts):
        found["faults"]["environment killed"] = killed
    if run.is_long:
        found["samples"] = [json.loads(line) for line in samples.read_text().splitlines()]


def one_attempt(command: list[str], folder: Path, fault: str, rng: random.Random, *, kill_envs: bool) -> dict[str, Any]:
    """Start the command, cause the fault, wait for the end and look for what is left; return the facts."""
    path = folder / "trajectories.jsonl"
    lines = LineCount(path)
    have = lines.read()
    after = have + rng.randint(EPISODES_BETWEEN // 2, EPISODES_BETWEEN * 3 // 2)
    limit = (path.stat().st_size if path.exists() else 0) + rng.randint(200_000, 600_000)
    token, in_background = secrets.token_hex(8), rng.random() < 0.5

    def prepare() -> None:
        if fault == "full disk":
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        signal.signal(signal.SIGINT, signal.SIG_IGN if in_background else signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it would stay ignored

    errors = folder.with_suffix(".stderr")
    with errors.open("wb") as stderr:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", TOKEN: token},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            preexec_fn=prepare,
        )
    killed, fired, next_kill = 0, False, have + 25
    while process.poll() is None:
        time.sleep(0.05)
        done = lines.read()
        if kill_envs and done >= next_kill and (workers := [pid for pid in members(token) if is_worker(pid)]):
            os.kill(rng.choice(workers), signal.SIGKILL)
            killed, next_kill = killed + 1, done + 25
        if not fired and (number := FAULTS.get(fault)) is not None and done >= after:
            fired = True
            process.send_signal(number)
    began = time.monotonic()
    while (left := members(token)) and time.monotonic() - began < SETTLE_SECONDS:
        time.sleep(0.05)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    text = errors.read_text(errors="replace")
    # The run may be done before its fault comes.
    held = process.returncode in (0, EXIT_CODES.get(fault)) and not left and not UNWANTED & set(text.split())
    attempt = {
        "fault": fault if process.returncode else "",
        "in_background": in_background,
        "exit": process.returncode,
        "episodes": lines.read() - have,
        "left": len(left),
        "traceback": "Traceback" in text,
        "held": held,
        "environments_killed": killed,
    }
    if not held:
        attempt["said"] = text[-1000:].replace(str(folder), "FOLDER").replace(str(ROOT), "ROOT")
    return attempt


def members(token: str) -> list[int]:
    """Return the processes that inherited the token, zombies excluded."""
    wanted, found = f"{TOKEN}={token}".encode(), []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and wanted in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def is_worker(pid: int) -> bool:
    """Whether a process serves an environment."""
    try:
        return b"rollout.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def results(state: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the totals of all runs."""
    found = state["runs"]
    attempts = [attempt for run in found.values() for attempt in run["attempts"]]
    faults: Counter[str] = Counter(state["faults"])
    for run in found.values():
        faults.update(run["faults"])
    command = {name: [one for one in attempts if one["fault"] == name] for name in FAULTS}
    intact = all(run["missing"] == run["twice"] == 0 and run["complete"] for run in found.values())
    long = {name: run["samples"] for name, run in found.items() if "samples" in run}
    counted = ("planned", "episodes", "missing", "twice", "errors", "retried")
    return {
        "episodes": {key: sum(run[key] for run in found.values()) for key in counted},
        "episodes_through_faults_of_the_command": sum(run["planned"] for name, run in found.items() if name not in long),
        "attempts": len(attempts),
        "attempts_in_background": sum(one["in_background"] for one in attempts),
        "faults_of_the_command": {
            name: {"tried": len(those), "held": sum(one["held"] for one in those)} for name, those in command.items()
        },
        "faults_of_agents_and_environments": {
            name: {"tried": count, "held": count if intact else 0} for name, count in sorted(faults.items())
        },
        "processes_left": sum(one["left"] for one in attempts),
        "tracebacks": sum(one["traceback"] for one in attempts),
        "other_files": sum(len(run["other_files"]) for run in found.values()),
        "memory": {
            name: {
                "episodes": run[-1][0],
                "mb_per_1000_episodes": growth(run, 1),
                "records_mb_per_1000_episodes": round(records_mb(folder / name / "trajectories.jsonl"), 2),
                "open_files_per_1000_episodes": growth(run, 2),
                "open_files_most": max(sample[2] for sample in run),
                "open_sockets_most": max(sample[3] for sample in run),
                "mb": [sample[1] for sample in run],
            }
            for name, run in long.items()
        },
        "not_held": [one for one in attempts if not one["held"]],
        "runs": {name: {key: run[key] for key in (*counted, "faults")} for name, run in found.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/soak"))
    parser.add_argument("--attacks", action="store_true", help="run the attacks alone, and keep the soak's saved results")
    arguments = parser.parse_args()
    from benchmarks.attacks import attacks

    kept = json.loads(OUT.read_text()) if OUT.exists() else {}
    soaked = kept.get("soak") if arguments.attacks else soak(arguments.folder.resolve())
    report = {"command": "python -m benchmarks.soak", "machine": machine("empg-gym"), "attacks": attacks(), "soak": soaked}
    OUT.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    print(f"written: {OUT}")


if __name__ == "__main__":
    main()
