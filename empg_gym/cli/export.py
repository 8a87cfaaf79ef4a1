"""`empg-gym export`: recorded episodes in the formats of other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or .jsonl files of episodes.", metavar="RUN...", show_default=False)],
    out: Annotated[Path, typer.Option(help="File to write; a folder for the formats parquet and inspect.", show_default=False)],
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            help="messages: conversations with results, JSON lines; sft: conversations of solved episodes for supervised fine-tuning, "
            "JSON lines; parquet: a data set with a card; inspect: logs for `inspect view`.",
        ),
    ] = "messages",
) -> None:
    """Export the episodes of training or evaluation runs."""
    from empg_gym.export import export as run

    count = run(runs, out, format=format_)
    typer.echo(f"{count} episodes: {out}")
