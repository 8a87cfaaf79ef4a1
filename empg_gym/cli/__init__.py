"""The command line, `empg-gym`: one module per command. Torch is imported only by commands that need it.

Exit codes: 0 done; 1 done, but with failures that the command was asked to report, or only failures; 2 wrong use or wrong input (one
sentence says what is wrong and what to do, never a traceback); 129, 130 or 143 interrupted by SIGHUP, Ctrl-C or SIGTERM
(`empg_gym.cli.interrupt`).
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import sys
from collections.abc import Iterator
from functools import cache
from typing import Annotated

import typer

import empg_gym
from empg_gym.cli.interrupt import INTERRUPTED, Interruption
from empg_gym.errors import EMPGGymError, machine_problem
from empg_gym.runs.terminal import Console

app = typer.Typer(
    name="empg-gym",
    help="Text environments for LLM agents (ALFWorld, WebShop, Deep Search), a trainer for EMPG, and an evaluator for any agent.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

_COLLECTIONS = 50_000, 20, 50
"""Thresholds of Python's garbage collector for the youngest objects, those that survived, and all."""


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"empg-gym {empg_gym.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")] = False,
) -> None:
    """Options before the command."""


@cache
def _mount() -> None:
    from empg_gym.cli import compare, data, doctor, envs, eval, export, play, serve, study, train, view

    app.command()(envs.envs)
    app.command()(play.play)
    app.command("eval", cls=eval.EvalCommand)(eval.evaluate)
    app.command()(compare.compare)
    app.command()(train.train)
    app.command()(study.study)
    app.command()(view.view)
    app.command()(export.export)
    app.add_typer(data.app, name="data")
    app.add_typer(serve.app, name="serve")
    app.command()(doctor.doctor)


@contextlib.contextmanager
def _rare_collections() -> Iterator[None]:
    """Collect garbage less often, and not at exit.

    Imports create several 100,000 objects that live as long as the process. Python's default thresholds search them for cycles dozens of
    times, and the interpreter does so once more before it exits; that took a quarter of the time to start and end `empg-gym train`.
    """
    thresholds = gc.get_threshold()
    gc.set_threshold(*_COLLECTIONS)
    atexit.register(gc.freeze)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)


@_rare_collections()
def main() -> None:
    """Run the command line."""
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    _mount()
    interruption = Interruption()
    interruption.install()
    try:
        code = app(standalone_mode=False)
        if code == INTERRUPTED:
            code = interruption.leave()
    except EMPGGymError as error:
        errors.print("error:", style="bold red", end=" ")
        errors.print(str(error), markup=False)
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        code = interruption.leave()
        errors.print("interrupted")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if (problem := machine_problem(error)) is not None:
            errors.print("error:", style="bold red", end=" ")
            errors.print(problem, markup=False)
            sys.exit(2)
        # Wrong use: typer's exceptions print themselves. Their attributes identify them, since typer bundles a copy of click.
        if not hasattr(error, "show") or not hasattr(error, "exit_code"):
            raise
        error.show()
        sys.exit(error.exit_code)
    sys.exit(code if isinstance(code, int) else 0)
