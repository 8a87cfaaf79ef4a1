"""`empg-gym study`: train several methods with several seeds, paired, and compare them."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from empg_gym.cli.eval import WIDE
from empg_gym.errors import require
from empg_gym.runs.folder import check_writable, writing_to
from empg_gym.runs.terminal import Console

if TYPE_CHECKING:
    from empg_gym.study.plan import Plan


def study(
    file: Annotated[Path, typer.Argument(help="TOML file of the study.", metavar="STUDY.toml", show_default=False)],
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of the study; replaces study.out.", show_default=False)] = None,
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", min=1, help="Runs at the same time; replaces study.jobs.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the runs with their state and commands, and exit.")] = False,
    page_only: Annotated[bool, typer.Option("--page", help="Write the page from what is finished, without running anything.")] = False,
) -> None:
    """Train method × environment × seed over worker processes and compare the methods, paired by seed and task.

    Killed and started again with the same file, it resumes. The page and study.json are rewritten after every finished run.
    """
    from empg_gym.study.config import load_study
    from empg_gym.study.plan import make_plan

    config = load_study(file)
    plan = make_plan(config, file, out)
    check_writable(plan.folder)
    if dry_run:
        _print(plan)
        return
    console = Console(soft_wrap=True, width=None if sys.stdout.isatty() else WIDE)
    if page_only:
        _publish(plan, console)
        return
    for module in ("torch", "transformers", "safetensors", "tensorboard"):
        require(module, "train", "a study")
    from empg_gym.study.execute import Executor

    for run in plan.runs:
        run.check_folder()
    with writing_to(plan.folder):
        plan.folder.mkdir(parents=True, exist_ok=True)
        if file.resolve() != (copy := plan.folder / "study.toml").resolve():
            shutil.copyfile(file, copy)
    executor = Executor(
        plan,
        jobs or config.study.jobs,
        report=lambda line: console.print(line, highlight=False, markup=False),
        finished=lambda: _publish(plan, None),
    )
    failures = executor.run()
    _publish(plan, console)
    if failures:
        console.print(f"{len(failures)} runs failed; logs: {plan.folder / 'logs'}; the same command runs them again", style="yellow")
        raise typer.Exit(1)


def _print(plan: Plan) -> None:
    finished = sum(run.is_finished for run in plan.runs)
    typer.echo(f"# {len(plan.runs)} runs in {plan.folder}, {finished} finished")
    for run in plan.runs:
        run.check_folder()
        state = "finished" if run.is_finished else "begun" if run.is_begun else "to run"
        typer.echo(f"# {run.name}: {state}\n{run.command}")


def _publish(plan: Plan, console: Console | None) -> None:
    from empg_gym.runs.json_file import write_json
    from empg_gym.study.page import write_page
    from empg_gym.study.results import study_result

    result = study_result(plan)
    with writing_to(plan.folder):
        plan.folder.mkdir(parents=True, exist_ok=True)
        write_json(plan.folder / "study.json", result.to_json())
        path = write_page(result, plan.folder)
    if console is not None:
        console.print(f"page: {path}", highlight=False, markup=False)
