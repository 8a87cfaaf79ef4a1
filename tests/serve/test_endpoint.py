"""The endpoint /sessions against wrong and hostile clients, over real sockets: nobody else notices."""

from __future__ import annotations

import json
import os
import socket
import tempfile
import time

import gymnasium as gym
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.exceptions import InvalidStatus

import empg_gym
from empg_gym.errors import ConfigError, EnvironmentFailure
from empg_gym.net.server import _MAX_HEAD
from empg_gym.recipe import EnvRecipe
from empg_gym.serve.client import Sessions, unpack, websocket_url
from empg_gym.serve.host import EnvHost
from empg_gym.serve.session import Session
from empg_gym.serve.settings import ServerSettings, SessionLimits
from empg_gym.serve.slots import SessionSlots, shared_bytes
from empg_gym.serve.token import token_for
from empg_gym.serve.websocket import Closed, WebSocket
from empg_gym.serve.workers import SharedListener
from tests.serve.serving import serving


@pytest.fixture(scope="module")
def server():
    with serving(max_message=1 << 16, max_calls=8) as (url, slots):
        yield url, slots


def _socket(url):
    return WebSocket(websocket_url(url), headers={}, seconds=300, max_bytes=1 << 26)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("{", "not JSON"),
        ("", "not JSON"),
        ("[" * 60_000, "not JSON"),
        ('{"calls": [[1' + "0" * 6000 + ', "open", []]]}', "not JSON"),
        ("[]", "must be an object"),
        ('{"calls": {}}', "must be an object"),
        ('{"calls": [[0, "open"]]}', "a call must be"),
        ('{"calls": [["0", "open", []]]}', "a call must be"),
        ('{"calls": [[0, "open", {}]]}', "a call must be"),
        (json.dumps({"calls": [[0, "close", []]] * 9}), "may have 8 calls, not 9"),
    ],
)
def test_a_malformed_message_gets_a_sentence_and_the_connection_stays(server, message, said):
    connection = _socket(server[0])
    connection.send(message)
    assert said in json.loads(connection.receive(300))["error"]
    connection.send('{"calls": []}')
    assert json.loads(connection.receive(300)) == {"results": []}
    connection.close()


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda part: st.lists(part, max_size=3), max_leaves=6)


@given(
    st.lists(
        st.tuples(
            st.integers(-1, 2), st.sampled_from(["open", "reset", "step", "get", "task_id", "close", "x"]), st.lists(JSON, max_size=2)
        )
    )
)
@settings(max_examples=100)
def test_any_call_has_a_result_in_its_place(server, calls):
    sessions = Sessions(server[0])
    try:
        sessions.send([(number, name, list(arguments)) for number, name, arguments in calls[:8]])
        results = sessions.receive()
        assert len(results) == len(calls[:8])
        for result in results:
            assert result[0] == "ok" or (result[0] == "error" and result[1] in ("ConfigError", "TaskError")), result
    finally:
        sessions.close()


def test_an_oversized_message_ends_its_connection_alone(server):
    env = empg_gym.connect(server[0])
    env.reset(seed=0)
    connection = _socket(server[0])
    connection.send('{"calls": [[0, "open", [null]]]}')
    assert json.loads(connection.receive(300))["results"] == [["ok", None]]
    with pytest.raises(Closed) as closed:
        connection.send("x" * (1 << 17))
        connection.receive(300)
    assert closed.value.code in (1009, None)
    env.step("look")
    env.close()
    _until(lambda: server[1].open == 0)


def test_connections_that_are_cut_free_their_sessions(server):
    url, slots = server
    connections = []
    for number in range(20):
        sessions = Sessions(url)
        sessions.send([(0, "open", [None]), (1, "open", [None])])
        sessions.receive()
        connections.append(sessions)
        if number % 2:
            sessions.send([(0, "reset", [1, None])])  # cut in the middle of a call
    assert slots.open == 40
    for sessions in connections:
        inner = sessions._socket._socket
        inner.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset instead of a farewell
        inner.close()
    _until(lambda: slots.open == 0)


def test_a_client_that_does_not_read_is_cut_off_and_others_are_served():
    with serving(send_seconds=0.3, max_calls=512) as (url, slots):
        other = empg_gym.connect(url)
        other.reset(seed=0)
        slow = Sessions(url)
        slow.ask(0, "open", None)
        slow.ask(0, "reset", 0, None)
        slow._socket._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with pytest.raises((EnvironmentFailure, OSError)):
            for _ in range(10_000):
                slow.send([(0, "get", ["render"]), *[(0, "step", ["look"])] * 500])
                other.step("look")
                if other.unwrapped._truncated:
                    other.reset(seed=0)
        _until(lambda: slots.open == 1)
        other.close()
        slow.close()


