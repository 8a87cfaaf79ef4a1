"""CPU seconds of the demo's reinforcement step in this tree and in an earlier one, by phase.

    git worktree add --detach ../earlier REVISION
    python -m benchmarks.demo_speed --earlier ../earlier --earlier-model CHECKPOINT --models runs/demo/checkpoints/rl-000000 \
        runs/demo/checkpoints/rl-000080 --without env.embedded_options.rooms

Each tree has a worker process with one thread. The workers take turns, one phase at a time, so that both see the same machine; what is
reported is the CPU time of the phase, and its ratio in each round. Each comparison has equal configuration and model in both
trees: the earlier tree's demo, and this tree's demo, before and after reinforcement, without the keys that the earlier tree does not know.
Keys whose values it does not know are left out of both (`--without`).
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
import tomllib
import typing
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "demo_speed.json"
PHASES = ("collect", "learn")


def known_changes(values: dict[str, Any], model: Any, path: tuple[str, ...] = ()) -> tuple[list[str], list[str]]:
    """Return a configuration as `KEY=VALUE`, and the keys that the section `model` of this tree's configuration lacks."""
    known: list[str] = []
    unknown: list[str] = []
    for name, value in values.items():
        here = (*path, name)
        fields = getattr(model, "model_fields", None)
        if fields is not None and name not in fields:
            unknown.append(".".join(here))
        elif isinstance(value, dict):
            classes = [] if fields is None else [fields[name].annotation, *typing.get_args(fields[name].annotation)]
            section = next((item for item in classes if hasattr(item, "model_fields")), None)
            parts = known_changes(value, section, here)
            known, unknown = known + parts[0], unknown + parts[1]
        else:
            known.append(f"{'.'.join(here)}={json.dumps(value)}")
    return known, unknown


def without(values: dict[str, Any], key: str) -> None:
    """Remove a dotted key, if it is there."""
    *sections, name = key.split(".")
    for section in sections:
        values = values.get(section, {})
    values.pop(name, None)


def work(config_file: str, model: str, tasks: int, out: str, left_out: list[str]) -> None:
    """Run a phase for every line on standard input, and answer with a line of JSON; the first one names the keys that were left out."""
    from rich.console import Console

    from empg_gym.trainers.config.file import load_config
    from empg_gym.trainers.config.sections import TrainConfig
    from empg_gym.trainers.run.progress import ProgressView
    from empg_gym.trainers.run.trainer import Trainer

    answers = os.fdopen(os.dup(1), "w")
    with contextlib.ExitStack() as held:
        nowhere = held.enter_context(Path(os.devnull).open("w"))
        held.enter_context(contextlib.redirect_stdout(nowhere))
        folder = held.enter_context(tempfile.TemporaryDirectory())
        values = tomllib.loads(Path(config_file).read_text())
        for section, changed in {
            "run": {"threads": 1, "out": out},
            "warmstart": {"steps": 0},
            "model": {"name": model},
            "rl": {"tasks_per_step": tasks},
        }.items():
            values.setdefault(section, {}).update(changed)
        for key in ("model.from_scratch", *left_out):
            without(values, key)
        changes, unknown = known_changes(values, TrainConfig)
        (Path(folder) / "empty.toml").touch()
        config = load_config(Path(folder) / "empty.toml", changes)
        print(json.dumps(unknown), file=answers, flush=True)
        trainer = Trainer(config, ProgressView(Console(file=nowhere)))
        iteration = trainer._iteration(trainer._optimizer(config.rl.optimizer, 100))
        with contextlib.suppress(ImportError):  # the earlier tree's runs lack it
            from empg_gym.trainers.run.memory import libraries_uncollected

            held.enter_context(libraries_uncollected())
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


def start(tree: Path, config: Path, model: str, tasks: int, left_out: list[str], out: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONHASHSEED": "0"}
    command = [
        sys.executable,
        str(Path(__file__).resolve()),
        "--work",
        out,
        "--config",
        str(config),
        "--models",
        model,
        "--tasks",
        str(tasks),
        "--without",
        *left_out,
    ]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=tree, env=environment, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)


def ask(worker: subprocess.Popen[str], phase: str) -> dict[str, Any]:
    assert worker.stdin is not None
    worker.stdin.write(phase + "\n")
    worker.stdin.flush()
    answer: dict[str, Any] = read(worker)
    return answer


def read(worker: subprocess.Popen[str]) -> Any:
    assert worker.stdout is not None
    line = worker.stdout.readline()
    if not line:
        raise RuntimeError("a worker ended")
    return json.loads(line)


def report(rounds: list[dict[str, dict[str, dict[str, Any]]]], unknown: list[str]) -> dict[str, Any]:
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
        "left_out_of_the_configuration": unknown,
        "episodes_per_step": first["now"]["collect"]["episodes"],
        "forward_passes": {side: sum(item[side]["collect"]["passes"] for item in rounds) for side in ("earlier", "now")},
        "same_responses_in_the_first_round": first["now"]["collect"]["texts"] == first["earlier"]["collect"]["texts"],
        "phases": table,
    }


Side = tuple[Path, Path, str]
"""Tree, configuration file and model."""


def measure(sides: dict[str, Side], tasks: int, left_out: list[str], count: int) -> dict[str, Any]:
    """Let both workers take turns, and return the report on their answers."""
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        workers = {name: start(*side, tasks, left_out, f"{folder}/{name}") for name, side in sides.items()}
        unknown = sorted({key for worker in workers.values() for key in read(worker)})
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
    return report(rounds, unknown)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--earlier", type=Path)
    parser.add_argument("--earlier-model")
    parser.add_argument("--models", nargs="+", required=True)
    parser.add_argument("--config", help=argparse.SUPPRESS)
    parser.add_argument("--tasks", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--without", nargs="*", default=[], metavar="KEY", help="keys that neither tree reads from this tree's configuration"
    )
    parser.add_argument("--work", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work(args.config, args.models[0], args.tasks, args.work, args.without)
        return
    from benchmarks.machine import machine

    tree, preset = args.earlier.resolve(), Path("configs/alfworld-tiny.toml")
    demos = {
        "the earlier one": (tree / preset, str(Path(args.earlier_model).resolve())),
        **{f"today's, {Path(model).name}": (ROOT / preset, str(Path(model).resolve())) for model in args.models},
    }
    load = os.getloadavg()[0]
    result = {
        "what": "CPU seconds of the demo's reinforcement step with one thread, in an earlier revision and now, interleaved",
        "earlier_revision": subprocess.check_output(["git", "-C", str(args.earlier), "rev-parse", "--short", "HEAD"], text=True).strip(),
        "revision": subprocess.check_output(["git", "-C", str(ROOT), "describe", "--always", "--dirty"], text=True).strip(),
        "load_before": round(load, 1),
        "left_out_of_both": args.without,
        "demos": {
            name: measure(
                {"earlier": (tree, *demo), "now": (ROOT, *demo)}, args.tasks, args.without if demo[0] == ROOT / preset else [], args.rounds
            )
            for name, demo in demos.items()
        },
        "load_after": round(os.getloadavg()[0], 1),
        "machine": machine("torch", "transformers"),
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(RESULT)


if __name__ == "__main__":
    main()
