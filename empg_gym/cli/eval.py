"""`empg-gym eval`: run episodes with any agent and report the results."""

from __future__ import annotations

import re
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from empg_gym.cli.interrupt import INTERRUPTED
from empg_gym.errors import ConfigError
from empg_gym.runs.terminal import Console

if TYPE_CHECKING:
    from empg_gym.evaluation import Prices, Summary

WIDE = 140
"""Columns of a table that is written to a file or a pipe."""
_MESSAGES = 3
"""Distinct errors that are shown per environment."""
_SETTING = re.compile(r"(?:--set=)?\s*(?:agent|env|limits|backend)\.[^=]+=")


def evaluate() -> None:
    """Evaluate an agent: run episodes, record each, and report success and score with their 95 % intervals.

    Killed and started again with the same options and --out, it resumes and runs only the missing and the failed episodes.
    A checkpoint of a training run uses the run's settings unless an option overrides them.
    """


class EvalCommand(TyperCommand):
    """`empg-gym eval`. Its options come from `EvalConfig`, which is imported when they are needed: other commands start faster."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Parse the command line with all options."""
        return self.with_all_options().make_context(*arguments, **options)

    @staticmethod
    def with_all_options() -> Any:
        """Return the command with the options of `EvalConfig`."""
        from empg_gym.cli.options import with_options
        from empg_gym.evaluation import EvalConfig

        app = typer.Typer(add_completion=False, rich_markup_mode="rich")
        app.command("eval", help=evaluate.__doc__)(with_options(EvalConfig, _evaluate))
        return typer.main.get_command(app)


def _evaluate(
    fields: dict[str, Any],
    *,
    env: Annotated[
        list[str] | None,
        typer.Option(metavar="ENV", help="An environment, as the argument ENV; may be repeated: --env my_module:My/Env-v0."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Model of the agent openai.")] = None,
    base_url: Annotated[str | None, typer.Option(help="Address of the agent openai's server, such as http://127.0.0.1:8000/v1.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Set env.KEY (argument of gym.make), env.NAME.KEY, agent.KEY, limits.KEY or backend.KEY; may be repeated.",
            metavar="KEY=VALUE",
        ),
    ] = None,
    fail_on_error: Annotated[bool, typer.Option("--fail-on-error", help="Exit with code 1 if an episode failed.")] = False,
    report: Annotated[bool, typer.Option("--report/--no-report", help="Write report.html to the run folder.")] = True,
    rescore: Annotated[
        Path | None, typer.Option(help="Score the saved run in this folder again instead of running episodes.", metavar="DIR")
    ] = None,
) -> int:
    console = Console(soft_wrap=True, width=None if sys.stdout.isatty() else WIDE)
    if env:
        fields["envs"] = [*fields.get("envs", ()), *env]
    if rescore is not None:
        if {"envs", "agent", "panel"} & fields.keys():
            raise ConfigError("--rescore takes a finished run alone: leave out the environments, --panel and --agent")
        from empg_gym.evaluation.settings import read_settings

        return _rescore(rescore, fields.get("out"), fields.get("prices"), read_settings(set_ or []).env, console)
    if not {"envs", "panel"} & fields.keys() or "agent" not in fields:
        raise ConfigError("name environments (or a --panel) and an agent, such as: empg-gym eval alfworld --agent expert")
    from empg_gym.evaluation import EvalConfig
    from empg_gym.evaluation import evaluate as run
    from empg_gym.evaluation.live import LiveTable
    from empg_gym.evaluation.settings import read_settings
    from empg_gym.runs.validation import validate

    settings = read_settings(set_ or [])
    options = {**{name: value for name, value in (("model", model), ("base_url", base_url)) if value is not None}, **settings.agent}
    agent, given = fields["agent"], fields.get("out")
    folder = given or Path("runs") / "eval" / f"{agent.partition(':')[0]}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    fields |= {"out": folder, "env_kwargs": settings.env, "agent_options": options, "limits": settings.limits}
    if settings.backend:
        fields["backend"] = {"name": fields.get("backend", "inline"), **settings.backend}
    try:
        summary = run(validate(EvalConfig, fields), watch=None if agent == "human" else LiveTable(console))
    except KeyboardInterrupt:
        Console(stderr=True, soft_wrap=True).print(f"interrupted; to resume: {_again(folder, given)}", highlight=False, markup=False)
        raise typer.Exit(INTERRUPTED) from None
    _show(summary, folder, console)
    if summary.errors:
        console.print(f"to run only what failed again: {_again(folder, given)}", style="yellow", highlight=False, markup=False)
    if report:
        from empg_gym.report import write_report

        console.print(f"report: {write_report(folder)}", highlight=False, markup=False)
    return 1 if summary.errors and (fail_on_error or summary.errors == len(summary.records)) else 0


def _again(folder: Path, out: Path | None) -> str:
    """Return the command that resumes this run in its folder; secrets are masked."""
    from empg_gym.runs.redaction import Redactor

    masked = [Redactor().text(_without_secret(argument)) for argument in sys.argv[1:]]
    return shlex.join(["empg-gym", *masked, *(() if out is not None else ("--out", str(folder)))])


def _without_secret(argument: str) -> str:
    from empg_gym.runs.redaction import is_secret

    setting = _SETTING.match(argument)
    return f"{setting[0]}…" if setting and is_secret(setting[0].removesuffix("=")) else argument


def _rescore(run: Path, out: Path | None, prices: Prices | None, env_kwargs: dict[str, Any], console: Console) -> int:
    from empg_gym.evaluation import rescore
    from empg_gym.evaluation.rescoring import REPORT
    from empg_gym.runs.json_file import read_json

    folder = out or run / "rescored"
    summary = rescore(run, folder, prices=prices, env_kwargs=env_kwargs)
    _show(summary, folder, console)
    found = read_json(folder / REPORT, hint="score the run again")
    counts = ", ".join(f"{found[name]} {text}" for name, text in _OUTCOMES.items() if found.get(name))
    for env, note in found["notes"].items():
        console.print(f"{env}: {note}", style="yellow", highlight=False, markup=False)
    console.print(f"{counts or 'no episodes'}; {len(found['changed'])} scores changed ({folder / REPORT})", highlight=False, markup=False)
    return 0


_OUTCOMES = {
    "rescored": "scored again",
    "kept": "kept (can't be replayed)",
    "diverged": "kept (the environment answers differently now)",
    "errors": "errors",
}


def _show(summary: Summary, folder: Path, console: Console) -> None:
    from empg_gym.evaluation.live import results_table

    console.print(results_table(summary.results))
    for env, entry in summary.results.items():
        if entry["errors"]:
            said = "1 episode failed" if entry["errors"] == 1 else f"{entry['errors']} episodes failed"
            messages = [f"{one['episodes']} × {one['message']}" for one in entry["error_messages"]]
            more = [f"and {len(messages) - _MESSAGES} more in summary.json"] if len(messages) > _MESSAGES else []
            console.print("\n  ".join([f"{env}: {said}:", *messages[:_MESSAGES], *more]), style="yellow", highlight=False, markup=False)
        for notice in entry["notices"]:
            console.print(f"{env}: {notice}", style="yellow", highlight=False, markup=False)
        if entry["cost"] is not None:
            console.print(f"{env}: cost {entry['cost']['total']:.4f}, {entry['cost']['per_episode']:.6f} per episode", highlight=False)
    console.print(f"results: {folder}", highlight=False, markup=False)
