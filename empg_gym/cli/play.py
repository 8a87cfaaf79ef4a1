"""`empg-gym play`: a person plays a task in the terminal, or WebShop in the browser.

Rules:
    - A typed line is the action, as an agent would write it. A line that starts with a colon is a command (`:help`).
    - A person gets the form that is easiest to read and type (`READABLE`), unless `--set` names another.
    - Leaving (`:quit`, the end of the input, Ctrl-C) ends the episode as `agent_stopped` and the command with exit code 0.
    - `--save FILE` appends the episode to a file of trajectories, however it ended, if at least one action was taken.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from empg_gym.runs.terminal import Console

if TYPE_CHECKING:
    from empg_gym.agent_env import LLMAgentEnv

HELP = """:help      this list
:actions   the actions that are possible now; :N carries out number N
:hint      what an expert would do next
:rules     the setting and the grammar of actions
:quit      leave; so do Ctrl-D and Ctrl-C"""
LISTED = 60
"""Actions that `:actions` shows."""
READABLE: dict[str, dict[str, Any]] = {
    "EMPG/WebShop-v0": {"observation": "text_rich"},  # marks buttons
    "EMPG/DeepSearch-v0": {"protocol": "plain"},  # accepts an action without tags
}
"""Arguments of `gymnasium.make` for a person, by id."""


def play(
    env: Annotated[str, typer.Argument(help="Environment: alfworld, webshop, deepsearch or an id; @SPLIT may follow.", metavar="ENV")],
    split: Annotated[str | None, typer.Option(help="Split to draw the task from.")] = None,
    task: Annotated[
        str | None, typer.Option(help="Task by id or index (a number that is not an id); default: drawn from the seed.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the episode; default: a new one each time.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Argument of gym.make as KEY=VALUE; may be repeated.")] = None,
    save: Annotated[Path | None, typer.Option(help="Append the episode to this file of trajectories (JSON lines).")] = None,
    browser: Annotated[bool, typer.Option("--browser", help="Play WebShop on its pages in the browser.")] = False,
) -> None:
    """Play a task yourself."""
    from empg_gym.chat_settings import ChatSettings
    from empg_gym.dialogue import get_dialogue
    from empg_gym.evaluation.environments import find_recipe
    from empg_gym.registration import find_id

    console = Console(highlight=False, soft_wrap=True)
    _check_writable(save)
    drawn = int.from_bytes(_entropy(), "big") if seed is None else seed
    kwargs = {**READABLE.get(find_id(env.partition("@")[0]), {}), **_settings(set_ or ())}
    game = find_recipe(env, split=split, kwargs=kwargs, chat=ChatSettings(preferred_dialogue=get_dialogue("plain"))).make()
    try:
        message, info = game.reset(seed=drawn, options=None if task is None else {"task": task})
        trajectory = game.trajectory
        trajectory.agent = "human"
        _introduce(game, drawn, console, typed=not browser)
        try:
            if browser:
                _in_browser(game, console)
            else:
                _in_terminal(game, message, list(info["admissible_actions"]), console)
        except (KeyboardInterrupt, EOFError):
            console.print()
        _conclude(game, console)
        if save is not None and trajectory.steps:
            from empg_gym.trajectory import write_trajectories

            write_trajectories(save, [trajectory])
            console.print(f"saved: {save} (empg-gym view {save} shows it)", markup=False)
    finally:
        game.close()


def _in_terminal(game: LLMAgentEnv, message: str, actions: list[str], console: Console) -> None:
    from empg_gym.trajectory import Completion

    console.print(_clean(message))
    while True:
        asked = time.monotonic()
        typed = console.input(Text(f"\n{len(game.trajectory.steps) + 1}> ", style="bold")).strip()
        if typed.startswith(":"):
            chosen = _command(typed[1:].strip(), game, actions, console)
            if chosen is None:
                continue
            if chosen == ":quit":
                return
            typed = chosen
        elif not typed:
            console.print("type an action, or :help", style="dim")
            continue
        message, reward, terminated, truncated, info = game.step(Completion(text=game.dialogue.render("", typed)))
        game.trajectory.steps[-1].model_seconds = time.monotonic() - asked
        actions = list(info["admissible_actions"])
        console.print(_clean(message))
        if not info["valid_action"]:
            console.print("not a valid action (:actions lists them)", style="dim")
        if reward:
            console.print(f"reward {float(reward):+g}", style="green" if float(reward) > 0 else "red")
        if terminated or truncated:
            return


def _command(text: str, game: LLMAgentEnv, actions: list[str], console: Console) -> str | None:
    """Run a command; return an action to carry out, ":quit", or None."""
    if text in ("q", "quit", "exit"):
        return ":quit"
    if text in ("a", "actions"):
        for number, action in enumerate(actions[:LISTED], 1):
            console.print(Text(f"{number:4}  ") + _clean(action))
        if len(actions) > LISTED:
            console.print(f"      and {len(actions) - LISTED} more", style="dim")
    elif text.isdecimal():
        if 1 <= int(text) <= len(actions):
            chosen = actions[int(text) - 1]
            console.print(_clean(chosen), style="dim")
            return chosen
        console.print(f"there are actions 1 to {len(actions)}; :actions lists them", style="dim")
    elif text == "hint":
        console.print(_clean(game.text_env.expert() or "the expert sees no way to success from here"), style="dim")
    elif text == "rules":
        console.print(_clean(game.text_env.rules))
    else:
        console.print(Text(HELP))
    return None


def _in_browser(game: LLMAgentEnv, console: Console) -> None:
    from empg_gym.errors import ConfigError, MissingDependencyError

    if game.text_env.benchmark != "WebShop":
        raise ConfigError(f"--browser works with WebShop only, not with {game.text_env.benchmark}; leave it out")
    try:
        from empg_gym.envs.webshop.site.play import play_in_browser
    except ImportError as error:
        raise MissingDependencyError(f"--browser needs {error.name or error}; run: pip install 'empg-gym[browser]'") from None

    def announce(address: str) -> None:
        import webbrowser

        console.print(f"open {address} in your browser; Ctrl-C leaves the game", markup=False)
        if sys.stdout.isatty():
            webbrowser.open(address)

    play_in_browser(game, announce)


def _introduce(game: LLMAgentEnv, seed: int, console: Console, *, typed: bool) -> None:
    inner = game.text_env
    console.rule(Text(f"{inner.benchmark}, {inner.split}, task {_clean(inner.task).plain}"), align="left")
    console.print(f"seed {seed}, at most {inner.max_steps} steps{'; :help for help' if typed else ''}", style="dim")


def _conclude(game: LLMAgentEnv, console: Console) -> None:
    from empg_gym.trajectory import StopReason

    trajectory = game.trajectory
    if trajectory.stop_reason is None:
        trajectory.stop_reason = StopReason.AGENT_STOPPED
    steps = f"{len(trajectory.steps)} step{'' if len(trajectory.steps) == 1 else 's'}"
    how = {StopReason.TERMINATED: "over", StopReason.STEP_LIMIT: "out of steps"}.get(trajectory.stop_reason, "left")
    outcome = "solved" if trajectory.success else "not solved"
    style = "bold green" if trajectory.success else "bold"
    console.print(f"{how} after {steps}: {outcome}, score {trajectory.score:g}, reward {trajectory.total_reward:g}", style=style)


def _check_writable(save: Path | None) -> None:
    from empg_gym.errors import ConfigError

    if save is None:
        return
    try:
        save.parent.mkdir(parents=True, exist_ok=True)
        with save.open("a"):
            pass
    except OSError as error:
        raise ConfigError(f"{save} can't be written ({error.strerror}); name another file with --save") from None


def _settings(texts: list[str] | tuple[str, ...]) -> dict[str, Any]:
    from empg_gym.evaluation.settings import read_settings

    return read_settings(text if text.startswith("env.") else f"env.{text}" for text in texts).env


def _entropy() -> bytes:
    import secrets

    return secrets.token_bytes(4)


def _clean(text: str) -> Text:
    """Return the text without control characters, which an observation may contain."""
    plain = text.replace("\t", "    ")
    return Text("".join(character if character == "\n" or character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in plain))
