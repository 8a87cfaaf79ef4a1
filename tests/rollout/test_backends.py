"""Environments in processes of their own: equal episodes, and what happens when one hangs, dies, exits or raises."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from empg_gym.agents import make_agent
from empg_gym.chat_settings import ChatSettings
from empg_gym.errors import ConfigError, DataError, EnvironmentFailure, TaskError
from empg_gym.evaluation import evaluate
from empg_gym.recipe import EnvRecipe
from empg_gym.rollout import EnvBackend, EpisodeSpec, Rollout
from empg_gym.rollout.worker import _BOOT
from empg_gym.trajectory import StopReason, read_trajectories
from tests.rollout.trouble import EXITS_ID, TROUBLE_ID
from tests.toy import TOY_ID

SPLIT_SECOND = 1.5
PLAIN = ChatSettings(dialogue="plain")


def processes(**seconds):
    return EnvBackend(name="processes", **seconds)


def recipe(env_id=TOY_ID, **kwargs):
    return EnvRecipe(f"tests.rollout.trouble:{env_id}" if env_id != TOY_ID else f"tests.toy:{TOY_ID}", kwargs, chat=PLAIN)


class Says:
    """Opens the right door, except for one action at one step of one task."""

    def __init__(self, action="", task="train-1", step=1):
        self.action, self.task, self.step = action, task, step

    def session(self, env, seed):
        outer = self

        class Session:
            def act(self, messages, *, tools=None):
                if self.wrong():
                    return outer.action
                return f"open door {messages[-1]['content'].rpartition('says ')[2].rstrip('.')}"

            def wrong(self):
                return outer.action and (env.trajectory.task, len(env.trajectory.steps)) == (outer.task, outer.step)

        return Session()


def play(found, agent, backend, tasks=3, **options):
    rollout = Rollout(found, agent, backend=backend, concurrency=2, **options)
    try:
        return rollout.run([EpisodeSpec(seed=task, task=task) for task in range(tasks)])
    finally:
        rollout.close()


def without_times(trajectory):
    for step in trajectory.steps:
        step.model_seconds = step.env_seconds = 0.0
    return trajectory.to_json()


@pytest.mark.parametrize(
    "found",
    [
        recipe(length=4),
        EnvRecipe("EMPG/ALFWorld-v0", {"split": "valid_seen", "size": "small", "max_steps": 5}),
        EnvRecipe("EMPG/WebShop-v0", {"max_steps": 4}, embedded_kwargs={"num_products": 200}),
        EnvRecipe("EMPG/DeepSearch-v0", {"max_steps": 3}, embedded_kwargs={"world_size": 200}),
    ],
    ids=lambda found: found.env_id,
)
def test_equal_seeds_give_equal_episodes_inline_and_in_processes(found):
    apart, inline = (play(found, make_agent("random"), backend, tasks=4) for backend in (processes(), EnvBackend()))
    apart, inline = list(map(without_times, apart)), list(map(without_times, inline))
    assert apart == inline


def test_a_process_environment_answers_like_the_one_inside_it():
    inline, apart = recipe().make(), processes().make(recipe())
    try:
        ours, theirs = apart.text_env, inline.text_env
        for name in ("benchmark", "splits", "version", "split", "max_steps", "rules", "fingerprint", "tools", "num_tasks", "split_rule"):
            assert getattr(ours, name) == getattr(theirs, name), name
        assert ours.task_id(3) == theirs.task_id(3) and ours.find_task("7") == theirs.find_task("7")
        assert ours.tool_action("act", {"action": "look"}) == "look"
        with pytest.raises(TaskError, match="call reset"):
            _ = ours.task
        assert ours.reset(seed=3) == theirs.reset(seed=3)
        saved = pickle.loads(pickle.dumps(ours.snapshot()))
        assert ours.state_key() == theirs.state_key() and ours.expert() == theirs.expert()
        assert ours.expert_thought() == theirs.expert_thought() != ""
        assert ours.step(ours.expert()) == theirs.step(theirs.expert())
        assert (ours.score, ours.success, ours.task, ours.task_type) == (theirs.score, theirs.success, theirs.task, theirs.task_type)
        assert ours.restore(saved)[0] == theirs.restore(saved)[0] and ours.state_key() == theirs.state_key()
        with pytest.raises(TaskError, match="has no task 'nowhere'"):
            ours.reset(options={"task": "nowhere"})
        assert ours.step("look")[0] == theirs.step("look")[0], "an error of the user's does not end the process"
        assert apart.spec.id == inline.spec.id == TOY_ID
    finally:
        apart.close()
        inline.close()


TROUBLE = [
    ("hang", "no answer within 1.5 s (step_seconds)"),
    ("spin", "no answer within 1.5 s (step_seconds)"),
    ("die", "exit code -9"),
    ("exit", "exit code 3"),
    ("raise", "ValueError: the door is a wall"),
]


@pytest.mark.parametrize("action, said", TROUBLE)
def test_a_lost_environment_costs_its_episode_and_no_other(action, said):
    backend = processes(step_seconds=SPLIT_SECOND if action in ("hang", "spin") else 20.0)
    before, lost, after = play(recipe(TROUBLE_ID), Says(action), backend)
    assert before.success and after.success
    assert (lost.stop_reason, lost.attempts, lost.success) == (StopReason.ERROR, 2, False)
    assert lost.error.startswith("EnvironmentFailure: the environment in process") and said in lost.error
    first, last = lost.steps
    assert first.error is None and first.valid_action
    assert (last.error, last.response, last.action, last.observation[:6]) == (lost.error, action, action, "Room 2")


@pytest.mark.parametrize("action", [action for action, _ in TROUBLE])
def test_the_replacement_plays_the_episode(action, tmp_path):
    (tmp_path / "once").touch()
    found = recipe(TROUBLE_ID, once=str(tmp_path / "once"))
    (episode,) = play(found, Says(action, task="train-0", step=0), processes(step_seconds=SPLIT_SECOND * 2), tasks=1)
    assert (episode.success, episode.attempts, len(episode.steps)) == (True, 2, 3)


@pytest.mark.parametrize(
    "found, said, seconds",
    [
        (recipe(TROUBLE_ID, broken="make"), "OSError: no game files", 30.0),
        (recipe(TROUBLE_ID, broken="reset"), "no answer within 3 s (reset_seconds)", 3.0),
        (recipe(EXITS_ID), "exit code 7", 30.0),
    ],
)
def test_an_environment_that_never_starts_is_an_error(found, said, seconds):
    (episode,) = play(found, Says(), processes(reset_seconds=seconds), tasks=1)
    assert (episode.stop_reason, episode.steps) == (StopReason.ERROR, []) and said in episode.error


def test_user_errors_are_raised_as_they_are():
    with pytest.raises(DataError, match=r"^the game files are missing; get them$"):
        play(recipe(TROUBLE_ID, broken="make-data"), Says(), processes())
    with pytest.raises(ConfigError, match="did you mean 'length'"):
        play(recipe(lenght=3), Says(), processes())


@pytest.mark.parametrize("action, said", [TROUBLE[0], TROUBLE[2], TROUBLE[4]])
def test_an_evaluation_survives_its_environments(action, said, tmp_path):
    backend = processes(step_seconds=SPLIT_SECOND if action == "hang" else 20.0)
    summary = evaluate(
        f"tests.rollout.trouble:{TROUBLE_ID}@train",
        Says(action),
        tasks=range(3),
        dialogue="plain",
        backend=backend,
        out=tmp_path / "run",
    )
    entry = summary.results[TROUBLE_ID]
    assert (entry["errors"], entry["scored"], entry["success_rate"]) == (1, 2, 1.0)
    failed = [one for one in read_trajectories(tmp_path / "run" / "trajectories.jsonl") if one.error]
    assert len(failed) == 1 and said in failed[0].error and failed[0].steps[-1].error == failed[0].error


def test_an_evaluation_survives_an_import_that_exits():
    with pytest.raises(EnvironmentFailure, match="exit code 7"):
        evaluate(f"tests.rollout.trouble:{EXITS_ID}@train", Says(), tasks=[0], backend=processes())


def test_evaluations_are_equal_inline_and_in_processes():
    results = [
        evaluate("alfworld@valid_seen", "random", episodes=4, backend=backend, limits=None, env_kwargs={"size": "small", "max_steps": 5})
        for backend in (EnvBackend(), processes())
    ]
    numbers = [[(one.task, one.score, one.steps) for one in summary.records] for summary in results]
    assert sorted(numbers[0]) == sorted(numbers[1])


def test_an_id_that_only_this_process_knows(monkeypatch):
    import gymnasium as gym

    gym.register("Test/OnlyHere-v0", entry_point="tests.toy:DoorsEnv")
    try:
        (episode,) = play(EnvRecipe("Test/OnlyHere-v0", chat=PLAIN), Says(), processes(), tasks=1)
    finally:
        del gym.registry["Test/OnlyHere-v0"]
    assert episode.success and episode.env_id == "Test/OnlyHere-v0"


def inline_with_notes(found, backend):
    """A backend of a user's own."""
    Path(os.environ["EMPG_GYM_TEST_NOTES"]).write_text(f"{found.env_id} {backend.step_seconds:g}")
    return found.make()


