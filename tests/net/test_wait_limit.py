"""The time limit of many waits: what a wait returns, when it is over, and that other cancellations pass."""

from __future__ import annotations

import asyncio

import pytest

from empg_gym.net.wait_limit import WaitLimit


async def _value(seconds, value):
    await asyncio.sleep(seconds)
    return value


def test_waits_below_the_limit_return_and_share_one_timer():
    async def main():
        limit = WaitLimit(300)
        timers = set()
        for number in range(50):
            assert await limit.wait(_value(0, number)) == number
            timers.add(limit._timer)
        limit.close()
        return timers

    timers = asyncio.run(main())
    assert len(timers) == 1 and timers.pop().cancelled()


def test_the_limit_counts_from_the_start_of_each_wait():
    async def main():
        loop, passed = asyncio.get_running_loop(), 0.0
        real = loop.time
        loop.time = lambda: real() + passed
        limit = WaitLimit(1000)
        for _ in range(3):  # 2,700 seconds in all
            gate = asyncio.Event()
            waiting = asyncio.create_task(limit.wait(gate.wait()))
            await asyncio.sleep(0)
            passed += 900
            for _ in range(3):
                await asyncio.sleep(0)
            gate.set()
            assert await waiting is True
        late = asyncio.create_task(limit.wait(asyncio.Event().wait()))
        await asyncio.sleep(0)
        passed += 1001
        with pytest.raises(TimeoutError):
            await late
        assert late.cancelling() == 0
        assert await limit.wait(_value(0, "afterwards")) == "afterwards"
        limit.close()

    asyncio.run(main())


def test_two_tasks_may_wait_at_the_same_time():
    async def main():
        limit = WaitLimit(0.1)
        never = asyncio.Event()
        outcomes = await asyncio.gather(*(limit.wait(never.wait()) for _ in range(3)), return_exceptions=True)
        limit.close()
        return outcomes

    assert [type(outcome) for outcome in asyncio.run(main())] == [TimeoutError] * 3


def test_a_cancellation_from_elsewhere_passes():
    async def main():
        limit = WaitLimit(300)
        task = asyncio.create_task(limit.wait(asyncio.Event().wait()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        limit.close()

    asyncio.run(main())


def test_errors_pass():
    async def fails():
        raise OSError("broken")

    async def main():
        limit = WaitLimit(300)
        with pytest.raises(OSError, match="broken"):
            await limit.wait(fails())
        limit.close()

    asyncio.run(main())
