"""Rollouts: order, limits, retries, faults."""

from __future__ import annotations

import asyncio
import threading
import time

import gymnasium as gym
import numpy as np
import pytest

from empg_gym.agent_env import LLMAgentEnv
from empg_gym.errors import ConfigError, RowOverflowError, TaskError
from empg_gym.rollout import EpisodeSpec, Limits, Rollout, run_sync
from empg_gym.trajectory import Completion, StopReason, Trajectory
from tests.toy import TOY_ID, DoorsEnv


class Expert:
    """Plays by the environment's own expert, after `delay` seconds a turn; counts the episodes under way."""

    def __init__(self, delay: float = 0.0, **fields):
        self.delay, self.fields = delay, fields
        self.running = self.most = 0

    def session(self, env, seed):
        outer = self

        class Session:
            def __init__(self):
                outer.running += 1
                outer.most = max(outer.most, outer.running)

            async def act(self, messages, *, tools=None):
                await asyncio.sleep(outer.delay)
                return Completion(text=env.dialogue.render("", env.text_env.expert()), **outer.fields)

            def close(self):
                outer.running -= 1

        return Session()


class Says:
    """A plain synchronous agent without sessions."""

    def __init__(self, *replies):
        self.replies = list(replies)

    def act(self, messages, *, tools=None):
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, Exception):
            raise reply
        return reply


def make_env(**arguments):
    return lambda: LLMAgentEnv(gym.make(TOY_ID, **arguments), dialogue="plain")


