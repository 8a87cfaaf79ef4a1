"""`empg-gym compare`: evaluation runs side by side, with paired differences."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from empg_gym.cli.eval import WIDE
from empg_gym.runs.terminal import Console


def compare(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of evaluation runs; the others are compared with the first.", metavar="DIR...")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Compare evaluation runs on their shared tasks: values and paired differences, with 95 % intervals."""
    import json

    from empg_gym.evaluation import compare as compare_runs

    comparison = compare_runs(runs)
    if as_json:
        typer.echo(json.dumps(comparison.to_dict(), indent=2))
        return
    console = Console(soft_wrap=True, width=None if sys.stdout.isatty() else WIDE)
    console.print(comparison.table())
    for warning in comparison.warnings:
        console.print(f"not the same conditions: {warning}", style="yellow", markup=False)
