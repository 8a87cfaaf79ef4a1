"""The page guard in use: connections, redirects, proxies and denied sites; no test here touches a network but loopback."""

from __future__ import annotations

import socket
import threading

import pytest

from empg_gym.envs.deepsearch.web import Fetcher, PageGuard
from empg_gym.envs.deepsearch.web.deny import BENCHMARK_MIRRORS, denied
from empg_gym.retrieval.backends import VisitFailed
from tests.deepsearch_web.servers import answering, local_guard, reply, serving


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("ftp://site.example/", "only http and https addresses can be visited"),
        ("http://127.0.0.1/", "addresses outside the public internet are not visited"),
        ("http://private.example/", "addresses outside the public internet are not visited"),
        ("https://huggingface.co/datasets/x", "this site is blocked here"),
    ],
)
def test_refusals_are_failed_visits_with_their_reason(url, text):
    with pytest.raises(VisitFailed) as refusal:
        PageGuard(resolver=lambda host, port: ["10.0.0.1"]).check(url, 1)
    assert str(refusal.value) == text


def test_the_connection_goes_to_the_address_that_was_checked():
    """DNS rebinding: the name is resolved once per request, and only the address is passed to the system."""
    asked = []

    def resolver(host, port):
        asked.append(host)
        return ["127.0.0.1"]

    with serving(answering(reply(b"<p>here"))) as server:
        rules = PageGuard(ports=frozenset({server.port}), networks=("127.0.0.1/32",), resolver=resolver)
        page = Fetcher(rules, robots=False).visit(f"http://rebinding.example:{server.port}/x")
    assert page.text == "here" and asked == ["rebinding.example"]
    assert f"Host: rebinding.example:{server.port}".encode() in server.requests[0], "the Host header keeps the name"


def test_tls_names_the_site_and_not_the_address():
    hello = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def take():
            connection, _ = listener.accept()
            with connection:
                hello.append(connection.recv(4096))

        thread = threading.Thread(target=take)
        thread.start()
        with pytest.raises(VisitFailed):
            Fetcher(local_guard(port), robots=False, tries=1).visit(f"https://secure.example:{port}/")
        thread.join(5)
    assert b"secure.example" in hello[0]


@pytest.mark.parametrize(
    "location",
    [
        *("http://127.0.0.1/", "http://169.254.169.254/latest/meta-data/", "http://[::1]/", "http://2130706433/", "file:///etc/passwd"),
        *(
            "http://user:x@site.example/",
            "//10.0.0.1/",
            "http://site.example:22/",
            "https://huggingface.co/datasets/x",
            "http://[",
        ),
    ],
)
def test_every_redirect_is_checked(location):
    def resolver(host, port):
        return ["127.0.0.2"] if host == "start.example" else ["10.0.0.1"]

    answer = answering(reply(status=302, headers={"Location": location}))
    # Only 127.0.0.2 is allowed, where a relay forwards to the server.
    with serving(answer) as server, socket.create_server(("127.0.0.2", 0)) as listener:
        relay = _relay(listener, server.port)
        rules = PageGuard(ports=frozenset({relay, 80, 443}), networks=("127.0.0.2/32",), resolver=resolver)
        with pytest.raises(VisitFailed):
            Fetcher(rules, robots=False).visit(f"http://start.example:{relay}/")
    assert len(server.requests) == 1, "the redirect is read but not followed"


def _relay(listener, port):
    def run():
        try:
            while True:
                connection, _ = listener.accept()
                with connection, socket.create_connection(("127.0.0.1", port)) as onward:
                    onward.sendall(connection.recv(65536))
                    while part := onward.recv(65536):
                        connection.sendall(part)
        except OSError:
            pass

    threading.Thread(target=run, daemon=True).start()
    return listener.getsockname()[1]


def test_proxies_of_the_environment_are_not_used(monkeypatch):
    with serving(answering(reply(b"from the proxy"))) as proxy, serving(answering(reply(b"direct"))) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert Fetcher(local_guard(server.port), robots=False).visit(f"http://site.example:{server.port}/").text == "direct"
    assert proxy.requests == []


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://huggingface.co/datasets/gaia", True),
        ("https://HuggingFace.co/DATASETS", True),
        ("https://huggingface.co//datasets/../datasets/x", True),
        ("https://huggingface.co/%64atasets/x", True),
        ("https://www.huggingface.co./datasets/x", True),
        ("https://cdn.raw.githubusercontent.com/a", True),
        ("https://huggingface.co/models", False),
        ("https://huggingface.co/datasetsx", False),
        ("https://nothuggingface.co/datasets/x", False),
        ("https://huggingface.co/?datasets", False),
        ("https://huggingface.co/api/datasets/gaia/parquet", True),
        ("https://github.com/HotpotQA/hotpot/blob/master/dev.json", True),
        ("https://codeload.github.com/hotpotqa/hotpot/zip/master", True),
        ("https://api.github.com/repos/hotpotqa/hotpot/contents", True),
        ("https://github.com/hotpotqa/hotpot-viewer", False),
        ("https://github.com/python/cpython/blob/main/README.rst", False),
        ("https://r.jina.ai/https://huggingface.co/datasets/x", True),
        ("https://r.jina.ai/huggingface.co/datasets/x", True),
        ("https://r.jina.ai/https%3A%2F%2Fwww.huggingface.co%2Fdatasets", True),
        ("https://r.jina.ai/https%253A%252F%252Fhuggingface.co%252Fdatasets", True),
        ("https://r.jina.ai/https:%5C%5Chuggingface.co%5Cdatasets", True),
        ("https://web.archive.org/web/2024/https://huggingface.co:443/datasets/x", True),
        ("https://web.archive.org/web/2024/https://huggingface.co./models/../datasets/x", True),
        ("https://relay.example/?url=https://huggingface.co/datasets/x", True),
        ("https://relay.example/?url=https%3A%2F%2Fhuggingface.co%2Fdatasets%3Fa=/../../../..", True),
        ("https://relay.example/?a=b&url=raw.githubusercontent.com/x", True),
        ("https://web.archive.org/web/2024/https://huggingface.co/models", False),
        ("https://web.archive.org/web/2024/https://nothuggingface.co/datasets", False),
        ("https://relay.example/?url=https://hf-mirror.com.example/", False),
        ("https://en.wikipedia.org/wiki/Hugging_Face?section=datasets", False),
        ("not an address", False),
        ("http://[", False),
    ],
)
def test_benchmark_copies_are_denied(url, expected):
    assert denied(url, BENCHMARK_MIRRORS) is expected
    assert not denied(url, ())
