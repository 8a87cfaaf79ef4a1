"""Splits are disjoint, and the same in every worker and for every seed."""

import multiprocessing

import pytest

from empg_gym.envs.webshop.env import WebShopEnv
from empg_gym.envs.webshop.splits import split_range

WORKERS = 64


@pytest.mark.parametrize("goals", [6, 13, 100, 2999, 3000, 3001, 6910, 12087])
def test_slices(goals):
    test, valid, train = (split_range(split, goals) for split in ("test", "valid", "train"))
    assert [*test, *valid, *train] == list(split_range("all", goals)) == list(range(goals))
    assert all((test, valid, train))
    if goals >= 3000:
        assert (len(test), len(valid)) == (500, 1000)


def test_full_set_has_upstreams_slices():
    assert split_range("train", 12087) == range(1500, 12087)
    assert len(split_range("train", 12087)) == 10587


def _work(number, queue):
    seen = {}
    for split in ("train", "valid", "test"):
        for compat in ("default", "upstream"):
            env = WebShopEnv(split, num_products=200, compat=compat)
            tasks = {env.reset(seed=number)[1]["task"], *(env.reset()[1]["task"] for _ in range(10))}
            seen.setdefault(split, set()).update((task, env.reset(options={"task": task})[1]["instruction"]) for task in tasks)
    everything = WebShopEnv("all", num_products=200)
    order = hash(tuple(everything.shop.goals[index].instruction for index in range(0, everything.num_tasks, 10)))
    queue.put((number, seen, order))


def test_disjoint_in_64_workers(make):
    make()
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    workers = [context.Process(target=_work, args=(number, queue)) for number in range(WORKERS)]
    for start in range(0, WORKERS, 8):
        for worker in workers[start : start + 8]:
            worker.start()
    reports = [queue.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join()
    assert len({number for number, _, _ in reports}) == WORKERS
    assert len({order for _, _, order in reports}) == 1, "goal i is the same in all"
    train, valid, test = (set().union(*(seen[split] for _, seen, _ in reports)) for split in ("train", "valid", "test"))
    assert min(map(len, (train, valid, test))) > 100
    assert not train & valid
    assert not train & test
    assert not valid & test
    for tasks in (train, valid, test):
        assert len({task for task, _ in tasks}) == len(tasks), "a task has one instruction"
