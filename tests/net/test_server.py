"""The server of all services against hostile clients, over real sockets: nothing that one client does keeps others from being answered."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from contextlib import contextmanager

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from empg_gym.errors import ConfigError, EnvironmentFailure
from empg_gym.net.server import HELD, BackgroundServer, ServerLimits, listen, make_server

LARGE = 16 << 20
HEAD = "POST /echo HTTP/1.1\r\nHost: 127.0.0.1\r\n"


async def echo(request):
    return JSONResponse({"bytes": len(await request.body())})


async def large(request):
    return Response(bytes(LARGE))


async def health(request):
    return JSONResponse({"status": "ok"})


APP = Starlette(routes=[Route("/echo", echo, methods=["POST"]), Route("/large", large), Route("/health", health)])


@contextmanager
def serving(app=APP, names=(), forms=False, **limits):
    server = make_server(app, limits=ServerLimits(**limits), names=names, forms=forms, log_level="critical", shutdown_seconds=1)
    running = BackgroundServer(server, listen("127.0.0.1", 0))
    try:
        yield running.port, server
    finally:
        running.close()


def _connected(port):
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    found.settimeout(20)
    found.connect(("127.0.0.1", port))
    return found


@contextmanager
def connections(port, count, data):
    """Open connections that send `data` and nothing else."""
    with contextlib.ExitStack() as held:
        opened = [held.enter_context(_connected(port)) for _ in range(count)]
        for one in opened:
            with contextlib.suppress(OSError):  # the server may have closed it
                one.sendall(data)
        yield opened


def answers(port):
    """Whether the server answers others, quickly enough not to have waited for a limit of the attackers."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=8) as client:
        return client.get("/health").status_code == 200 and client.post("/echo", json=[1]).json() == {"bytes": 3}