def test_a_backend_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.setenv("EMPG_GYM_TEST_NOTES", str(tmp_path / "notes"))
    backend = EnvBackend(name=f"{__name__}:inline_with_notes", step_seconds=4)
    assert play(recipe(), Says(), backend, tasks=1)[0].success
    assert (tmp_path / "notes").read_text() == f"{TOY_ID} 4"


@pytest.mark.parametrize(
    "options, sign",
    [
        ({"name": "process"}, "did you mean 'processes'"),
        ({"step_seconds": 0}, "step_seconds must be a number of seconds above 0"),
        ({"reset_seconds": float("nan")}, "reset_seconds must be"),
    ],
)
def test_wrong_backends(options, sign):
    with pytest.raises(ConfigError, match=sign):
        EnvBackend(**options)


def test_a_function_has_no_backend():
    with pytest.raises(ConfigError, match="needs an EnvRecipe"):
        Rollout(recipe().make, Says(), backend=processes())


def test_recipes_and_backends_are_picklable():
    for value in (recipe(length=4), processes(step_seconds=3)):
        assert pickle.loads(pickle.dumps(value)) == value


def test_a_process_whose_parent_is_killed_while_it_starts_says_nothing():
    ours, theirs = multiprocessing.Pipe()
    number = theirs.fileno()
    process = subprocess.Popen([sys.executable, "-c", _BOOT, str(number)], pass_fds=[number], stderr=subprocess.PIPE)
    theirs.close()
    ours.close()
    assert (process.communicate(timeout=300)[1], process.returncode) == (b"", 0)