def test_handshakes_that_never_come_and_garbage_are_closed(server):
    host, port = "127.0.0.1", int(server[0].rpartition(":")[2])
    for data in (b"\0" * 100, b"GET /sessions HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * (2 * _MAX_HEAD)):
        with socket.create_connection((host, port), timeout=300) as raw:
            raw.sendall(data)
            while raw.recv(1 << 16):
                pass
    empg_gym.connect(server[0]).close()


def test_pages_of_other_sites_can_not_open_a_websocket(server):
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        with pytest.raises(InvalidStatus, match="HTTP 403"):
            WebSocket(websocket_url(server[0]), headers=headers, seconds=300, max_bytes=1 << 20)


def test_many_sessions_in_one_message_equal_single_ones():
    with serving() as (url, slots):
        sessions = Sessions(url)
        count = 40
        sessions.send([(number, "open", [None]) for number in range(count)])
        assert sessions.receive() == [["ok", None]] * count and slots.open == count
        sessions.send([(number, "reset", [number, None]) for number in range(count)])
        starts = [unpack(result) for result in sessions.receive()]
        local = gym.make("EMPG/ALFWorld-v0")
        for number, start in enumerate(starts):
            assert tuple(start) == local.reset(seed=number)
        action = starts[-1][1]["admissible_actions"][0]
        sessions.send([(count - 1, "step", [action]), (7, "step", ["look"]), (count - 1, "step", ["look"])])
        results = [tuple(unpack(result)) for result in sessions.receive()]
        assert [results[0], results[2]] == [local.step(action), local.step("look")]
        sessions.close()
        _until(lambda: slots.open == 0)


def test_only_sessions_that_fit_are_opened():
    with serving(max_sessions=3) as (url, slots):
        sessions = Sessions(url)
        sessions.send([(number, "open", [None]) for number in range(5)])
        assert [result[0] for result in sessions.receive()] == ["ok", "ok", "ok", "error", "error"]
        with pytest.raises(ConfigError, match="session 0 is open already"):
            sessions.ask(0, "open", None)
        sessions.ask(0, "close")
        assert slots.open == 2
        sessions.ask(4, "open", None)
        assert slots.open == 3
        sessions.ask(4, "close")
        with pytest.raises(ConfigError, match="did you mean 'train'"):
            sessions.ask(7, "open", "trian")
        assert slots.open == 2
        sessions.close()


def test_slots_are_shared_by_processes():
    with tempfile.TemporaryFile() as file:
        file.write(shared_bytes(3))
        file.flush()
        workers = [SessionSlots(4, workers=3, worker=number, file=file.fileno()) for number in range(3)]
        for slots in workers:
            slots.enter()
        assert all(workers[number].acquire() for number in (0, 1, 2, 2))
        assert not workers[0].acquire() and workers[1].open == 4
        if (child := os.fork()) == 0:
            workers[2].release()
            os._exit(0)
        os.waitpid(child, 0)
        assert workers[0].open == 3
        workers[0].clear(2)
        assert workers[0].open == 2 and workers[1].acquire()
        assert [slots.is_ahead for slots in workers] == [False, True, False]  # of those that serve


def test_a_worker_with_more_sessions_leaves_a_connection_to_another_for_a_moment():
    with tempfile.TemporaryFile() as file, SharedListener() as listener:
        file.write(shared_bytes(2))
        file.flush()
        here, there = (SessionSlots(4, workers=2, worker=number, file=file.fileno()) for number in range(2))
        here.enter()
        there.enter()
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        listener.slots = here
        for count in range(2):
            with socket.create_connection(listener.getsockname()):
                refused = 0
                while True:
                    try:
                        listener.accept()[0].close()
                        break
                    except BlockingIOError:
                        refused += 1
                assert (refused > 0) == (count > 0)
            here.acquire()


@pytest.mark.parametrize("field", ["max_sessions", "idle_seconds", "max_message", "max_calls"])
def test_limits_are_checked(field):
    with pytest.raises(ConfigError, match=field):
        SessionLimits(**{field: 0})


def test_settings_are_checked():
    with pytest.raises(ConfigError, match="at least one environment"):
        ServerSettings(recipes={})
    with pytest.raises(ConfigError, match="workers"):
        ServerSettings(recipes={"a": EnvRecipe("EMPG/ALFWorld-v0")}, workers=0)


def test_who_needs_a_token(monkeypatch):
    monkeypatch.delenv("EMPG_GYM_TOKEN", raising=False)
    for host in ("127.0.0.1", "::1", "localhost", "127.1.2.3"):
        assert token_for(host, None) == (None, False)
    for host in ("0.0.0.0", "::", "10.0.0.1", "somewhere"):
        token, made = token_for(host, None)
        assert made and len(token) > 30 and token != token_for(host, None)[0]
        assert token_for(host, False) == (None, False)
    monkeypatch.setenv("EMPG_GYM_TOKEN", "x" * 16)
    assert token_for("127.0.0.1", None) == token_for("0.0.0.0", True) == ("x" * 16, False)
    monkeypatch.setenv("EMPG_GYM_TOKEN", "short")
    with pytest.raises(ConfigError, match="at least 16"):
        token_for("0.0.0.0", None)


def test_an_environment_that_waits_is_stepped_in_threads(monkeypatch):
    import threading

    together = threading.Barrier(3)
    answer = Session.answer

    def waits(self, name, arguments):
        if name == "step":
            together.wait(300)  # passes only if three sessions step at the same time
        return answer(self, name, arguments)

    monkeypatch.setattr(Session, "answer", waits)
    monkeypatch.setattr("empg_gym.env.TextEnv.does_io", property(lambda self: True))
    with serving() as (url, _):
        sessions = Sessions(url, seconds=300)
        sessions.send([(number, "open", [None]) for number in range(3)])
        sessions.receive()
        sessions.send([(number, "reset", [number, None]) for number in range(3)])
        sessions.receive()
        sessions.send([(number, "step", ["look"]) for number in range(3)])
        assert [result[0] for result in sessions.receive()] == ["ok"] * 3
        sessions.close()


def test_a_description_has_what_a_client_needs():
    described = EnvHost("alfworld", EnvRecipe("EMPG/ALFWorld-v0", {"split": "valid_seen"})).describe()
    assert (described["split"], described["benchmark"], described["kwargs"]) == ("valid_seen", "ALFWorld", {"split": "valid_seen"})
    json.dumps(described)


def _until(condition):
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