def ended(connection):
    """Read until the server closes the connection; return what it sent."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(1 << 16):
            received += part
    return received


@pytest.mark.parametrize("sent", [b"", b"GET", b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ", HEAD.encode()[:-2]])
def test_half_sent_headers_are_closed_and_block_nobody(sent):
    with serving(head_seconds=0.5, max_connections=24) as (port, _), connections(port, 60, sent) as opened:
        assert answers(port)
        assert [ended(one) for one in opened] == [b""] * 60


def test_headers_that_drip_are_closed():
    with serving(head_seconds=0.4) as (port, _), connections(port, 1, b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ") as (one,):
        with pytest.raises(OSError):
            for _ in range(400):
                one.sendall(b"x")
                time.sleep(0.02)
        assert answers(port)


def test_headers_without_an_end_are_refused():
    with serving() as (port, _), connections(port, 1, b"GET /health HTTP/1.1\r\nX: " + b"x" * (1 << 20)) as (one,):
        ended(one)
        assert answers(port)


def test_260_unfinished_bodies_block_nobody_and_are_answered():
    with serving(body_seconds=1.5) as (port, _), connections(port, 260, f"{HEAD}Content-Length: 100\r\n\r\n{{".encode()) as opened:
        assert answers(port)
        assert all(ended(one).startswith(b"HTTP/1.1 408") for one in opened)


@pytest.mark.parametrize("request_", [f"{HEAD}Content-Length: 100\r\n\r\n{{", "GET /large HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"])
def test_more_clients_than_connections_block_nobody(request_):
    with serving(max_connections=16, send_seconds=5.0) as (port, server), connections(port, 40, request_.encode()):
        assert answers(port)
        assert len(server.server_state.connections) <= 20


def test_a_body_that_drips_is_refused():
    with serving(body_seconds=0.4) as (port, _), connections(port, 1, f"{HEAD}Content-Length: 1000\r\n\r\n".encode()) as (one,):
        with contextlib.suppress(OSError):
            for _ in range(40):
                one.sendall(b"x")
                time.sleep(0.02)
        assert answers(port)
        assert b"408" in ended(one)[:20]


def test_unfinished_bodies_hold_a_bounded_number_of_bytes():
    """32 clients send 1 MB of 2 MB each, 8 MB are allowed: those that stall make room for others."""
    body = f"{HEAD}Content-Length: {2 << 20}\r\n\r\n".encode() + bytes(1 << 20)
    with serving(max_bytes=8 << 20, stall_seconds=0.2) as (port, server), connections(port, 32, body):
        ledger = server.config.app._ledger
        for _ in range(20):
            assert ledger.held <= 8 << 20
            time.sleep(0.01)
        assert answers(port)
        reply = httpx.post(f"http://127.0.0.1:{port}/echo", content=bytes(3 << 20), timeout=300, trust_env=False)
        assert reply.json() == {"bytes": 3 << 20}


@pytest.mark.parametrize("head", ["Content-Length: 99999999999999999999\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n"])
def test_a_body_that_is_too_large_is_refused_before_it_is_read(head):
    with serving(max_body=1 << 20) as (port, _), connections(port, 1, (HEAD + head).encode()) as (one,):
        with contextlib.suppress(OSError):
            for _ in range(400):
                one.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        assert answers(port)


@pytest.mark.parametrize("host", ["127.0.0.1", "elsewhere.invalid"])
def test_a_client_that_sends_its_whole_request_first_sees_the_refusal(host):
    """Nothing of the request is left unread, so that the connection is not reset before the client reads the answer."""
    head = f"POST /echo HTTP/1.1\r\nHost: {host}\r\nContent-Length: {32 << 20}\r\n\r\n"
    with serving(max_body=1 << 20) as (port, _), connections(port, 1, head.encode()) as (one,):
        one.settimeout(300)
        one.sendall(bytes(32 << 20))
        answer = b""
        while part := one.recv(1 << 16):
            answer += part
    assert answer.startswith(b"HTTP/1.1 4") and answer.endswith(b"}")


def queued(server):
    """Return the bytes in the send buffers of all connections."""
    return sum(one.transport.get_write_buffer_size() for one in list(server.server_state.connections))


def test_16_clients_that_never_read_hold_a_bounded_number_of_bytes():
    request = b"GET /large HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with serving(max_bytes=40 << 20, stall_seconds=0.2, send_seconds=1.0) as (port, server), connections(port, 16, request) as opened:
        most, end = 0, time.monotonic() + 0.5
        while time.monotonic() < end:
            most = max(most, queued(server) + server.config.app._ledger.held)
            time.sleep(0.01)
        assert most <= (40 << 20) + 16 * (1 << 18)
        assert answers(port)
        assert len(httpx.get(f"http://127.0.0.1:{port}/large", timeout=300, trust_env=False).content) == LARGE
        end = time.monotonic() + 300
        while server.config.app._ledger.held and time.monotonic() < end:
            time.sleep(0.01)
        assert all(len(ended(one)) < LARGE for one in opened), "each was cut off or refused"


def test_a_client_that_reads_slowly_gets_its_reply():
    """It takes longer than the limit of one piece, in all."""
    request = b"GET /large HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    with serving(send_seconds=1.0) as (port, _), connections(port, 1, request) as (one,):
        received = 0
        while part := one.recv(1 << 18):
            received += len(part)
            time.sleep(0.03)
        assert received > LARGE


def test_a_reply_is_refused_where_there_is_no_room_for_it():
    with serving(max_bytes=1 << 20, stall_seconds=0.1) as (port, _):
        reply = httpx.get(f"http://127.0.0.1:{port}/large", trust_env=False, timeout=300)
        assert (reply.status_code, reply.headers["Retry-After"]) == (503, "1")


def test_what_an_application_holds_for_a_reply_counts():
    async def held(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [], HELD: int(scope["path"][1:])})
        await send({"type": "http.response.body", "body": b"x"})

    with serving(held, max_bytes=1 << 20, stall_seconds=0.1) as (port, _):
        assert [httpx.get(f"http://127.0.0.1:{port}/{count}", trust_env=False, timeout=300).status_code for count in (1000, 2 << 20)] == [
            200,
            503,
        ]


def test_a_reply_in_pieces_is_cut_where_there_is_no_room_for_the_next():
    async def growing(request):
        return StreamingResponse(iter([bytes(1 << 10), bytes(2 << 20)]))

    with serving(Starlette(routes=[*APP.routes, Route("/growing", growing)]), max_bytes=1 << 20, stall_seconds=0.1) as (port, _):
        with pytest.raises(httpx.RemoteProtocolError, match="without sending complete"):
            httpx.get(f"http://127.0.0.1:{port}/growing", trust_env=False, timeout=300)
        assert answers(port)


def test_the_send_buffer_of_a_connection_is_bounded():
    with serving() as (port, server), connections(port, 1, b""):
        deadline = time.monotonic() + 300
        while not server.server_state.connections and time.monotonic() < deadline:
            time.sleep(0.01)
        (one,) = server.server_state.connections
        assert one.transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 512 << 10


def test_connections_are_reused_and_pipelined():
    with serving() as (port, _):
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            assert [client.post("/echo", content=bytes(size)).json()["bytes"] for size in (0, 10, 200_000)] == [0, 10, 200_000]
        request = f"{HEAD}Content-Length: 3\r\n\r\nabc"
        with connections(port, 1, (request * 2 + request.replace("Host", "Connection: close\r\nHost")).encode()) as (one,):
            assert ended(one).count(b'{"bytes":3}') == 3


def test_a_client_that_leaves_is_forgotten():
    with serving() as (port, server):
        for _ in range(5):
            with connections(port, 4, f"{HEAD}Content-Length: 100\r\n\r\n".encode() + bytes(50)):
                pass
        assert answers(port)
        deadline = time.monotonic() + 300
        while (server.config.app._ledger.held or len(server.server_state.connections)) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (server.config.app._ledger.held, len(server.server_state.connections)) == (0, 0)


@pytest.mark.parametrize(
    "method, headers, status",
    [
        ("GET", {}, 200),
        ("GET", {"Host": "localhost:9"}, 200),
        ("GET", {"Host": "[::1]:8000"}, 200),
        ("GET", {"Host": "10.1.2.3"}, 200),
        ("GET", {"Host": "search.cluster.local:8000"}, 200),
        ("GET", {"Host": "evil.example"}, 421),
        ("GET", {"Host": "evil.example:8000"}, 421),
        ("GET", {"Host": "127.0.0.1.evil.example"}, 421),
        ("GET", {"Host": "localhost.evil.example"}, 421),
        ("GET", {"Host": ""}, 421),
        ("GET", {"Origin": "http://evil.example"}, 403),
        ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 200),
        ("GET", {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}, 200),
        ("POST", {"Content-Type": "application/json"}, 200),
        ("POST", {}, 200),
        ("POST", {"Origin": "http://HERE"}, 200),
        ("POST", {"Origin": "null"}, 403),
        ("POST", {"Origin": "http://evil.example"}, 403),
        ("POST", {"Origin": "http://127.0.0.1:1"}, 403),
        ("POST", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 403),
        ("POST", {"Sec-Fetch-Site": "same-site"}, 403),
        ("POST", {"Content-Type": "text/plain"}, 415),
        ("POST", {"Content-Type": "text/plain;charset=UTF-8"}, 415),
        ("POST", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ("POST", {"Content-Type": "multipart/form-data; boundary=x"}, 415),
    ],
)
def test_pages_of_other_sites_are_refused(gated, method, headers, status):
    here = gated.removeprefix("http://")
    headers = {name: value.replace("HERE", here) for name, value in headers.items()}
    path = "/health" if method == "GET" else "/echo"
    reply = httpx.request(method, gated + path, headers=headers, content=None if method == "GET" else b"{}", trust_env=False, timeout=300)
    assert reply.status_code == status
    assert status == 200 or set(json.loads(reply.content)) == {"error"}


@pytest.fixture(scope="module")
def gated():
    with serving(names=["search.cluster.local"]) as (port, _):
        yield f"http://127.0.0.1:{port}"


def test_a_server_behind_a_proxy_answers_for_every_name_but_not_for_other_sites():
    with serving(names=["*"]) as (port, _):
        for headers, status in (({}, 200), ({"Origin": "http://evil.example"}, 403), ({"Origin": "https://any.example"}, 200)):
            url = f"http://127.0.0.1:{port}/health"
            assert httpx.get(url, headers={"Host": "any.example", **headers}, trust_env=False, timeout=300).status_code == status


def test_a_server_of_forms_accepts_them_from_its_own_pages_only():
    with serving(forms=True) as (port, _):
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        for origin, status in ((f"http://127.0.0.1:{port}", 200), ("http://evil.example", 403), ("null", 403)):
            reply = httpx.post(
                f"http://127.0.0.1:{port}/echo", content=b"a=b", headers={**form, "Origin": origin}, trust_env=False, timeout=300
            )
            assert reply.status_code == status


def test_an_application_that_fails_is_answered_and_the_server_goes_on():
    async def broken(request):
        raise RuntimeError("no")

    with serving(Starlette(routes=[*APP.routes, Route("/broken", broken)])) as (port, _):
        assert httpx.get(f"http://127.0.0.1:{port}/broken", trust_env=False, timeout=300).status_code == 500
        assert answers(port)


def test_addresses_and_ports_that_cannot_be_used():
    taken = listen("127.0.0.1", 0)
    taken.listen()
    with pytest.raises(EnvironmentFailure, match="choose another port"):
        listen("127.0.0.1", taken.getsockname()[1])
    taken.close()
    with pytest.raises(ConfigError, match="not an address of this machine"):
        listen("nowhere.invalid", 0)


def test_the_limits_hold_in_any_asgi_server():
    """Without uvicorn's protocol: the application alone bounds bodies and refuses foreign hosts."""
    app = make_server(APP, limits=ServerLimits(max_body=10)).config.app
    sent = []

    async def receive():
        return {"type": "http.request", "body": bytes(1 << 20), "more_body": True}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/echo", "headers": [(b"host", b"127.0.0.1")]}
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 413
