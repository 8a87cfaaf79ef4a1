"""The browser backend equals the text backend; it recovers from one fault; no process is left running."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from pathlib import Path

import gymnasium as gym
import pytest

import empg_gym  # noqa: F401 (registers the ids)
from empg_gym.envs.webshop import chromium
from empg_gym.errors import EnvironmentFailure, MissingDependencyError

pytestmark = [pytest.mark.browser, pytest.mark.slow]
EPISODES = 20


def make(**arguments):
    return gym.make("EMPG/WebShop-v0", split="test", num_products=100, **arguments).unwrapped


@pytest.fixture(autouse=True)
def needs_chromium():
    try:
        chromium.find_browser()
    except MissingDependencyError as error:
        pytest.skip(str(error))


def alive(group: int) -> list[int]:
    """Return the running processes of a process group."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[2]) == group and fields[0] not in "ZX":
                found.append(int(folder.name))
    return found


def choose(rng: random.Random, env, info) -> str:
    """Return an action that an agent might try: the expert's, an admissible one, or nonsense."""
    kind = rng.random()
    if kind < 0.35 and (action := env.expert()):
        return action
    if kind < 0.45:
        return rng.choice(["click[no such thing]", "search[]", "hello", "click[search]", "search[[a]]", "Click[Buy Now]"])
    if kind < 0.6:
        return f"search[{' '.join(rng.sample(info['instruction'].split(), 3))}]"
    actions = [action for action in info["admissible_actions"] if "<query>" not in action]
    return rng.choice(actions or ["search[red shoes]"])


@pytest.mark.slow
def test_episodes_equal_those_of_the_text_backend():
    text, rich, browser = make(), make(observation="text_rich"), make(backend="browser", observation="text_rich")
    rng = random.Random(5)
    bought = 0
    try:
        for episode in range(EPISODES):
            rich_seen, info = rich.reset(seed=episode)
            text_seen, _ = text.reset(seed=episode)
            seen, browser_info = browser.reset(seed=episode)
            for _ in range(15):
                assert seen == rich_seen
                assert browser_info == info
                assert browser.state_key() == rich.state_key()
                browser.view._mode = "text"
                assert browser.view.observation() == text_seen
                browser.view._mode = "text_rich"
                action = choose(rng, rich, info)
                rich_seen, reward, terminated, truncated, info = rich.step(action)
                text_seen = text.step(action)[0]
                seen, *outcome, browser_info = browser.step(action)
                assert outcome == [reward, terminated, truncated], action
                if terminated or truncated:
                    bought += terminated
                    assert seen == rich_seen
                    assert browser_info == info
                    break
        assert bought >= 5
    finally:
        browser.close()


WORDS = ["red & blue", "50% 'off' \"now\"", "über größe", "鞋子", "😀 shoes", "a" * 3000, "x\ty", "</script>", " lead"]
NO_WORDS = ["\ud800 x", "a\x00b", "\x00y", "a\rb", "\ufffe"]


@pytest.mark.parametrize("words", [*WORDS, *NO_WORDS])
def test_any_words_can_be_searched(words):
    text, browser = make(), make(backend="browser")
    try:
        text.reset(seed=1)
        browser.reset(seed=1)
        group = browser.view._chromium.process_group
        for _ in range(2):  # from the index page by keyboard, then from the results, which have no search bar
            expected = text.step(f"search[{words}]")
            assert browser.step(f"search[{words}]") == expected
            assert text.view.state.keywords == browser.view.state.keywords == tuple(words.lower().split(" "))
        assert browser.view._chromium.process_group == group
    finally:
        browser.close()


def test_clicks_on_any_text_are_harmless():
    text, browser = make(), make(backend="browser")
    try:
        text.reset(seed=1)
        browser.reset(seed=1)
        group = browser.view._chromium.process_group
        for words in [*WORDS, *NO_WORDS]:
            assert browser.step(f"click[{words}]") == text.step(f"click[{words}]")
        assert browser.view._chromium.process_group == group
    finally:
        browser.close()


def test_snapshots_are_restored_in_the_browser():
    env = make(backend="browser")
    try:
        env.reset(seed=3)
        env.step(env.expert())
        state = env.snapshot()
        after = env.step(env.expert())
        env.step("click[back to search]")
        env.restore(state)
        assert env.step(env.expert()) == after
    finally:
        env.close()


def test_close_leaves_no_process_and_no_file(monkeypatch):
    with tempfile.TemporaryDirectory(prefix="b") as folder:  # a short path, for the browser's socket
        monkeypatch.setattr(tempfile, "tempdir", folder)
        _close_a_browser(Path(folder))


def _close_a_browser(folder):
    env = make(backend="browser")
    env.reset(seed=0)
    group = env.view._chromium.process_group
    profile = Path(next(part for part in env.view._chromium.driver.capabilities["chrome"].values() if "profile" in str(part)))
    assert alive(group)
    assert profile.is_relative_to(folder)
    assert profile.is_dir()
    env.close()
    env.close()
    assert not alive(group)
    assert not list(folder.iterdir())


@pytest.mark.parametrize("victim", ["browser", "driver"])
def test_a_killed_browser_or_driver_is_restarted(victim):
    env, text = make(backend="browser"), make()
    try:
        env.reset(seed=2)
        text.reset(seed=2)
        group = env.view._chromium.process_group
        for process in [group] if victim == "driver" else [process for process in alive(group) if process != group]:
            os.kill(process, signal.SIGKILL)
        action = text.expert()
        assert env.step(action) == text.step(action)
        assert env.view._chromium.process_group != group
        assert not alive(group)
    finally:
        env.close()


def test_a_browser_that_cannot_be_restarted_is_a_clear_error(monkeypatch):
    env = make(backend="browser")
    env.reset(seed=2)
    group = env.view._chromium.process_group
    monkeypatch.setattr(chromium, "FLAGS", ("--headless=no-such-mode", "--remote-debugging-pipe", "--no-such"))
    monkeypatch.setenv("SE_CHROMEDRIVER", "/bin/false")
    for process in alive(group):
        os.kill(process, signal.SIGKILL)
    with pytest.raises(EnvironmentFailure, match="doctor"):
        env.step("search[red shoes]")
    deadline = time.monotonic() + 300
    while alive(group) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(group)


def test_a_missing_driver_is_named(monkeypatch):
    monkeypatch.delenv("SE_CHROMEDRIVER", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MissingDependencyError, match="apt-get install chromium"):
        make(backend="browser").reset(seed=0)
