"""`empg-gym view`: the report of a run as one HTML page, or live during the run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from empg_gym.runs.terminal import Console


def view(
    run: Annotated[Path, typer.Argument(help="Folder of a training or evaluation run, or a .jsonl file of episodes.", metavar="DIR")],
    out: Annotated[Path | None, typer.Option(help="File to write; default: report.html in the run folder.")] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    follow: Annotated[bool, typer.Option("--follow", help="Serve the page on this machine and keep its curves up to date.")] = False,
    port: Annotated[int, typer.Option(help="Port of --follow; 0 takes a free one.", min=0, max=65535)] = 0,
) -> None:
    """Write the report of a run: its curves, its episodes, and the entropy of every step and token."""
    from empg_gym.errors import ConfigError

    console = Console(highlight=False, soft_wrap=True)
    if follow:
        if out is not None:
            raise ConfigError("--follow serves the page and writes no file: leave out --out or --follow")
        _follow(run, port, open_page, console)
        return
    from empg_gym.report import write_report

    path = write_report(run, out)
    console.print(f"report: {path} ({path.stat().st_size / 1e6:.1f} MB)", markup=False)
    if open_page:
        _open(path.resolve().as_uri(), console)


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
