"""`empg-gym serve`: parts of EMPG Gym behind HTTP, WebSocket and MCP."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from empg_gym.errors import ConfigError, require
from empg_gym.runs.terminal import Console

if TYPE_CHECKING:
    from empg_gym.recipe import EnvRecipe

app = typer.Typer(help="Serve environments or a corpus to other programs.", no_args_is_help=True)

Names = Annotated[
    list[str], typer.Argument(help="Environments: alfworld, webshop, deepsearch or ids; @SPLIT may follow each.", metavar="ENV...")
]
Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)]
AllowHost = Annotated[
    list[str] | None, typer.Option(help="Name under which clients reach this machine, in addition to its own; may be repeated.")
]
Settings = Annotated[list[str] | None, typer.Option("--set", help="Argument of gym.make as KEY=VALUE, for one ENV; may be repeated.")]
Auth = Annotated[
    bool | None,
    typer.Option(
        "--auth/--no-auth",
        help="Whether clients need a token: EMPG_GYM_TOKEN, or a new one that is printed. Default: unless only this machine can connect.",
    ),
]
MaxSessions = Annotated[int, typer.Option(help="Open sessions, over all workers.", min=1)]
IdleSeconds = Annotated[float, typer.Option(help="Time without a message after which a client's sessions are closed.", min=0.001)]


@app.callback()
def _group() -> None:
    """Serve environments or a corpus to other programs."""


@app.command()
def env(
    names: Names,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    workers: Annotated[int, typer.Option(help="Processes that share the port.", min=1)] = 1,
    max_sessions: MaxSessions = 256,
    idle_seconds: IdleSeconds = 1800.0,
    max_message: Annotated[int, typer.Option(help="Size of a request or a message, in bytes.", min=1024)] = 1 << 20,
    auth: Auth = None,
    allow_host: AllowHost = None,
    set_: Settings = None,
) -> None:
    """Serve environments over HTTP and WebSocket, to OpenEnv's clients and to empg_gym.connect."""
    from empg_gym.serve.packages import require_extra

    require_extra("openenv")
    from empg_gym.net.server import listen
    from empg_gym.serve.app import make_env_server
    from empg_gym.serve.settings import ServerSettings, SessionLimits
    from empg_gym.serve.token import token_for
    from empg_gym.serve.workers import raise_open_files, run_workers

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    token, is_new = token_for(host, auth)
    settings = ServerSettings(
        recipes=_recipes(names, set_ or ()),
        limits=SessionLimits(max_sessions=max_sessions, idle_seconds=idle_seconds, max_message=max_message),
        token=token,
        names=(host, *(allow_host or ())),
        workers=workers,
    )
    listener = listen(host, port)
    base = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"

    def announce(pids: list[int]) -> None:
        paths = [""] if len(settings.recipes) == 1 else [f"/{name}" for name in settings.recipes]
        for path, name in zip(paths, settings.recipes, strict=True):
            console.print(f"serving {name} on {base}{path}", markup=False)

    if is_new:
        console.print(f"clients need this token, for example as EMPG_GYM_TOKEN: {token}", markup=False)
    if workers == 1:
        raise_open_files()
        server = make_env_server(settings)
        announce([])
        server.run(sockets=[listener])
    else:
        run_workers(settings, listener, announce)


@app.command()
def mcp(
    names: Names,
    http: Annotated[bool, typer.Option("--http", help="Streamable HTTP at /mcp instead of standard input and output.")] = False,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    max_sessions: Annotated[int, typer.Option(help="Running episodes.", min=1)] = 256,
    idle_seconds: Annotated[float, typer.Option(help="Time without a call after which an episode is closed.", min=0.001)] = 1800.0,
    auth: Auth = None,
    allow_host: AllowHost = None,
    set_: Settings = None,
) -> None:
    """Serve environments as MCP tools: reset, step, state, close, list_environments, list_tasks."""
    from empg_gym.serve.packages import require_extra

    require_extra("mcp")
    from empg_gym.serve.episodes import Episodes
    from empg_gym.serve.host import EnvHost
    from empg_gym.serve.mcp import make_mcp_server
    from empg_gym.serve.settings import SessionLimits

    limits = SessionLimits(max_sessions=max_sessions, idle_seconds=idle_seconds)
    hosts = {name: EnvHost(name, recipe) for name, recipe in _recipes(names, set_ or ()).items()}
    server = make_mcp_server(hosts, Episodes(hosts, limits))
    if not http:
        server.run("stdio")
        return
    from empg_gym.net.server import ServerLimits, listen, make_server
    from empg_gym.serve.door import Door
    from empg_gym.serve.mcp import http_app
    from empg_gym.serve.slots import SessionSlots
    from empg_gym.serve.token import token_for

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    token, is_new = token_for(host, auth)
    listener = listen(host, port)
    door = Door(http_app(server, limits.max_message), SessionSlots(max_sessions), token=token, idle_seconds=idle_seconds)
    if is_new:
        console.print(f"clients need this token, for example as EMPG_GYM_TOKEN: {token}", markup=False)
    shown = f"[{host}]" if ":" in host else host
    console.print(f"serving {', '.join(hosts)} on http://{shown}:{listener.getsockname()[1]}/mcp", markup=False)
    bounds = ServerLimits(max_body=limits.max_message)
    service = make_server(door, limits=bounds, names=[host, *(allow_host or ())], websockets=True, log_level="error")
    service.run(sockets=[listener])


@app.command()
def space(
    name: Annotated[str, typer.Argument(help="Environment: alfworld, webshop or deepsearch.", metavar="ENV")],
    out: Annotated[Path, typer.Option(help="Folder to write; new or empty.")],
) -> None:
    """Write a container recipe and a Hugging Face Space for an environment."""
    from empg_gym.serve.space_files import write_space

    recipe = next(iter(_recipes([name], ()).values()))
    files = write_space(recipe, out)
    Console(stderr=True, highlight=False, soft_wrap=True).print(
        f"wrote {len(files)} files to {out}; build the image with: docker build {out}", markup=False
    )


def _recipes(names: list[str], settings: list[str] | tuple[str, ...]) -> dict[str, EnvRecipe]:
    """Return the environments by short name."""
    from empg_gym.evaluation.settings import read_settings
    from empg_gym.recipe import EnvRecipe
    from empg_gym.registration import find_id, short_name

    if settings and len(names) > 1:
        raise ConfigError("--set belongs to one environment: serve the others with commands of their own")
    arguments = read_settings(text if text.startswith("env.") else f"env.{text}" for text in settings).env
    recipes: dict[str, EnvRecipe] = {}
    for given in names:
        base, _, split = given.partition("@")
        recipe = EnvRecipe(base, {**({"split": split} if split else {}), **arguments})
        recipe = dataclasses.replace(recipe, env_id=find_id(base))
        name = short_name(recipe.env_id)
        if name in recipes:
            raise ConfigError(f"{given} is the second environment with the name {name!r}: serve it with a command of its own")
        recipes[name] = recipe
    return recipes


@app.command()
def retrieval(
    corpus: Annotated[
        Path, typer.Option(help="Passages as JSON lines: id with contents (wiki-18), or with title, text and url; .gz is read.")
    ],
    host: Host = "127.0.0.1",
    port: Port = 8000,
    topk: Annotated[int, typer.Option(help="Passages per query where a request does not set it.", min=1, max=100)] = 3,
    engine: Annotated[str, typer.Option(help="bm25 (built in), bm25s or tantivy.")] = "bm25",
    threads: Annotated[int, typer.Option(help="Requests served at once.", min=1)] = 4,
    allow_host: AllowHost = None,
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
