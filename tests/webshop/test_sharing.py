"""One shared store: threads, forks and spawned processes run the same episodes from the same files."""

import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest

from empg_gym.envs.webshop import progress
from empg_gym.envs.webshop.env import WebShopEnv

ROOT = Path(__file__).parents[2]


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


@pytest.fixture
def environment(tmp_path):
    return {**os.environ, "EMPG_GYM_CACHE": str(tmp_path)}


def test_files_are_closed_with_the_last_environment_not_by_the_collector(environment):
    """Environments of one shop share their files; of many shops, those that nobody uses any more are closed at once."""
    script = (
        "import gc, os, gymnasium as gym, empg_gym\n"
        "gc.disable()\n"
        "def used(size, count=1):\n"
        "    envs = [gym.make('EMPG/WebShop-v0', num_products=size) for _ in range(count)]\n"
        "    for env in envs: env.reset(seed=0); env.step('search[red]'); env.close()\n"
        "    return len(os.listdir('/proc/self/fd'))\n"
        "one = used(100)\n"
        "print(used(100, 12) - one, used(100) - one)\n"
        "several = [used(100 + number) for number in range(1, 7)]\n"
        "print(several[-1] - several[3])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.stdout.split() == ["0", "0", "0"], done.stdout + done.stderr


def test_the_error_of_too_many_open_files_does_not_advise_to_remove_anything(environment):
    script = (
        "import resource, os, gymnasium as gym, empg_gym\n"
        "gym.make('EMPG/WebShop-v0', num_products=100).close()\n"
        "said = set()\n"
        "for free in range(0, 24):\n"
        "    from empg_gym.envs.webshop import shop\n"
        "    shop._open_catalogue.cache_clear(); shop._open_goals.cache_clear()\n"
        "    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir('/proc/self/fd')) - 1 + free, 4096))\n"
        "    try: gym.make('EMPG/WebShop-v0', num_products=100).close()\n"
        "    except empg_gym.errors.DataError as error: said.add(str(error).partition(': ')[2] or str(error))\n"
        "    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))\n"
        "print(*said, sep='\\n')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr
    assert "too many open files" in done.stdout and "remove" not in done.stdout
