"""Vector environments whose members hang, die and raise."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from empg_gym.errors import ConfigError, EnvironmentFailure
from empg_gym.vector import BoundedVectorEnv, make_bounded
from tests.toy import TOY_ID, DoorsEnv

SPLIT_SECOND = 1.5


class Trouble(DoorsEnv):
    """The toy with actions that go wrong in every way."""

    def __init__(self, broken: str = "", child: str = "", **kwargs):
        if broken == "make":
            raise OSError("no game files")
        super().__init__(**kwargs)
        self.broken = broken
        if child:
            Path(child).write_text(str(subprocess.Popen(["sleep", "600"]).pid))

    def _start(self, task):
        if self.broken == "reset":
            time.sleep(600)
        return super()._start(task)

    def _apply(self, action):
        if action == "hang":
            time.sleep(600)
        if action == "spin":
            while True:
                pass
        if action == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if action == "exit":
            os._exit(3)
        if action == "raise":
            raise ValueError("the door is a wall")
        return super()._apply(action)


def troubled(number=3, **options):
    return BoundedVectorEnv([Trouble] * number, **{"step_seconds": 20.0, "reset_seconds": 20.0, **options})


def right(observations):
    return [f"open door {text.rpartition('says ')[2].rstrip('.')}" if "says" in text else "wait" for text in observations]


def test_equal_to_gymnasiums_own_vectors():
    ours = make_bounded(TOY_ID, 3, length=2, max_steps=6)
    theirs = SyncVectorEnv([lambda: gym.make(TOY_ID, length=2, max_steps=6)] * 3, autoreset_mode=AutoresetMode.NEXT_STEP)
    try:
        assert (ours.observation_space, ours.action_space) == (theirs.observation_space, theirs.action_space)
        mine, their = ours.reset(seed=5), theirs.reset(seed=5)
        for turn in range(12):
            assert tuple(mine[0]) == tuple(their[0])
            for one, other in zip(mine[1:-1], their[1:-1], strict=True):
                np.testing.assert_array_equal(one, other)
            assert set(mine[-1]) == set(their[-1])
            for name in ("task", "success", "step", "valid_action", "_task"):
                assert list(mine[-1][name]) == list(their[-1][name])
            actions = right(mine[0]) if turn % 3 else ["open door 1", *right(mine[0])[1:]]
            mine, their = ours.step(actions), theirs.step(tuple(actions))
    finally:
        ours.close()
        theirs.close()


@pytest.mark.parametrize(
    "action, said",
    [
        ("hang", "did not answer in time"),
        ("spin", "did not answer in time"),
        ("die", "exit code -9"),
        ("exit", "exit code 3"),
        ("raise", "ValueError: the door is a wall"),
    ],
)
def test_one_goes_wrong_and_the_others_go_on(action, said):
    envs = troubled(step_seconds=SPLIT_SECOND if action in ("hang", "spin") else 20.0)
    try:
        before, _ = envs.reset(seed=1)
        pids = [worker.pid for worker in envs._workers]
        good = right(before)
        observations, rewards, terminated, truncated, infos = envs.step([good[0], action, good[2]])
        assert observations[1] == before[1] and observations[0].startswith("Room 2.") and observations[2].startswith("Room 2.")
        assert (rewards.tolist(), terminated.tolist(), truncated.tolist()) == ([0.0] * 3, [False] * 3, [False, True, False])
        assert infos["_error"].tolist() == [False, True, False] and said in infos["error"][1]
        assert [worker.pid == pid for worker, pid in zip(envs._workers, pids, strict=True)] == [True, False, True]
        assert not Path(f"/proc/{pids[1]}").exists()
        observations, _, _, truncated, infos = envs.step([right(observations)[0], "ignored", right(observations)[2]])
        assert observations[1].startswith("Room 1.") and observations[0].startswith("Room 3.") and not truncated.any()
        assert infos["step"].tolist() == [2, 0, 2] and "error" not in infos
        observations, rewards, terminated, *_ = envs.step(right(observations))
        assert terminated.tolist() == [True, False, True] and rewards.tolist() == [1.0, 0.0, 1.0]
        assert envs.replacements == 1
    finally:
        envs.close()


def test_the_same_losses_give_the_same_episodes():
    def tasks():
        envs = troubled(2)
        try:
            envs.reset(seed=3)
            envs.step(["wait", "raise"])
            seen = [envs.step(["wait", "wait"])[-1]["task"].tolist()]
            envs.step(["wait", "raise"])
            seen.append(envs.step(["wait", "wait"])[-1]["task"].tolist())
            return seen
        finally:
            envs.close()

    first, second = tasks(), tasks()
    assert first == second and first[0][0] == first[1][0] and first[0][1] != first[1][1]


def test_all_go_wrong_at_once():
    envs = troubled(3, step_seconds=SPLIT_SECOND)
    try:
        envs.reset(seed=0)
        *_, truncated, infos = envs.step(["hang", "die", "raise"])
        assert truncated.all() and infos["_error"].all()
        observations, *_ = envs.step(["", "", ""])
        assert all(text.startswith("Room 1.") for text in observations)
    finally:
        envs.close()


def test_an_environment_that_cannot_be_made_or_reset_ends_the_run():
    with pytest.raises(EnvironmentFailure, match="no game files"):
        BoundedVectorEnv([lambda: Trouble(broken="make")])
    envs = BoundedVectorEnv([Trouble, lambda: Trouble(broken="reset")], reset_seconds=SPLIT_SECOND, max_losses=2)
    try:
        with pytest.raises(EnvironmentFailure, match="environment 1 was lost 2 times in a row"):
            envs.reset(seed=0)
    finally:
        envs.close()


def test_losses_in_a_row_are_bounded_and_a_step_between_forgets_them():
    envs = troubled(1, max_losses=2)
    try:
        envs.reset(seed=0)
        for _ in range(4):
            assert "error" in envs.step(["raise"])[-1]
            envs.step([""])
            envs.step(["wait"])
        envs.step(["raise"])
        envs.step([""])
        with pytest.raises(EnvironmentFailure, match="2 times in a row"):
            envs.step(["raise"])
    finally:
        envs.close()


def test_resets_by_mask():
    envs = troubled(3, autoreset_mode=AutoresetMode.DISABLED)
    try:
        before, _ = envs.reset(seed=2)
        observations, *_ = envs.step([right(before)[0], "raise", "wait"])
        with pytest.raises(ConfigError, match=r"environments \[1\] are over"):
            envs.step(["wait"] * 3)
        observations, infos = envs.reset(options={"reset_mask": np.array([False, True, False]), "task": 4})
        assert observations[0].startswith("Room 2.") and observations[1].startswith("Room 1.")
        assert infos["task"][1] == "train-4" and infos["_task"].tolist() == [False, True, False]
        envs.step(["wait"] * 3)
    finally:
        envs.close()


def test_questions_to_all():
    envs = troubled(2, step_seconds=SPLIT_SECOND)
    try:
        observations, _ = envs.reset(seed=2)
        assert list(envs.call("expert")) == right(observations)
        assert envs.call("split") == ("train", "train")
        with pytest.raises(EnvironmentFailure, match="'step' failed in environment 0"):
            envs.call("step", "hang")
        envs.step(["", ""])
    finally:
        envs.close()


@pytest.mark.parametrize(
    "options, sign",
    [
        ({"env_fns": []}, "empty"),
        ({"step_seconds": 0}, "above 0"),
        ({"max_losses": 0}, "at least 1"),
        ({"autoreset_mode": AutoresetMode.SAME_STEP}, "NEXT_STEP or DISABLED"),
        ({"env_fns": [lambda: gym.make("CartPole-v1")]}, "text env"),
    ],
)
def test_wrong_arguments(options, sign):
    with pytest.raises(ConfigError, match=sign):
        BoundedVectorEnv(**{"env_fns": [Trouble], **options})


def test_seeds_of_numpy_count_as_seeds():
    envs = troubled(2)
    try:
        expected = envs.reset(seed=5)[0], envs._seeds.copy()
        for seed in (np.int64(5), np.array(5), np.array([5, 6]), (np.int32(5), 6)):
            assert (envs.reset(seed=seed)[0], envs._seeds) == expected and all(type(one) is int for one in envs._seeds)
        for seed in (1.5, "12", [1.0, 2.0]):
            with pytest.raises(ConfigError, match="seed must be"):
                envs.reset(seed=seed)
    finally:
        envs.close()


def test_wrong_numbers_of_things():
    envs = troubled(2)
    try:
        with pytest.raises(ConfigError, match="3 seeds for 2"):
            envs.reset(seed=[1, 2, 3])
        with pytest.raises(ConfigError, match="reset_mask"):
            envs.reset(options={"reset_mask": [True]})
        envs.reset(seed=[1, None])
        with pytest.raises(ConfigError, match="1 actions for 2"):
            envs.step(["wait"])
    finally:
        envs.close()


def test_nothing_is_left_behind(tmp_path):
    child = tmp_path / "pid"
    envs = BoundedVectorEnv([lambda: Trouble(child=str(child))])
    envs.reset(seed=0)
    pids = [envs._workers[0].pid, int(child.read_text())]
    envs.close()
    assert gone(pids)


def test_processes_end_with_their_parent(tmp_path):
    """A killed parent: the first worker's connection must not live on in the second, which was forked later."""
    script = (
        "import os, signal, tests.vector.test_bounded as t\n"
        "envs = t.troubled(2); envs.reset(seed=0)\n"
        "print(*[worker.pid for worker in envs._workers], flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True, timeout=60
    )
    pids = [int(pid) for pid in done.stdout.split()]
    assert done.returncode == -signal.SIGKILL and len(pids) == 2
    assert gone(pids)


def test_spawned_processes(tmp_path):
    envs = BoundedVectorEnv([Trouble], context="spawn")
    try:
        envs.reset(seed=0)
        *_, truncated, infos = envs.step(["die"])
        assert truncated.all() and "exit code -9" in infos["error"][0]
        assert envs.step([""])[0][0].startswith("Room 1.")
    finally:
        envs.close()


def gone(pids):
    """Whether the processes end; the system takes a moment after a kill."""
    deadline = time.monotonic() + 20
    while any(map(running, pids)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not any(map(running, pids))


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