def test_nothing_is_left_behind(tmp_path):
    child = tmp_path / "pid"
    env = processes().make(recipe(TROUBLE_ID, child=str(child)))
    env.reset(seed=0)
    pids = [env.text_env._worker.pid, int(child.read_text())]
    env.close()
    assert gone(pids)
    with pytest.raises(EnvironmentFailure, match="has been ended"):
        env.text_env.expert()


@pytest.mark.parametrize("busy", [False, True])
def test_processes_end_with_their_parent(busy):
    """A killed parent, while its environments wait or hang."""
    script = (
        "import os, signal, threading, time, tests.rollout.test_backends as t\n"
        "envs = [t.processes().make(t.recipe(t.TROUBLE_ID)) for _ in range(2)]\n"
        "[env.reset(seed=0) for env in envs]\n"
        "print(*[env.text_env._worker.pid for env in envs], flush=True)\n"
        f"if {busy}: threading.Thread(target=envs[0].step, args=('hang',), daemon=True).start(); time.sleep(0.5)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True, timeout=300
    )
    pids = [int(pid) for pid in done.stdout.split()]
    assert done.returncode == -signal.SIGKILL and len(pids) == 2, done.stderr
    assert gone(pids)


def gone(pids):
    """Whether the processes end; the system takes a moment after a kill."""
    deadline = time.monotonic() + 300
    while any(map(running, pids)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not any(map(running, pids))


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
