"""`empg-gym serve`: parts of EMPG Gym behind HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from empg_gym.errors import require
from empg_gym.runs.terminal import Console

app = typer.Typer(help="Serve a part of EMPG Gym over HTTP.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Serve a part of EMPG Gym over HTTP."""


@app.command()
def retrieval(
    corpus: Annotated[
        Path, typer.Option(help="Passages as JSON lines: id with contents (wiki-18), or with title, text and url; .gz is read.")
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)] = 8000,
    topk: Annotated[int, typer.Option(help="Passages per query where a request does not set it.", min=1, max=100)] = 3,
    engine: Annotated[str, typer.Option(help="bm25 (built in), bm25s or tantivy.")] = "bm25",
    threads: Annotated[int, typer.Option(help="Requests served at once.", min=1)] = 4,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Name under which clients reach this machine, in addition to its own; may be repeated.")
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder for built indexes; default: EMPG Gym's cache.")] = None,
) -> None:
    """Serve a corpus to Search-R1 clients: POST /retrieve, POST /access, GET /health."""
    require("starlette", "serve", "the retrieval server")
    require("uvicorn", "serve", "the retrieval server")
    from empg_gym.net.server import listen, make_server
    from empg_gym.retrieval import open_corpus
    from empg_gym.retrieval.backends import local_retriever
    from empg_gym.retrieval.server import Limits, create_app

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description} {task.completed:,} passages"), TimeElapsedColumn())
    # No refresh thread: the index is built in several processes only if no other thread is running.
    with Progress(*columns, console=console, transient=True, auto_refresh=False) as bar:
        task = bar.add_task("indexing", total=None)
        opened = open_corpus(corpus, cache=cache, progress=lambda done: bar.update(task, completed=done, refresh=True))
        searcher = local_retriever(engine, opened)
    service = create_app(opened, searcher, Limits(topk=topk, threads=threads))
    listener = listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    console.print(f"serving {len(opened):,} passages on http://{shown}:{listener.getsockname()[1]}/retrieve", highlight=False)
    make_server(service, names=[host, *(allow_host or ())]).run(sockets=[listener])
