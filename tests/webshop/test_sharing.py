"""One shared store: threads, forks and spawned processes run the same episodes from the same files."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest

from empg_gym.envs.webshop import progress
from empg_gym.envs.webshop.env import WebShopEnv


def play(seed: int) -> list[str]:
    env = WebShopEnv("all", num_products=200)
    shown = [env.reset(seed=seed)[0]]
    env.step("search[<c> fashion]")
    env.step("click[back to search]")
    while (action := env.expert()) is not None:
        shown.append(env.step(action)[0])
    return shown


@pytest.fixture(scope="module")
def expected(webshop_cache):
    return [play(seed) for seed in range(24)]


def test_threads(expected):
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(play, range(24))) == expected


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes(expected, method):
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
        assert list(pool.map(play, range(24))) == expected


def test_bar(capsys, monkeypatch):
    """The bar appears on the terminal after a delay and disappears at the end."""
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    with progress.reporting(None) as report:
        report("products", 1, 10)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with progress.reporting(None) as report:
        report("products", 1, 10)
        report("products", 10, 10)
        report("index", 5, None)
    assert "WebShop products" in capsys.readouterr().err
    seen = []
    with progress.reporting(lambda *told: seen.append(told)) as report:
        report("index", 1, 2)
    assert seen == [("index", 1, 2)]