def specs(count):
    return [EpisodeSpec(seed=number, task=number, group=number // 2, repeat=number % 2) for number in range(count)]


def test_trajectories_come_in_the_order_of_the_specs():
    trajectories = Rollout(make_env(), Expert()).run(specs(12))
    assert [trajectory.task for trajectory in trajectories] == [f"train-{number}" for number in range(12)]
    assert all(trajectory.success for trajectory in trajectories)
    assert [trajectory.group for trajectory in trajectories] == [number // 2 for number in range(12)]


def test_concurrency_is_bounded_and_used_and_sessions_are_closed():
    agent = Expert(delay=0.001)
    Rollout(make_env(), agent, concurrency=4).run(specs(12))
    assert agent.most == 4
    assert agent.running == 0


def test_environments_that_do_io_wait_as_many_at_once_as_there_are_episodes():
    together = threading.Barrier(32)

    class Blocking(DoorsEnv):
        does_io = True

        def _apply(self, action):
            together.wait(timeout=300)
            return super()._apply(action)

    rollout = Rollout(lambda: LLMAgentEnv(Blocking(), dialogue="plain"), Expert(), concurrency=32, retries=0)
    trajectories = rollout.run(specs(32))
    rollout.close()
    assert [trajectory.error for trajectory in trajectories] == [None] * 32


def test_equal_specs_give_equal_episodes_and_repeats_differ_in_the_agent_seed():
    assert EpisodeSpec(seed=3, repeat=1).agent_seed == EpisodeSpec(seed=3, repeat=1).agent_seed
    assert len({EpisodeSpec(seed=seed, repeat=repeat).agent_seed for seed in range(10) for repeat in range(10)}) == 100


@pytest.mark.parametrize(
    ("limits", "agent", "reason", "turns"),
    [
        (Limits(max_steps=2), Says("open door 9"), StopReason.STEP_LIMIT, 2),
        (Limits(), Says("open door 9"), StopReason.STEP_LIMIT, 10),
        (Limits(), Says(Completion(text="open", finish_reason="length")), StopReason.RESPONSE_TOKENS, 1),
        (Limits(end_on_cut_response=False, max_steps=3), Says(Completion(text="open", finish_reason="length")), StopReason.STEP_LIMIT, 3),
        (
            Limits(max_row_tokens=3),
            Says(Completion(text="open", finish_reason="length", token_ids=np.array([1, 2, 3]))),
            StopReason.ROW_TOKENS,
            1,
        ),
        (Limits(max_seconds=1e-9), Says("open door 9"), StopReason.TIME_LIMIT, 0),
        (Limits(), Says(Completion(text="", stop=True)), StopReason.AGENT_STOPPED, 0),
        (Limits(), Says(Completion(text="open door 9"), RowOverflowError("full")), StopReason.ROW_TOKENS, 1),
        (Limits(), Says(RowOverflowError("full")), StopReason.ERROR, 1),  # the failed step is recorded
    ],
)
def test_each_limit_has_its_reason(limits, agent, reason, turns):
    (trajectory,) = Rollout(make_env(), agent, limits=limits).run(specs(1))
    assert trajectory.stop_reason is reason
    assert len(trajectory.steps) == turns


def test_row_tokens_are_counted_by_row():
    import numpy as np

    ids = np.arange(5, dtype=np.int32)
    agent = Says(Completion(text="open door 9", prompt_token_ids=ids, token_ids=ids))
    (trajectory,) = Rollout(make_env(), agent, limits=Limits(max_row_tokens=30)).run(specs(1))
    assert trajectory.stop_reason is StopReason.ROW_TOKENS
    assert len(trajectory.steps) == 3
    fresh = Says(Completion(text="open door 9", prompt_token_ids=ids, token_ids=ids, new_row=True))
    (trajectory,) = Rollout(make_env(), fresh, limits=Limits(max_row_tokens=30)).run(specs(1))
    assert trajectory.stop_reason is StopReason.STEP_LIMIT


def test_a_slow_agent_is_cut_off():
    began = time.monotonic()
    (trajectory,) = Rollout(make_env(), Expert(delay=30), limits=Limits(max_seconds=0.05)).run(specs(1))
    assert trajectory.stop_reason is StopReason.TIME_LIMIT
    assert time.monotonic() - began < 20


def test_a_failed_episode_is_retried_then_recorded_and_the_others_continue():
    rollout = Rollout(make_env(fail_on="open door 1"), Expert(), retries=2)
    trajectories = rollout.run(specs(8))
    failed = [trajectory for trajectory in trajectories if trajectory.stop_reason is StopReason.ERROR]
    assert failed
    assert len(failed) < 8
    for trajectory in failed:
        assert trajectory.attempts == 3
        assert "the door fell off" in trajectory.error
        assert not trajectory.success
    rollout.close()


def test_the_last_step_of_a_failed_episode_says_what_failed():
    """The environment fails after a response, the agent before one."""
    rollout = Rollout(make_env(fail_on="open door 4"), Says(Completion(text="open door 4", policy_version=3)), retries=0)
    (trajectory,) = rollout.run(specs(1))
    (step,) = trajectory.steps
    assert step.error == trajectory.error == "RuntimeError: the door fell off"
    assert (step.response, step.action, step.policy_version) == ("open door 4", "open door 4", 3)
    assert step.observation.startswith("Room 1.") and len(step.admissible_actions) == 4
    assert Trajectory.from_json(trajectory.to_json()) == trajectory

    class Fails(Says):
        def act(self, messages, *, tools=None):
            if len(messages) > 2:
                raise OSError("no power")
            return "open door 9"

    (trajectory,) = Rollout(make_env(), Fails(""), retries=0).run(specs(1))
    first, last = trajectory.steps
    assert (first.error, first.response) == (None, "open door 9")
    assert (last.error, last.response, last.action, last.malformed) == ("OSError: no power", "", "", False)


def test_a_retry_recovers_from_a_transient_fault():
    made = []

    def make():
        env = make_env(fail_on=None if made else "open door 1")()
        made.append(env)
        return env

    task = next(number for number in range(50) if (number * 7) % 4 == 0)
    (trajectory,) = Rollout(make, Expert()).run([EpisodeSpec(seed=0, task=task)])
    assert trajectory.success
    assert trajectory.attempts == 2


def test_an_environment_that_cannot_be_made_is_an_error_of_its_episode():
    def broken():
        raise RuntimeError("no room for another browser")

    (trajectory,) = Rollout(broken, Expert()).run(specs(1))
    assert trajectory.stop_reason is StopReason.ERROR
    assert "no room" in trajectory.error
    assert trajectory.attempts == 2


def test_an_agent_that_returns_nonsense_is_an_error_of_the_episode():
    (trajectory,) = Rollout(make_env(), Says(42)).run(specs(1))
    assert trajectory.stop_reason is StopReason.ERROR
    assert "Completion" in trajectory.error


class Counted(DoorsEnv):
    """Keeps account of its instances in `made` and `closed`, which each test gives to a subclass of its own."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.made.append(self)

    def close(self):
        self.closed.append(self)
        super().close()


def counted(**members):
    """Return a subclass of `Counted` with lists of its own, and what makes its environments."""
    kind = type("Own", (Counted,), {"made": [], "closed": [], **members})
    return kind, lambda: LLMAgentEnv(kind(), dialogue="plain")


def test_errors_while_closing_are_warnings_only(caplog):
    def close(self):
        self.closed.append(self)
        raise OSError("the browser is gone")

    def apply(self, action):
        if self.task == "train-1":
            raise RuntimeError("the door fell off")
        return DoorsEnv._apply(self, action)

    kind, make = counted(close=close, _apply=apply)
    rollout = Rollout(make, Expert(delay=0.001), concurrency=4)
    trajectories = rollout.run(specs(4))
    assert [trajectory.success for trajectory in trajectories] == [True, False, True, True]
    assert "the door fell off" in trajectories[1].error
    rollout.close()
    assert set(kind.closed) == set(kind.made) and len(kind.closed) == len(kind.made) == 5
    assert caplog.text.count("the browser is gone") == 5


def test_a_session_that_cannot_be_closed_does_not_affect_its_episode(caplog):
    class Stuck(Expert):
        def session(self, env, seed):
            session = super().session(env, seed)
            session.close = lambda: 1 / 0
            return session

    (trajectory,) = Rollout(make_env(), Stuck()).run(specs(1))
    assert (trajectory.success, trajectory.attempts) == (True, 1)
    assert "ZeroDivisionError" in caplog.text


def test_environments_of_cancelled_episodes_are_closed():
    class OneIsWrong(Expert):
        def session(self, env, seed):
            return Says(ConfigError("no such model")) if env.trajectory.task == "train-3" else super().session(env, seed)

    kind, make = counted()
    rollout = Rollout(make, OneIsWrong(delay=30), concurrency=4)
    with pytest.raises(ConfigError, match="no such model"):
        rollout.run(specs(4))
    rollout.close()
    assert len(kind.made) == 4 and set(kind.closed) == set(kind.made)


def test_a_cancelled_step_does_not_delay_the_end_and_its_environment_is_closed_after_it():
    begun, may_end, closed = (threading.Event() for _ in range(3))
    events = []

    def apply(self, action):
        begun.set()
        may_end.wait(20)
        events.append("step ended")
        return DoorsEnv._apply(self, action)

    def close(self):
        events.append("closed")
        closed.set()

    _, make = counted(does_io=True, _apply=apply, close=close)
    rollout = Rollout(make, Expert())

    async def cancelled():
        playing = asyncio.create_task(anext(rollout.stream(specs(1))))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)

    asyncio.run(cancelled())
    rollout.close()
    still_under_way = not events
    may_end.set()
    assert still_under_way
    assert closed.wait(20)
    assert events == ["step ended", "closed"]


def test_user_errors_abort_the_run():
    with pytest.raises(TaskError):
        Rollout(make_env(), Expert()).run([EpisodeSpec(seed=0, task="train-999")])
    with pytest.raises(ConfigError):
        Rollout(make_env(), Expert(), concurrency=0)


def test_a_rollout_runs_inside_a_running_event_loop():
    async def notebook():
        return Rollout(make_env(), Expert()).run(specs(2))

    assert all(trajectory.success for trajectory in asyncio.run(notebook()))


def test_a_result_is_never_formatted():
    """asyncio.run formats the result of its task; that of a training step holds thousands of arrays."""

    class Large:
        def __repr__(self):
            raise AssertionError("formatted")

    async def work():
        return Large()

    assert isinstance(run_sync(work()), Large)
