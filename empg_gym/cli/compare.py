"""`empg-gym compare`: evaluations or training runs side by side, with paired differences."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from empg_gym.cli.eval import WIDE
from empg_gym.runs.terminal import Console


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Folders of evaluations, or of training runs; the first is the reference.", metavar="DIR..."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Compare runs on their shared tasks: values and paired differences, with 95 % intervals.

    Of training runs: success on held-out tasks after training, and the areas under the curves. Runs that differ only in the seed are one
    configuration.
    """
    import json

    from empg_gym.evaluation import Comparison
    from empg_gym.evaluation import compare as compare_evaluations
    from empg_gym.report.several import is_training
    from empg_gym.report.training_comparison import TrainingComparison, compare_training

    comparison: Comparison | TrainingComparison = compare_training(runs) if is_training(runs) else compare_evaluations(runs)
    if as_json:
        typer.echo(json.dumps(comparison.to_dict(), indent=2))
        return
    console = Console(soft_wrap=True, width=None if sys.stdout.isatty() else WIDE)
    console.print(comparison.table())
    for warning in comparison.warnings:
        console.print(f"not the same conditions: {warning}", style="yellow", markup=False)
