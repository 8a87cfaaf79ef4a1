"""Attacks and faults: `python -m benchmarks.soak [--folder runs/soak] [--attacks]`. Writes `benchmarks/results/soak.json`.

    attacks   the cases of `benchmarks.attacks`: hostile clients, servers, pages and files; seconds. `--attacks` runs these alone.
    soak      about 10,000 episodes in the embedded worlds through `empg-gym eval`, with agents in this process, in processes of their own
              and behind HTTP, and environments in processes. Faults come at a fixed rate: agents crash, hang and write garbage;
              connections are cut; environment processes are killed; the command is killed, terminated, or finds the disk full (a limit on
              the size of its files) and is then started again. Killed and started again with the same folder, the soak resumes.

After every attempt, no process of it may be left, and its terminal output may hold no traceback. At the end of a run, every planned
episode must be in the folder exactly once. Memory and open files of the command are sampled while it runs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import secrets
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from benchmarks.soak_server import ChatServer

OUT = Path(__file__).parent / "results" / "soak.json"
ROOT = Path(__file__).parents[1]
AGENT = Path(__file__).with_name("soak_agent.sh")
TOKEN = "EMPG_GYM_SOAK"
"""Environment variable by which the processes of an attempt are found."""
MAIN = "import sys; from empg_gym.cli import main; sys.argv[0] = 'empg-gym'; main()"
TASKS = 120
RUNS = {("expert", "inline"): 10, ("random", "inline"): 5, ("exec", "inline"): 7, ("openai", "inline"): 4, ("random", "processes"): 2}
"""Repeats of the tasks, by agent and backend."""
EPISODES_BETWEEN = 110
"""Episodes between two faults of the command, on average."""
FAULTS = ("kill -9", "SIGTERM", "full disk")
SETTLE_SECONDS = 10.0
FILES = {"config.json", "trajectories.jsonl", "failures.jsonl", "summary.json"}


def soak(folder: Path) -> dict[str, Any]:
    """Run or resume the soak and return its results."""
    folder.mkdir(parents=True, exist_ok=True)
    saved = folder / "state.json"
    state: dict[str, Any] = json.loads(saved.read_text()) if saved.exists() else {"port": 0, "runs": {}, "faults": {}}
    server = ChatServer(state["port"])
    state["port"] = server.server_address[1]
    faults = Counter(state["faults"])
    for env in ("alfworld@train", "webshop@train", "deepsearch@train"):
        for (agent, backend), repeats in RUNS.items():
            name = f"{env.partition('@')[0]}-{agent}-{backend}"
            if name in state["runs"]:
                continue
            began = Counter(server.faults)
            state["runs"][name] = one_run(folder / name, env, agent, backend, repeats, server.server_address[1])
            faults += server.faults - began
            del faults[""]
            state["faults"] = dict(faults)
            saved.write_text(json.dumps(state, indent=1))
            print(name, json.dumps({key: value for key, value in state["runs"][name].items() if key != "samples"}), flush=True)
    return results(state)


def one_run(folder: Path, env: str, agent: str, backend: str, repeats: int, port: int) -> dict[str, Any]:
    """Run one evaluation to its end through the faults of its command."""
    rng = random.Random(f"{folder.name}")
    log = folder.with_suffix(".faults")
    named = {
        "exec": ["-a", f"exec:sh {AGENT} {log}", "--set", "agent.timeout=3"],
        "openai": [
            *("-a", "openai", "--model", "soak", "--base-url", f"http://127.0.0.1:{port}/v1"),
            *("--set", "agent.timeout=3", "--set", "agent.retries=1"),
        ],
    }.get(agent, ["-a", agent])
    command = [sys.executable, "-c", MAIN, "eval", env, *named, "-n", str(TASKS), "--repeats", str(repeats), "-c", "8"]
    command += ["--backend", backend, "--set", "limits.max_steps=3", "--out", str(folder), "--no-report"]
    planned = TASKS * repeats
    found: dict[str, Any] = {"planned": planned, "attempts": [], "samples": []}
    killed = 0
    while True:
        fault = rng.choice(FAULTS) if len(found["attempts"]) < planned / EPISODES_BETWEEN else ""
        attempt, ended = one_attempt(command, folder, fault, rng, kill_envs=backend == "processes")
        found["attempts"].append(attempt)
        killed += attempt.pop("environments_killed")
        found["samples"] = attempt.pop("samples")
        if ended == 0 and not fault_applies(attempt):
            break
        if len(found["attempts"]) > 60:
            raise RuntimeError(f"{folder} does not end: {attempt}")
    lines = [json.loads(line) for line in (folder / "trajectories.jsonl").read_text().splitlines()]
    keys = Counter((line["task"], line["repeat"]) for line in lines)
    summary = json.loads((folder / "summary.json").read_text())
    found |= {
        "episodes": len(lines),
        "missing": planned - len(keys),
        "twice": len(lines) - len(keys),
        "errors": sum(line["stop_reason"] == "error" for line in lines),
        "retried": sum(line["attempts"] > 1 for line in lines),
        "complete": summary["complete"],
        "other_files": sorted(path.name for path in folder.iterdir() if path.name not in FILES),
        "faults": dict(Counter(log.read_text().split())) if log.exists() else {},
    }
    if killed:
        found["faults"]["environment killed"] = killed
    return found


def fault_applies(attempt: dict[str, Any]) -> bool:
    """Whether the attempt was ended by its fault; a run may finish before the fault comes."""
    return bool(attempt["fault"]) and attempt["exit"] != 0


def one_attempt(command: list[str], folder: Path, fault: str, rng: random.Random, *, kill_envs: bool) -> tuple[dict[str, Any], int]:
    """Start the command, cause the fault, wait for the end and look for what is left; return the facts and the exit code."""
    path = folder / "trajectories.jsonl"
    have = count_lines(path)
    after = have + rng.randint(EPISODES_BETWEEN // 2, EPISODES_BETWEEN * 3 // 2)
    limit = (path.stat().st_size if path.exists() else 0) + rng.randint(200_000, 600_000)
    token = secrets.token_hex(8)

    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    errors = folder.with_suffix(".stderr")
    with errors.open("wb") as stderr:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", TOKEN: token},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            preexec_fn=fill if fault == "full disk" else None,
        )
    samples, killed, done, fired = [], 0, have, False
    next_kill = have + 25
    while process.poll() is None:
        time.sleep(0.05)
        done = count_lines(path)
        if (sample := measure(process.pid)) is not None and done > have:
            samples.append([done, *sample])
        if kill_envs and done >= next_kill and (workers := [pid for pid in members(token) if is_worker(pid)]):
            os.kill(rng.choice(workers), signal.SIGKILL)
            killed, next_kill = killed + 1, done + 25
        if not fired and fault in ("kill -9", "SIGTERM") and done >= after:
            fired = True
            process.send_signal(signal.SIGKILL if fault == "kill -9" else signal.SIGTERM)
    began = time.monotonic()
    while (left := members(token)) and time.monotonic() - began < SETTLE_SECONDS:
        time.sleep(0.05)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    text = errors.read_text(errors="replace")
    attempt = {
        "fault": fault,
        "exit": process.returncode,
        "episodes": count_lines(path) - have,
        "left": len(left),
        "traceback": "Traceback" in text,
        "held": held(fault, process.returncode) and not left and "Traceback" not in text,
        "environments_killed": killed,
        "samples": samples,
    }
    if not attempt["held"]:
        attempt["said"] = text[-1000:].replace(str(folder), "FOLDER").replace(str(ROOT), "ROOT")
    return attempt, process.returncode


def held(fault: str, code: int) -> bool:
    """Whether an exit code is the one of the fault; 0 if the run ended before it came."""
    return code in {"kill -9": (-9, 0), "SIGTERM": (143, 0), "full disk": (2, 0), "": (0,)}[fault]


def count_lines(path: Path) -> int:
    """Return the number of complete lines of a file."""
    try:
        return path.read_bytes().count(b"\n")
    except OSError:
        return 0


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


def measure(pid: int) -> tuple[int, float] | None:
    """Return the number of open files and the resident memory in MB of a process."""
    try:
        files = len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return None
    return files, pages * resource.getpagesize() / 2**20


def growth(samples: list[list[float]], column: int) -> float | None:
    """Return the growth between the second and the last quarter of the episodes of an attempt; None for a short one."""
    first, last = (samples[0][0], samples[-1][0]) if samples else (0, 0)
    if last - first < 100:
        return None
    early = [one[column] for one in samples if first + (last - first) / 4 <= one[0] <= first + (last - first) / 2]
    late = [one[column] for one in samples if one[0] >= first + (last - first) * 3 / 4]
    return statistics.median(late) - statistics.median(early) if early and late else None


def results(state: dict[str, Any]) -> dict[str, Any]:
    """Return the totals of all runs."""
    runs = state["runs"]
    attempts = [attempt for run in runs.values() for attempt in run["attempts"]]
    faults: Counter[str] = Counter(state["faults"])
    for run in runs.values():
        faults.update(run["faults"])
    command = {name: [one for one in attempts if fault_applies(one) and one["fault"] == name] for name in FAULTS}
    intact = all(run["missing"] == run["twice"] == 0 and run["complete"] for run in runs.values())
    files = {name: value for name, run in runs.items() if (value := growth(run["samples"], 1)) is not None}
    memory = {
        name: round(value / (run["samples"][-1][0] - run["samples"][0][0]) * 2000, 1)  # half of the episodes lie between the two quarters
        for name, run in runs.items()
        if (value := growth(run["samples"], 2)) is not None
    }
    return {
        "episodes": {
            key: sum(run[key] for run in runs.values()) for key in ("planned", "episodes", "missing", "twice", "errors", "retried")
        },
        "attempts": len(attempts),
        "faults_of_the_command": {
            name: {"tried": len(found), "held": sum(one["held"] for one in found)} for name, found in command.items()
        },
        "faults_of_agents_and_environments": {
            name: {"tried": count, "held": count if intact else 0} for name, count in sorted(faults.items())
        },
        "processes_left": sum(one["left"] for one in attempts),
        "tracebacks": sum(one["traceback"] for one in attempts),
        "other_files": sum(len(run["other_files"]) for run in runs.values()),
        "open_files_growth": files,
        "open_files_most": int(max(sample[1] for run in runs.values() for sample in run["samples"])),
        "memory_growth_mb_per_1000_episodes": memory,
        "not_held": [one for one in attempts if not one["held"]],
        "runs": {
            name: {key: run[key] for key in ("planned", "episodes", "missing", "twice", "errors", "retried", "faults")}
            for name, run in runs.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/soak"))
    parser.add_argument("--attacks", action="store_true", help="run the attacks alone, and keep the soak's saved results")
    arguments = parser.parse_args()
    from benchmarks.attacks import attacks

    kept = json.loads(OUT.read_text()) if OUT.exists() else {}
    soaked = kept.get("soak") if arguments.attacks else soak(arguments.folder)
    report = {"command": "python -m benchmarks.soak", "machine": machine("empg-gym"), "attacks": attacks(), "soak": soaked}
    OUT.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    print(f"written: {OUT}")


if __name__ == "__main__":
    main()
