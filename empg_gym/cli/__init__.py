"""The command line, `empg-gym`. One module a command; nothing here or there imports torch before it is needed.

Exit codes: 0 done, 1 done with failures that the command was asked to report, 2 wrong use or wrong input (one sentence says what and
what to do, never a traceback), 130 interrupted.
"""

from __future__ import annotations

import os
import sys

import click
import typer
from rich.console import Console

from empg_gym.errors import EMPGGymError

app = typer.Typer(
    name="empg-gym",
    help="Text environments for LLM agents (ALFWorld, WebShop, Deep Search), a trainer for EMPG, and an evaluator for any agent.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _mount() -> None:
    from empg_gym.cli import train

    app.command()(train.train)


def main() -> None:
    """Run the command line."""
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    _mount()
    try:
        code = app(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except EMPGGymError as error:
        errors.print("error:", style="bold red", end=" ")
        errors.print(str(error), markup=False)
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        errors.print("interrupted")
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    sys.exit(code if isinstance(code, int) else 0)
