"""`empg-gym data`: the official data sets."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from empg_gym.runs.terminal import Console

if TYPE_CHECKING:
    from empg_gym.data.registry import DataSet
    from empg_gym.data.store import Report

app = typer.Typer(help="Official data sets: list, get, verify, locate. No environment requires one.", no_args_is_help=True)
WIDE = 160
"""Columns of a table that is written to a file or a pipe."""
Name = Annotated[str, typer.Argument(help="Name of the set, as `empg-gym data list` gives it.")]


@app.command(name="list")
def list_sets() -> None:
    """List the official sets with their size and licence, and whether they are installed."""
    from rich.table import Table

    from empg_gym.data.registry import official_sets
    from empg_gym.data.store import DataStore

    store = DataStore()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("name", "what", "download", "licence", "here"):
        table.add_column(column, no_wrap=column in ("name", "download"))
    for data_set in official_sets().values():
        fingerprint = store.fingerprint(data_set) if store.path(data_set) is not None else None
        table.add_row(data_set.name, data_set.title, _bytes(data_set.size), data_set.licence, fingerprint or "no")
    Console(width=None if sys.stdout.isatty() else WIDE).print(table)


@app.command()
def get(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Accept the licence without being asked.")] = False,
    source: Annotated[
        list[Path] | None, typer.Option("--from", help="File, or folder of files, to use instead of downloading; may be repeated.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Fetch the set again even if it is installed.")] = False,
    new_edition: Annotated[
        bool, typer.Option("--new-edition", help="Like --again, and accept changed files where no checksum was published.")
    ] = False,
) -> None:
    """Download a set: resumable, verified, from mirrors if the publisher does not answer."""
    from empg_gym.data.registry import find_set
    from empg_gym.data.store import DataStore
    from empg_gym.errors import ConfigError

    data_set = find_set(name)
    store, console = DataStore(), Console(highlight=False, soft_wrap=True)
    here = store.path(data_set)
    if here is not None and not (again or new_edition):
        console.print(f"{name} is here: {here}", markup=False)
        return
    _show_licence(data_set, console)
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError(f"the licence of {name} must be accepted: run the command in a terminal, or add --yes")
        typer.confirm("Fetch it under these terms?", abort=True)
    with _progress(console) as report:
        folder = store.get(data_set, sources=source or (), again=again, new_edition=new_edition, report=report)
    checked = store.verify(data_set)
    console.print(f"{name}: {checked.files:,} files in {folder}", markup=False)
    _note_first_use(checked.first_use, console)
    console.print(f"use: {data_set.use.replace('PATH', str(folder))}", markup=False)


@app.command()
def verify(name: Annotated[str | None, typer.Argument(help="Name of the set; default: every installed set.")] = None) -> None:
    """Compare every file of a set with its download. Exit code 1 if a file differs."""
    from empg_gym.data.registry import find_set, official_sets
    from empg_gym.data.store import DataStore

    store, console = DataStore(), Console(highlight=False, soft_wrap=True)
    chosen = [find_set(name)] if name is not None else [each for each in official_sets().values() if store.path(each) is not None]
    if not chosen:
        console.print("no set is here; `empg-gym data list` shows the available ones")
    bad = False
    for data_set in chosen:
        checked = store.verify(data_set)
        bad = bad or bool(checked.problems)
        if not checked.problems:
            console.print(f"{data_set.name}: {checked.files:,} files, all as fetched", markup=False)
            _note_first_use(checked.first_use, console)
            continue
        for problem in checked.problems[:20]:
            console.print(f"{data_set.name}: {problem}", markup=False)
        console.print(f"fix: empg-gym data get {data_set.name} --again", markup=False)
    if bad:
        raise typer.Exit(1)


@app.command()
def path(name: Name) -> None:
    """Print the folder of a set, for `data=`."""
    from empg_gym.data import data_path

    typer.echo(str(data_path(name)))


def _show_licence(data_set: DataSet, console: Console) -> None:
    files = f"{len(data_set.files)} file{'s' if len(data_set.files) > 1 else ''}"
    console.print(f"{data_set.name}: {data_set.title}", style="bold", markup=False)
    console.print(f"licence: {data_set.licence}\n{data_set.terms}\nfrom: {data_set.homepage}", markup=False)
    console.print(f"download: {_bytes(data_set.size)}, {files}", markup=False)


def _note_first_use(names: tuple[str, ...], console: Console) -> None:
    if names:
        listed = ", ".join(names)
        console.print(f"no checksum is published for {listed}: trusted on first use, and compared from now on", markup=False)


@contextlib.contextmanager
def _progress(console: Console) -> Iterator[Report]:
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        tasks: dict[str, TaskID] = {}

        def report(name: str, done: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=total)
            bar.update(tasks[name], completed=done, total=total)

        yield report


def _bytes(size: int | None) -> str:
    if size is None:
        return "unknown"
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size / 1e3:.0f} kB"
