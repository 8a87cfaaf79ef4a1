"""`empg-gym play` at a pseudo-terminal: playing, the commands with a colon, and every way to leave."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from empg_gym.cli.play import play
from empg_gym.errors import ConfigError, TaskError
from empg_gym.trajectory import StopReason, read_trajectories
from tests.play.terminal import Terminal

app = typer.Typer()
app.command()(play)


def run(*arguments: str, typed: str = ""):
    return CliRunner().invoke(app, list(arguments), input=typed)


def test_a_game_played_by_the_experts_hints_is_solved_and_saved(tmp_path):
    saved = tmp_path / "games" / "mine.jsonl"
    with Terminal("alfworld", "--seed", "3", "--split", "valid_seen", "--set", "size=small", "--save", str(saved)) as terminal:
        terminal.expect("Your task is to:")
        terminal.expect("1> ")
        step = 1
        while True:
            terminal.type(":hint")
            terminal.expect(":hint\n")
            action = terminal.expect(f"\n{step}> ").strip()
            assert action
            terminal.type(action)
            terminal.expect(action + "\n")
            step += 1
            # Either the next prompt or the end.
            terminal.wait(lambda shown, step=step: f"\n{step}> " in shown or "solved, score" in shown)
            if "solved, score" in terminal.text:
                break
            terminal.expect(f"\n{step}> ")
        assert "reward +1" in terminal.text and "solved, score 1, reward 1" in terminal.text
        assert terminal.ended() == 0
    [trajectory] = read_trajectories(saved)
    assert trajectory.success and trajectory.stop_reason is StopReason.TERMINATED and trajectory.agent == "human"
    assert len(trajectory.steps) == step - 1 and trajectory.seed == 3 and trajectory.split == "valid_seen"
    assert all(step.model_seconds > 0 for step in trajectory.steps)


@pytest.mark.parametrize(("key", "how"), [(b"\x03", "Ctrl-C"), (b"\x04", "Ctrl-D")])
def test_leaving_is_clean_and_saves_the_game(tmp_path, key, how):
    saved = tmp_path / "mine.jsonl"
    with Terminal("alfworld", "--seed", "0", "--set", "size=small", "--save", str(saved)) as terminal:
        terminal.expect("1> ")
        terminal.type("look")
        terminal.expect("2> ")
        terminal.press(key)
        terminal.expect("left after 1 step: not solved")
        assert terminal.ended() == 0, how
        assert "Traceback" not in terminal.text
    [trajectory] = read_trajectories(saved)
    assert trajectory.stop_reason is StopReason.AGENT_STOPPED and not trajectory.success
    assert [step.action for step in trajectory.steps] == ["look"]


def test_games_are_appended_and_a_game_without_an_action_is_not_saved(tmp_path):
    saved = tmp_path / "mine.jsonl"
    for typed in ("look\n:quit\n", "inventory\n", ":quit\n", ""):
        result = run("alfworld", "--seed", "1", "--save", str(saved), typed=typed)
        assert result.exit_code == 0, result.output
    assert [trajectory.steps[0].action for trajectory in read_trajectories(saved)] == ["look", "inventory"]


def test_lines_with_a_colon_are_commands():
    result = run("alfworld", "--seed", "1", typed=":help\n:actions\n:rules\n:nonsense\n:99999\n\n:2\n:quit\n")
    assert result.exit_code == 0
    assert "   1  go to" in result.output and ":quit" in result.output
    assert "there are actions 1 to" in result.output and "type an action" in result.output
    assert "left after 1 step" in result.output


@pytest.mark.parametrize("name", ["webshop", "deepsearch", "EMPG/ALFWorld-v0"])
def test_every_environment_can_be_played(name):
    result = run(name, "--seed", "5", typed=":actions\nanything at all\n:quit\n")
    assert result.exit_code == 0 and "left after 1 step" in result.output
    assert "not a valid action (:actions lists them)" in result.output


def test_the_readable_form_is_the_default():
    assert "[button] Search [button_]" in run("webshop", "--seed", "5", typed=":quit\n").output
    assert "[button]" not in run("webshop", "--seed", "5", "--set", "observation=text", typed=":quit\n").output
    typed = "search[river]\n:quit\n"
    assert "not a valid action" not in run("EMPG/DeepSearch-v0@ood", "--seed", "5", typed=typed).output
    assert "not a valid action" in run("deepsearch", "--seed", "5", "--set", "protocol=search-r1", typed=typed).output


def test_control_characters_of_a_game_do_not_reach_the_terminal():
    from empg_gym.cli.play import _clean

    assert _clean("a\x1b[2Jb\x07\tc\nd").plain == "a\N{REPLACEMENT CHARACTER}[2Jb\N{REPLACEMENT CHARACTER}    c\nd"


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (("alfwold",), ConfigError, "no environment 'alfwold'"),
        (("alfworld", "--split", "nowhere"), ConfigError, "no split 'nowhere'"),
        (("alfworld", "--task", "no-such-task"), TaskError, "no task 'no-such-task'"),
        (("alfworld", "--set", "colour=red"), ConfigError, "takes no argument 'colour'"),
        (("alfworld", "--browser"), ConfigError, "works with WebShop only"),
        (("alfworld", "--save", "/proc/none/game.jsonl"), ConfigError, "can't be written"),
    ],
)
def test_wrong_use_is_a_one_sentence_error(arguments, error, text):
    result = run(*arguments)
    assert isinstance(result.exception, error) and text in str(result.exception)


def test_webshop_can_be_played_in_a_browser(tmp_path):
    for module in ("starlette", "uvicorn"):
        pytest.importorskip(module, reason=f"{module} is not installed: pip install 'empg-gym[browser]'")
    import httpx

    saved = tmp_path / "mine.jsonl"
    with Terminal("webshop", "--browser", "--seed", "1", "--save", str(saved)) as terminal:
        assert ":help" not in terminal.expect("open ")
        address = terminal.expect(" in your browser")
        page = httpx.get(address, follow_redirects=True)
        assert page.status_code == 200 and "Instruction" in page.text
        terminal.press(b"\x03")
        terminal.expect("left after 0 steps")
        assert terminal.ended() == 0
    assert list(read_trajectories(saved)) == []
