"""`empg-gym train`: train an agent from configuration files."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from empg_gym.cli.eval import WIDE
from empg_gym.cli.interrupt import INTERRUPTED
from empg_gym.errors import ConfigError, require
from empg_gym.runs.terminal import Console

if TYPE_CHECKING:
    from empg_gym.trainers.config.sections import TrainConfig


OWN_ENVIRONMENT = "tiny"
"""Preset of a run for which only an environment is named."""


def train(
    config: Annotated[
        list[Path] | None,
        typer.Argument(
            help="TOML files or names of presets (see --list); later ones override earlier ones. With --env alone: tiny.",
            show_default=False,
        ),
    ] = None,
    env: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="Train in this environment: an id, a short name, or module:id of one that a module of yours registers. The data, options, "
            "splits and step limit of the configuration's environment are dropped; the held-out split is evaluated.",
            show_default=False,
        ),
    ] = None,
    list_: Annotated[
        bool, typer.Option("--list", help="List the presets and exit.", is_eager=True, callback=lambda value: _list(value))
    ] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key, as in --set rl.steps=20; may be repeated.")
    ] = None,
    out: Annotated[str | None, typer.Option(metavar="PATH", help="Output folder; replaces run.out.", show_default=False)] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Resume from the latest checkpoint in the output folder; without one, start from the beginning."),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print the resolved configuration, check its environments and splits, try its stages on a few episodes without the model, "
            "estimate the tokens of a training step and the memory, list what was not checked, and exit.",
        ),
    ] = False,
    device_memory: Annotated[
        float | None,
        typer.Option(
            metavar="GB",
            min=0.1,
            help="With --dry-run: estimate for a CUDA device with this much memory, and refuse a run that it can't hold.",
            show_default=False,
        ),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Print the stages of a training step, their options and the formula in use, and exit.")
    ] = False,
    replay: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Run the update of a recorded batch (rollouts/, nonfinite/) without environments, print its metrics, and exit.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="With --replay: print JSON instead of tables.")] = False,
) -> None:
    """Train an agent: warm start on expert episodes, then reinforcement (EMPG, GRPO)."""
    from empg_gym.trainers.config.file import load_config, to_toml

    # A JSON string is also a TOML string.
    overrides = list(set_ or []) + ([f"run.out={json.dumps(out, ensure_ascii=False)}"] if out is not None else [])
    if not config and env is None:
        raise ConfigError(
            "name a configuration, such as: empg-gym train alfworld-tiny (--list shows all), or an environment of yours: "
            "empg-gym train --env my_module:My/Env-v0"
        )
    resolved = load_config(config or [OWN_ENVIRONMENT], overrides, env=env)
    if as_json and replay is None:
        raise ConfigError("--json prints the result of --replay FILE; give both")
    if device_memory is not None and not dry_run:
        raise ConfigError("--device-memory is the device of an estimate; give --dry-run too")
    if dry_run:
        typer.echo(to_toml(resolved), nl=False)
        unchecked = _check(resolved)
        _print_cost(resolved)
        if not _print_memory(resolved, device_memory):
            unchecked.insert(0, "the memory")
        typer.echo(f"\n# Not checked: {'; '.join(unchecked)}.")
        return
    if explain:
        _explain(resolved)
    elif replay is not None:
        _replay(resolved, replay, as_json=as_json)
    else:
        _run(resolved, resume=resume)


def _list(requested: bool) -> None:
    """Print the presets and exit, if requested."""
    if not requested:
        return
    from empg_gym.trainers.config.presets import presets

    console = Console(soft_wrap=False, width=None if sys.stdout.isatty() else WIDE)
    for title, is_part in (("Bases: complete runs", False), ("Parts: combined with a base, as in empg-gym train alfworld dapo empg", True)):
        table = Table(title=title, title_justify="left", box=None, show_header=False, padding=(0, 2))
        for preset in presets():
            if preset.is_part == is_part:
                table.add_row(preset.name, preset.summary)
        console.print(table)
    raise typer.Exit


def _explain(config: TrainConfig) -> None:
    require("torch", "train", "--explain")
    from empg_gym.trainers.run.explain import explain

    typer.echo(explain(config), nl=False)


def _replay(config: TrainConfig, path: Path, *, as_json: bool) -> None:
    _require_training()
    from empg_gym.trainers.run.replay import render, replay

    result = replay(config, path)
    if as_json:
        typer.echo(json.dumps(result.to_json(), indent=2))
    else:
        Console(soft_wrap=True, width=None if sys.stdout.isatty() else WIDE).print(render(result))


def _check(config: TrainConfig) -> list[str]:
    """Raise the errors that a run would raise, print what was tried, and return what was not checked."""
    from empg_gym.trainers.collect.environments import check_environments

    check_environments(config)
    if importlib.util.find_spec("torch") is None:
        return ["stages, rewards and advantages (torch is not installed: pip install 'empg-gym[train]')"]
    from empg_gym.trainers.policy.gold import make_gold_env
    from empg_gym.trainers.run.loggers import bind_loggers
    from empg_gym.trainers.run.stages import build_stages
    from empg_gym.trainers.run.trial import try_step

    bind_loggers(config)
    stages = build_stages(config)
    if (env := make_gold_env(config)) is not None:
        env.close()
    trial = try_step(config, stages)
    typer.echo("".join(f"\n# {line}\n" for line in trial.findings), nl=False)
    return trial.unchecked


def _print_cost(config: TrainConfig) -> None:
    """Print the estimated tokens of a training step as comments, so that the output of a dry run stays a configuration file."""
    from empg_gym.trainers.run.cost import estimate_cost

    if config.rl.steps and (estimate := estimate_cost(config)) is not None:
        typer.echo("\n" + "\n".join(f"# {line}" for line in estimate.lines()))


def _print_memory(config: TrainConfig, device_gb: float | None) -> bool:
    """Print the estimated memory as comments, and refuse what the device can't hold; return whether it could be estimated."""
    if any(importlib.util.find_spec(module) is None for module in ("torch", "transformers")):
        return False
    from empg_gym.trainers.run.memory_estimate import estimate_memory, require_fit

    estimate = estimate_memory(config, device_gb)
    if estimate is None:
        typer.echo(f"\n# The memory is not estimated: the config.json of {config.model.name} is not on this machine, or needs code.")
        return False
    typer.echo("\n" + "\n".join(f"# {line}" for line in estimate.lines()))
    require_fit(config, estimate, device_gb)
    return True


def _require_training() -> None:
    for module in ("torch", "transformers", "safetensors", "tensorboard"):
        require(module, "train", "training")
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def _run(config: TrainConfig, *, resume: bool) -> None:
    _require_training()
    from empg_gym.trainers.run.folder import is_finished
    from empg_gym.trainers.run.progress import ProgressView
    from empg_gym.trainers.run.trainer import Trainer

    console = Console(soft_wrap=False)
    if resume and is_finished(config):
        console.print(f"The run in {config.run.out} is finished: nothing to train.", soft_wrap=True, markup=False)
    else:
        trainer = Trainer(config, ProgressView(console), resume=resume)
        try:
            trainer.run()
        except KeyboardInterrupt:
            Console(stderr=True, soft_wrap=True).print("interrupted; to resume, run the same command with --resume")
            raise typer.Exit(INTERRUPTED) from None
    report = _report(Path(config.run.out))
    files = "summary.json, metrics.jsonl, trajectories.jsonl, checkpoints/"
    console.print(f"Results in {config.run.out}: {files}", soft_wrap=True, markup=False)
    console.print(f"Report: {report}", soft_wrap=True, markup=False)


def _report(folder: Path) -> Path:
    from empg_gym.report import write_report

    return write_report(folder)
