"""CPU seconds of the demo's reinforcement step in this tree and in an earlier one, by phase.

    git worktree add --detach ../earlier REVISION
    python -m benchmarks.demo_speed --earlier ../earlier --earlier-model CHECKPOINT --model runs/demo/checkpoints/rl-000000

Each tree has a worker process with one thread. The workers take turns, one phase at a time, so that both see the same machine; what is
reported is the processor time of the phase, and its ratio in each round. There are two comparisons: both trees with the earlier demo's
configuration and model, where they play the same episodes, and each with its own demo, whose rows have become shorter.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "demo_speed.json"
PHASES = ("collect", "learn")


def work(config_file: str, model: str, tasks: int, out: str) -> None:
    """Run a phase for every line on standard input, and answer with a line of JSON."""
    from rich.console import Console

    from empg_gym.trainers.config.file import load_config
    from empg_gym.trainers.run.progress import ProgressView
    from empg_gym.trainers.run.trainer import Trainer

    answers = os.fdopen(os.dup(1), "w")
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        changes = ["run.threads=1", "warmstart.steps=0", "model.from_scratch=none", f'model.name="{model}"', f'run.out="{out}"']
        config = load_config(Path(config_file), [*changes, f"rl.tasks_per_step={tasks}"])
        trainer = Trainer(config, ProgressView(Console(file=nowhere)))
        iteration = trainer._iteration(trainer._optimizer(config.rl.optimizer, 100))
        collection = None
        for step, phase in enumerate(line.strip() for line in sys.stdin):
            usage = trainer.models.train_generator.usage
            passes, began = usage.forwards, time.process_time()
            if phase == "collect":
                collection = trainer.collector.collect(step // len(PHASES))
            else:
                assert collection is not None
                iteration.learn(step // len(PHASES), collection)
            seconds = time.process_time() - began
            assert collection is not None
            answer = {
                "cpu_s": seconds,
                "passes": usage.forwards - passes,
                "episodes": len(collection.trajectories),
                "tokens": sum(item.num_tokens for item in collection.trajectories),
                "texts": hash(tuple(step.response for item in collection.trajectories for step in item.steps)),
            }
            print(json.dumps(answer), file=answers, flush=True)
        trainer.models.close()


def start(tree: Path, config: Path, model: str, tasks: int, out: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONHASHSEED": "0"}
    command = [
        sys.executable,
        str(Path(__file__).resolve()),
        "--work",
        out,
        "--config",
        str(config),
        "--model",
        model,
        "--tasks",
        str(tasks),
    ]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=tree, env=environment, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)


def ask(worker: subprocess.Popen[str], phase: str) -> dict[str, Any]:
    assert worker.stdin is not None and worker.stdout is not None
    worker.stdin.write(phase + "\n")
    worker.stdin.flush()
    line = worker.stdout.readline()
    if not line:
        raise RuntimeError(f"a worker ended in the phase {phase!r}")
    answer: dict[str, Any] = json.loads(line)
    return answer


def report(rounds: list[dict[str, dict[str, dict[str, Any]]]]) -> dict[str, Any]:
    """Return medians over the rounds, by phase and for the whole step."""
    table: dict[str, Any] = {}
    for phase in (*PHASES, "step"):
        parts = PHASES if phase == "step" else (phase,)
        seconds = {side: [sum(item[side][part]["cpu_s"] for part in parts) for item in rounds] for side in ("earlier", "now")}
        ratios = [before / after for before, after in zip(seconds["earlier"], seconds["now"], strict=True)]
        table[phase] = {
            "earlier_cpu_s": round(statistics.median(seconds["earlier"]), 3),
            "now_cpu_s": round(statistics.median(seconds["now"]), 3),
            "ratio": round(statistics.median(ratios), 2),
            "ratios": [round(ratio, 2) for ratio in ratios],
        }
    first = rounds[0]
    return {
        "episodes_per_step": first["now"]["collect"]["episodes"],
        "forward_passes": {side: sum(item[side]["collect"]["passes"] for item in rounds) for side in ("earlier", "now")},
        "same_responses_in_the_first_round": first["now"]["collect"]["texts"] == first["earlier"]["collect"]["texts"],
        "phases": table,
    }


Side = tuple[Path, Path, str]
"""Tree, configuration file and model."""


def measure(sides: dict[str, Side], tasks: int, count: int) -> list[dict[str, dict[str, dict[str, Any]]]]:
    """Return the answers of both workers, round by round."""
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        workers = {name: start(*side, tasks, f"{folder}/{name}") for name, side in sides.items()}
        for number in range(count):
            order = list(workers.items())[:: 1 if number % 2 == 0 else -1]
            done: dict[str, dict[str, dict[str, Any]]] = {side: {} for side in workers}
            for phase in PHASES:
                for side, worker in order:
                    done[side][phase] = ask(worker, phase)
            rounds.append(done)
            print(json.dumps(done), flush=True)
        for worker in workers.values():
            assert worker.stdin is not None
            worker.stdin.close()
            worker.wait()
    return rounds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--earlier", type=Path)
    parser.add_argument("--earlier-model")
    parser.add_argument("--model", required=True)
    parser.add_argument("--config", help=argparse.SUPPRESS)
    parser.add_argument("--tasks", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work(args.config, args.model, args.tasks[0], args.work)
        return
    from benchmarks.machine import machine

    tree, preset = args.earlier.resolve(), Path("configs/alfworld-tiny.toml")
    before: Side = (tree, tree / preset, str(Path(args.earlier_model).resolve()))
    same: dict[str, Side] = {"earlier": before, "now": (ROOT, *before[1:])}
    own: dict[str, Side] = {"earlier": before, "now": (ROOT, ROOT / preset, str(Path(args.model).resolve()))}
    load = os.getloadavg()[0]
    result = {
        "what": "CPU seconds of the demo's reinforcement step with one thread, in an earlier revision and now, interleaved",
        "earlier_revision": subprocess.check_output(["git", "-C", str(args.earlier), "rev-parse", "--short", "HEAD"], text=True).strip(),
        "revision": subprocess.check_output(["git", "-C", str(ROOT), "describe", "--always", "--dirty"], text=True).strip(),
        "load_before": round(load, 1),
        "sizes": [report(measure(same, tasks, args.rounds)) for tasks in args.tasks],
        "own_demo": report(measure(own, args.tasks[-1], args.rounds)),
        "load_after": round(os.getloadavg()[0], 1),
        "machine": machine("torch", "transformers"),
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(RESULT)


if __name__ == "__main__":
    main()
