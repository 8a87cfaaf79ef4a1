"""`empg-gym view`: the report of a run as one HTML page, or live during the run; several runs on one page; the list of all runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from empg_gym.runs.terminal import Console


def view(
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Folder of a training or evaluation run, or a .jsonl file of episodes. Several training runs are overlaid, several "
            "evaluations are set side by side. A folder of runs is listed.",
            metavar="DIR...",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to write; default: report.html in the run folder, index.html in a folder of runs, comparison.html here for "
            "several runs."
        ),
    ] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    follow: Annotated[bool, typer.Option("--follow", help="Serve the page on this machine and keep its curves up to date.")] = False,
    redact: Annotated[
        bool,
        typer.Option(
            "--redact",
            help="Hide what you may not want to publish: absolute paths, the names of this machine and its user, home folders, internal "
            "hosts, e-mail and IP addresses, user names and passwords in URLs, keys and tokens.",
        ),
    ] = False,
    port: Annotated[int, typer.Option(help="Port of --follow; 0 takes a free one.", min=0, max=65535)] = 0,
) -> None:
    """Write the report of a run: its curves, its episodes, and the entropy of every step and token."""
    from empg_gym.errors import ConfigError
    from empg_gym.report import write_index, write_report
    from empg_gym.report.index_page import is_collection

    console = Console(highlight=False, soft_wrap=True)
    if follow:
        if redact:
            raise ConfigError("--redact is for a page to publish, and --follow publishes none: leave one of them out")
        if out is not None:
            raise ConfigError("--follow serves the page and writes no file: leave out --out or --follow")
        if len(runs) > 1:
            raise ConfigError("--follow serves the page of one run: name one folder, or leave out --follow")
        _follow(runs[0], port, open_page, console)
        return
    if len(runs) > 1:
        path = _compare(runs, Path("comparison.html") if out is None else out, redact)
    elif is_collection(runs[0]):
        path = write_index(runs[0], out, redact=redact)
    else:
        path = write_report(runs[0], out, redact=redact)
    console.print(f"report: {path} ({path.stat().st_size / 1e6:.1f} MB)", markup=False)
    if open_page:
        _open(path.resolve().as_uri(), console)


def _compare(runs: list[Path], out: Path, redact: bool) -> Path:
    from empg_gym.evaluation import compare
    from empg_gym.report import write_comparison
    from empg_gym.report.several import is_training
    from empg_gym.report.tables import Table

    if is_training(runs):
        return write_comparison(runs, out, redact=redact)
    compared = compare(runs)
    table = Table("Success and score", compared.columns(), compared.rows())
    return write_comparison(runs, out, table=table, warnings=compared.warnings, redact=redact)


def _follow(run: Path, port: int, open_page: bool, console: Console) -> None:
    from empg_gym.report.follow import ReportServer

    server = ReportServer(run, port)
    console.print(f"live report: {server.url} (stop with Ctrl-C)", markup=False)
    if open_page:
        _open(server.url, console)
    try:
        server.serve()
    except KeyboardInterrupt:
        console.print("stopped")
    finally:
        server.close()


def _open(address: str, console: Console) -> None:
    import webbrowser

    if not webbrowser.open(address):
        console.print(f"no browser could be started here; open {address} yourself", markup=False)
