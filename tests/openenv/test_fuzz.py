"""Requests drawn from the API's own description, and messages that nobody would write: the server answers all and fails at none."""

from __future__ import annotations

import json

import gymnasium as gym
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

import empg_gym
from empg_gym.serve.websocket import Closed, WebSocket
from tests.openenv.serving import serving

CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def url():
    with serving("alfworld", max_sessions=8) as url:
        yield url


@pytest.fixture(scope="module")
def operations(url):
    api = schemathesis.openapi.from_url(f"{url}/openapi.json")
    found = [result.ok() for result in api.get_all_operations()]
    assert {"/reset", "/step", "/state", "/schema", "/health", "/{env_name}/task"} <= {operation.path for operation in found}
    return found


@given(st.data())
@settings(max_examples=150, derandomize=True, suppress_health_check=list(HealthCheck))
def test_no_described_request_is_a_server_error(operations, data):
    case = data.draw(data.draw(st.sampled_from(operations)).as_strategy())
    case.call_and_validate(checks=CHECKS, timeout=300)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=5), part, max_size=3),
    max_leaves=8,
)
KEYS = ("seed", "episode_id", "split", "task", "index", "action", "metadata", "jsonrpc", "method", "params")
DATA = st.fixed_dictionaries({}, optional=dict.fromkeys(KEYS, JSON))
MESSAGES = st.fixed_dictionaries(
    {}, optional={"type": st.sampled_from(["reset", "step", "state", "mcp", "fly"]) | JSON, "data": DATA | JSON}
)


@pytest.fixture(scope="module")
def witness(url):
    served, local = empg_gym.connect(url), gym.make("EMPG/ALFWorld-v0")
    yield served, local
    served.close()


@given(st.lists(MESSAGES | JSON, min_size=1, max_size=6))
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
def test_any_message_is_answered_or_ends_its_connection(url, witness, messages):
    served, local = witness
    assert served.reset(seed=1) == local.reset(seed=1)
    connection = WebSocket(url.replace("http", "ws") + "/ws", headers={}, seconds=300, max_bytes=1 << 26)
    try:
        for message in messages:
            connection.send(json.dumps(message))
            answer = json.loads(connection.receive(300))
            assert answer["type"] in ("observation", "state", "mcp", "error") and isinstance(answer["data"], dict)
    except Closed:
        pass
    finally:
        connection.close()
    assert served.step("look") == local.step("look")
