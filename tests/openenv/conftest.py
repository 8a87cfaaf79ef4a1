from __future__ import annotations

import pytest

from tests.openenv.serving import BENCHMARKS, serving


@pytest.fixture(scope="session")
def server():
    with serving(max_sessions=64) as url:
        yield url


@pytest.fixture(scope="session", params=BENCHMARKS)
def benchmark(request, server):
    """Name, id and address of each benchmark."""
    return request.param, BENCHMARKS[request.param], f"{server}/{request.param}"
