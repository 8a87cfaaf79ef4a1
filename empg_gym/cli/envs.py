"""`empg-gym envs`: the environments, with their splits and sizes."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from empg_gym.runs.terminal import Console

WIDE = 140
"""Columns of a table in a file or a pipe."""

_ABOUT = {
    "ALFWorld": "a household in text: find things, clean, heat or cool them, and put them where they belong (Shridhar et al. 2021)",
    "WebShop": "a shop: search, compare, choose options, and buy what an instruction asks for (Yao et al. 2022)",
    "DeepSearch": "questions that take several searches to answer, over a corpus or the live web",
}


def envs(as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False) -> None:
    """List the environments with their splits, numbers of tasks and step limits."""
    from rich.table import Table

    listed = describe_environments()
    if as_json:
        typer.echo(json.dumps(listed, indent=2))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("id", "splits (tasks of the embedded world)", "steps", "what"):
        table.add_column(column, no_wrap=column == "id")
    for entry in listed:
        counts = entry["splits"].items()
        splits = ", ".join(f"{name} (official data)" if count is None else f"{name} ({count:,})" for name, count in counts)
        table.add_row(entry["id"], splits, str(entry["max_steps"]), entry["about"])
    Console(width=None if sys.stdout.isatty() else WIDE).print(table)


def describe_environments() -> list[dict[str, Any]]:
    """Return id, splits, step limit, version and description of each environment.

    A split's number of tasks is that of the embedded world; None if only official data has the split.
    """
    from empg_gym.env import TextEnv
    from empg_gym.errors import ConfigError
    from empg_gym.registration import ENVIRONMENTS, make

    listed = []
    for env_id in ENVIRONMENTS:
        first = make(env_id).unwrapped
        assert isinstance(first, TextEnv)
        counts: dict[str, int | None] = {}
        for split in first.splits:
            try:
                env = make(env_id, split=split).unwrapped
            except ConfigError:
                counts[split] = None
                continue
            assert isinstance(env, TextEnv)
            counts[split] = env.num_tasks
            env.close()
        first.close()
        about = _ABOUT.get(first.benchmark, "")
        listed.append({"id": env_id, "splits": counts, "max_steps": first.max_steps, "version": first.version, "about": about})
    return listed
