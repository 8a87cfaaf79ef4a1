"""`empg-gym eval`: play episodes with any agent and say how it did."""

from __future__ import annotations

import re
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from empg_gym.errors import ConfigError

if TYPE_CHECKING:
    from empg_gym.evaluation import Summary

WIDE = 140
"""Columns of a table that goes to a file or a pipe."""
_MESSAGES = 3
"""Different errors that are shown of an environment."""
_SETTING = re.compile(r"(?:--set=)?\s*(?:agent|env|limits)\.[^=]+=")


def evaluate(
    envs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Environments: ids or short names (alfworld, webshop, deepsearch), each with @SPLIT if wanted.", metavar="ENV..."
        ),
    ] = None,
    agent: Annotated[
        str | None,
        typer.Option(
            "--agent",
            "-a",
            help="expert, random, human, openai[:MODEL], python:module:object, exec:COMMAND or checkpoint:DIR.",
            metavar="A",
        ),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split of environments that name none; default: the held-out one.")] = None,
    episodes: Annotated[int | None, typer.Option("--episodes", "-n", help="Tasks to draw; default: all, at most 500.", min=1)] = None,
    tasks: Annotated[
        list[str] | None,
        typer.Option(help="Tasks to run: ids, indices (numbers that are no id), ranges 0:20 of indices, or @FILE; may be repeated."),
    ] = None,
    repeats: Annotated[int, typer.Option("--repeats", "-k", help="Episodes of each task.", min=1)] = 1,
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", "-c", help="Episodes under way at once; default: what suits the agent.", min=1)
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides the drawn tasks and all seeds.", min=0)] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Run folder; one with the same configuration is gone on with. Default: a new one in runs/eval.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Model of the agent openai.")] = None,
    base_url: Annotated[str | None, typer.Option(help="Address of the agent openai's server, such as http://127.0.0.1:8000/v1.")] = None,
    dialogue: Annotated[str | None, typer.Option(help="Dialogue format: think-action, react, plain or native.")] = None,
    history: Annotated[int | None, typer.Option(help="Earlier turns that the agent sees; default: all.", min=0)] = None,
    show_admissible: Annotated[
        bool | None, typer.Option("--show-admissible/--no-show-admissible", help="List the admissible actions in each message.")
    ] = None,
    system_prompt: Annotated[
        str | None, typer.Option(help="Replaces the prompt made of the environment's and the dialogue's rules; '' leaves it out.")
    ] = None,
    retries: Annotated[int, typer.Option(help="Further runs of an episode that failed.", min=0)] = 1,
    prices: Annotated[
        str | None, typer.Option(help="Prices of a million prompt and completion tokens: 0.15,0.60.", metavar="IN,OUT")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="env.KEY=VALUE (argument of gym.make), env.NAME.KEY=VALUE, agent.KEY=VALUE, limits.KEY=VALUE; may be repeated."
        ),
    ] = None,
    fail_on_error: Annotated[bool, typer.Option("--fail-on-error", help="Exit with code 1 if an episode failed.")] = False,
    report: Annotated[bool, typer.Option("--report/--no-report", help="Write report.html into the run folder.")] = True,
    rescore: Annotated[
        Path | None, typer.Option(help="Score the saved run in this folder again instead of playing.", metavar="DIR")
    ] = None,
) -> int:
    """Evaluate an agent: play episodes, write every one down, and tell success and score with their 95 % intervals.

    Killed and started again with the same options and --out, it goes on where it stopped and runs again only what failed.
    A checkpoint of a training run plays as in that run, in all that no option says otherwise.
    """
    from empg_gym.evaluation.settings import read_limits, read_prices, read_settings, read_tasks

    console = Console(soft_wrap=True, width=None if sys.stdout.isatty() else WIDE)
    if rescore is not None:
        if envs or agent:
            raise ConfigError("--rescore takes a finished run alone: leave the environments and --agent away")
        return _rescore(rescore, out, prices, console)
    if not envs or agent is None:
        raise ConfigError("name environments and an agent, such as: empg-gym eval alfworld --agent expert")
    from empg_gym.agents import make_agent
    from empg_gym.evaluation import evaluate as run
    from empg_gym.evaluation.live import LiveTable

    settings = read_settings(set_ or [])
    options = {**{name: value for name, value in (("model", model), ("base_url", base_url)) if value is not None}, **settings.agent}
    player = make_agent(agent, **options)
    folder = out or Path("runs") / "eval" / f"{agent.partition(':')[0]}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    try:
        summary = run(
            envs,
            player,
            split=split,
            episodes=episodes,
            tasks=read_tasks(tasks) if tasks else None,
            repeats=repeats,
            concurrency=concurrency,
            seed=seed,
            out=folder,
            dialogue=dialogue,
            history=history,
            show_admissible=show_admissible,
            system_prompt=system_prompt,
            env_kwargs=settings.env,
            agent_options=options,
            agent_name=agent,
            limits=read_limits(settings.limits, end_on_cut_response=player.info.end_on_cut_response),
            retries=retries,
            prices=None if prices is None else read_prices(prices),
            watch=None if agent == "human" else LiveTable(console),
        )
    except KeyboardInterrupt:
        Console(stderr=True, soft_wrap=True).print(f"interrupted; to go on: {_again(folder, out)}", highlight=False, markup=False)
        raise typer.Exit(130) from None
    _show(summary, folder, console)
    if summary.errors:
        console.print(f"to run only what failed again: {_again(folder, out)}", style="yellow", highlight=False, markup=False)
    if report:
        from empg_gym.report import write_report

        console.print(f"report: {write_report(folder)}", highlight=False, markup=False)
    return 1 if summary.errors and (fail_on_error or summary.errors == len(summary.records)) else 0


def _again(folder: Path, out: Path | None) -> str:
    """Return this command as it goes on in its run folder; a secret is not repeated."""
    return shlex.join(["empg-gym", *map(_without_secret, sys.argv[1:]), *(() if out is not None else ("--out", str(folder)))])


def _without_secret(argument: str) -> str:
    from empg_gym.evaluation.settings import is_secret

    setting = _SETTING.match(argument)
    return f"{setting[0]}…" if setting and is_secret(setting[0].removesuffix("=")) else argument


def _rescore(run: Path, out: Path | None, prices: str | None, console: Console) -> int:
    from empg_gym.evaluation import rescore
    from empg_gym.evaluation.rescoring import REPORT
    from empg_gym.evaluation.settings import read_prices
    from empg_gym.runs.json_file import read_json

    folder = out or run / "rescored"
    summary = rescore(run, folder, prices=None if prices is None else read_prices(prices))
    _show(summary, folder, console)
    found = read_json(folder / REPORT, hint="score the run again")
    counts = ", ".join(f"{found[name]} {text}" for name, text in _OUTCOMES.items() if found.get(name))
    console.print(f"{counts or 'no episodes'}; {len(found['changed'])} scores changed ({folder / REPORT})", highlight=False, markup=False)
    return 0


_OUTCOMES = {
    "rescored": "scored again",
    "kept": "kept (can't be played again)",
    "diverged": "kept (the environment answers otherwise now)",
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
        if entry["cost"] is not None:
            console.print(f"{env}: cost {entry['cost']['total']:.4f}, {entry['cost']['per_episode']:.6f} an episode", highlight=False)
    console.print(f"results: {folder}", highlight=False, markup=False)
