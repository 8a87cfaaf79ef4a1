"""A study (`empg-gym study`) as a committed result: its numbers per method and environment, without the curves of every metric.

    python -m benchmarks.study examples/studies/methods.toml --jobs 2

Killed and started again, it resumes. The result file is rewritten after every finished run, so that a part of a long study can be
published.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from empg_gym.study.config import load_study
from empg_gym.study.execute import Executor
from empg_gym.study.plan import Plan, make_plan
from empg_gym.study.results import study_result

ROOT = Path(__file__).parents[1]
CURVES = ("train/success", "loss/kl_old")
"""The curves that the result file keeps, beside the evaluations."""


def rounded(value: Any) -> Any:
    """Return plain data with numbers of four digits."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list | tuple) else value


def record(plan: Plan) -> dict[str, Any]:
    """Return the result file of what is finished."""
    result = study_result(plan).to_json()
    for environment in result["environments"]:
        for method in environment["methods"]:
            method["curves"] = {name: points for name, points in method["curves"].items() if name in CURVES or name.startswith("eval/")}
    what = "methods compared by empg-gym study: paired by seed, warm start and task"
    shared = {name: shared_settings(plan, name) for name in plan.study.environments}
    return {"what": what, "config": shared, **rounded(result), "machine": machine("torch", "transformers")}


def shared_settings(plan: Plan, environment: str) -> dict[str, Any]:
    """Return the environment, warm start and evaluation that the methods share, and the reinforcement of the first."""
    runs = [run for run in plan.runs if run.environment == environment]
    first = next(run for run in runs if run.method is not None)
    warm = runs[0]  # the first itself where there is no warm start
    return {
        "env": first.config.env.model_dump(mode="json"),
        "warmstart": warm.config.warmstart.model_dump(mode="json"),
        "rl": first.config.rl.model_dump(mode="json"),
        "eval": first.config.eval.model_dump(mode="json"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--folder", type=Path, help="folder of the study; default: study.out")
    parser.add_argument("--jobs", type=int, help="runs at the same time; default: study.jobs")
    parser.add_argument("--page", action="store_true", help="write the result of what is finished, without running anything")
    parser.add_argument("--out", type=Path, help="result file; default: benchmarks/results/study_NAME.json")
    args = parser.parse_args()
    out = args.out or ROOT / "benchmarks" / "results" / f"study_{args.study.stem.replace('-', '_')}.json"
    if args.jobs is not None and args.jobs < 1:
        parser.error("--jobs must be at least 1")
    study = load_study(args.study)
    plan = make_plan(study, args.study, args.folder)

    def publish() -> None:
        out.write_text(json.dumps(record(plan), indent=1) + "\n")

    failures = [] if args.page else Executor(plan, args.jobs or study.study.jobs, report=print, finished=publish).run()
    publish()
    if failures:
        raise SystemExit(f"{len(failures)} runs failed; the same command runs them again")


if __name__ == "__main__":
    main()
