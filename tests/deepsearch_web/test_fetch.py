"""The guarded fetcher and the Jina reader against servers that misbehave."""

from __future__ import annotations

import gzip
import pickle
import time
import zlib

import pytest

from empg_gym.envs.deepsearch.web import Fetcher, JinaReader, live_visitor
from empg_gym.errors import ConfigError
from empg_gym.retrieval.backends import VisitFailed
from tests.deepsearch_web.servers import answering, local_guard, reply, serving


def visit(server, path="/", **settings):
    settings = {"robots": False, **settings}
    return Fetcher(local_guard(server.port), **settings).visit(f"http://site.example:{server.port}{path}")


def test_a_page_has_a_title_and_a_text():
    html = b"<html><head><title> A &amp; B </title></head><body><script>x()</script><h1>Head</h1><p>Text <a href=x>link</a></p></body>"
    with serving(answering(reply(html, headers={"Set-Cookie": "a=b"}))) as server:
        page = visit(server, "/a#part")
        assert (page.title, page.text) == ("A & B", "Head\n\nText link")
        assert page.url == f"http://site.example:{server.port}/a#part"
        visit(server)
    assert b"user-agent: empg-gym" in server.requests[0].lower() and b"cookie" not in server.requests[1].lower()


@pytest.mark.parametrize(
    ("kind", "body", "text"),
    [
        ("text/plain", b"a\x00b\xe2\x80\x8bc \xff", "abc \ufffd"),
        ("application/json", b'{"a": 1}', '{"a": 1}'),
        ("text/html; charset=latin-1", b"<p>caf\xe9", "café"),
        ("text/html", b'<meta charset="iso-8859-1"><p>caf\xe9', "café"),
        ("TEXT/HTML; charset=nonsense", "<p>café".encode(), "café"),
        ("text/html; charset=utf-16", b"\xff", "\ufffd"),
        ("text/html; charset=zip", b"<p>x", "x"),
        ("text/html; charset=idna", b"<p>x", "x"),
        ("text/html; charset=punycode", b"<p>x-y", "x-y"),
        ("text/plain; charset=utf-7", b"+AGE-", "+AGE-"),
        ("text/plain; charset=unicode_escape", b"\\x41", "\\x41"),
        ("text/plain; charset=UTF-16LE", "café".encode("utf-16-le"), "café"),
        ("text/plain; charset=windows-1251", "Дом".encode("cp1251"), "Дом"),
        ("text/plain; charset=KOI8-R", "Дом".encode("koi8-r"), "Дом"),
        ("text/plain; charset=iso-8859-15", b"\xa4", "€"),
        ("text/plain; charset=GB2312", "中文".encode("gb2312"), "中文"),
        ("text/plain; charset=gbk", "中文".encode("gbk"), "中文"),
        ("text/plain; charset=gb18030", "中文".encode("gb18030"), "中文"),
        ("text/plain; charset=Big5", "中文".encode("big5"), "中文"),
        ("text/plain; charset=Shift_JIS", "日本".encode("shift_jis"), "日本"),
        ("text/plain; charset=euc-jp", "日本".encode("euc_jp"), "日本"),
        ("text/plain; charset=EUC-KR", "한국".encode("euc_kr"), "한국"),
    ],
)
def test_types_and_charsets(kind, body, text):
    with serving(answering(reply(body, kind=kind))) as server:
        assert visit(server).text == text


@pytest.mark.parametrize("kind", ["application/pdf", "image/png", "application/octet-stream", "video/mp4", "text/htmlx", ""])
def test_other_types_are_refused_without_reading_them(kind):
    def endless(connection, path, number):
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n\r\n".encode())
        while True:
            connection.sendall(b"x" * 65536)

    with serving(endless) as server, pytest.raises(VisitFailed, match="type"):
        visit(server)


def test_the_size_is_limited_while_reading():
    def endless(connection, path, number):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 99999999999\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65536)

    with serving(endless) as server, pytest.raises(VisitFailed, match="larger than 100,000"):
        visit(server, max_bytes=100_000)
    with serving(answering(reply(b"x" * 100_000))) as server:
        assert len(visit(server, max_bytes=100_000).text) == 100_000


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "x-gzip"])
def test_bodies_are_decompressed_up_to_the_limit(encoding, monkeypatch):
    pack = zlib.compress if encoding == "deflate" else gzip.compress
    with serving(answering(reply(pack(b"<p>packed"), headers={"Content-Encoding": encoding}))) as server:
        assert visit(server).text == "packed"
    bomb = pack(b"\0" * 50_000_000)
    assert len(bomb) < 60_000
    with serving(answering(reply(bomb, headers={"Content-Encoding": encoding}))) as server:
        import tracemalloc

        tracemalloc.start()
        with pytest.raises(VisitFailed, match="larger than 1,000,000"):
            visit(server, max_bytes=1_000_000)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 8_000_000, "the 50 MB are never decompressed"


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "compress", "x"])
def test_other_compressions_are_refused(encoding):
    with (
        serving(answering(reply(gzip.compress(gzip.compress(b"x")), headers={"Content-Encoding": encoding}))) as server,
        pytest.raises(VisitFailed, match="compressed in a way"),
    ):
        visit(server)


def test_redirects_are_followed_up_to_a_limit():
    def hop(connection, path, number):
        left = int(path.strip("/"))
        connection.sendall(
            reply(status=(301, 302, 303, 307, 308)[left % 5], headers={"Location": f"{left - 1}"}) if left else reply(b"<p>end")
        )

    with serving(hop) as server:
        page = visit(server, "/5")
        assert page.text == "end" and page.url.endswith("/0")
        with pytest.raises(VisitFailed, match="more than 5 redirects"):
            visit(server, "/6")
    with serving(answering(reply(status=302, headers={"Location": "/"}))) as server:
        with pytest.raises(VisitFailed, match="more than 5 redirects"):
            visit(server)
        assert len(server.requests) == 6
    with serving(answering(reply(status=302))) as server, pytest.raises(VisitFailed, match="status 302"):
        visit(server)


def drip(piece, head=b""):
    def answer(connection, path, number):
        connection.sendall(head)
        while True:
            connection.sendall(piece)
            time.sleep(0.05)

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        lambda connection, path, number: time.sleep(8),
        drip(b"x", b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"),
        drip(b"X-A: b\r\n", b"HTTP/1.1 200 OK\r\n"),
        drip(b"1\r\nx\r\n", b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ],
    ids=["silent", "dripping body", "dripping headers", "dripping chunks"],
)
def test_the_total_time_is_limited(answer):
    with serving(answer) as server, pytest.raises(VisitFailed, match="too long"):
        visit(server, seconds=0.5)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 50\r\n\r\ncut",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\nContent-Length: 20\r\n\r\n"
        + gzip.compress(b"x" * 99)[:20],
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 200_000 + b"\r\n\r\n",
    ],
    ids=["hang-up", "no http", "cut body", "broken chunks", "cut gzip", "no gzip", "huge header"],
)
def test_broken_replies_fail_the_visit(raw):
    with serving(answering(raw)) as server, pytest.raises(VisitFailed, match="could not be read"):
        visit(server, tries=1)


def test_failures_are_retried_and_reported_if_they_persist():
    with serving(answering(reply(status=503, headers={"Retry-After": "0"}), reply(b"<p>now"))) as server:
        assert visit(server).text == "now"
    with serving(answering(reply(status=429, headers={"Retry-After": "3600"}))) as server, pytest.raises(VisitFailed, match="trouble"):
        visit(server)
    assert len(server.requests) == 1, "an hour is longer than the time limit"
    with serving(answering(reply(status=404))) as server, pytest.raises(VisitFailed, match="status 404"):
        visit(server)
    assert len(server.requests) == 1
    with pytest.raises(VisitFailed, match="connection failed"):
        visit(server, tries=1)


def test_robots_are_obeyed_unless_switched_off():
    def site(connection, path, number):
        rules = b"User-agent: *\nDisallow: /private\n"
        connection.sendall(reply(rules, kind="text/plain") if path == "/robots.txt" else reply(b"<p>page"))

    with serving(site) as server:
        assert visit(server, "/open", robots=True).text == "page"
        with pytest.raises(VisitFailed, match=r"robots\.txt"):
            visit(server, "/private/x", robots=True)
        assert "/private/x" not in server.paths()
        assert visit(server, "/private/x").text == "page"
    with serving(lambda c, path, n: c.sendall(reply(status=500) if path == "/robots.txt" else reply(b"<p>page"))) as server:
        assert visit(server, robots=True, tries=1).text == "page"


@pytest.mark.parametrize("line", ["Disallow: //[", "Crawl-delay: ²", "Request-rate: ²/³"])
def test_unreadable_robots_forbid_nothing(line):
    rules = f"User-agent: *\nDisallow: /private\n{line}\n".encode()
    with serving(lambda c, path, n: c.sendall(reply(rules if path == "/robots.txt" else b"<p>page"))) as server:
        assert visit(server, "/private", robots=True).text == "page"


def test_visits_are_recorded_and_replayed(tmp_path):
    recording = tmp_path / "visits.db"
    with serving(answering(reply(b"<title>T</title><p>kept"))) as server:
        settings = {"guard": local_guard(server.port), "robots": False, "recording": recording}
        url = f"http://site.example:{server.port}/"
        first = live_visitor("fetch", cache="replay", **settings).visit(url)
        assert live_visitor("fetch", cache="replay", **settings).visit(url) == first and len(server.requests) == 1
        live_visitor("fetch", cache="record", **settings).visit(url)
        assert len(server.requests) == 2
    offline = live_visitor("fetch", cache="replay_only", **settings)
    assert offline.visit(url) == first
    with pytest.raises(VisitFailed, match="not recorded"):
        offline.visit(url + "other")
    with pytest.raises(VisitFailed, match="only http"):
        offline.visit("file:///etc/passwd")
    settings["guard"] = local_guard(server.port, deny=("site.example",))
    with pytest.raises(VisitFailed, match="blocked"):
        live_visitor("fetch", cache="replay_only", **settings).visit(url)


def test_the_jina_reader(monkeypatch, tmp_path):
    monkeypatch.setenv("JINA_API_KEY", "jina-secret")
    text = b"Title: A page\n\nURL Source: x\n\nMarkdown Content:\nHello\xe2\x80\x8b"
    with serving(answering(reply(status=502), reply(text, kind="text/plain"))) as server:
        reader = JinaReader(server.url)
        page = reader.visit("https://site.example/a?b=c")
        assert page.title == "A page" and page.text.endswith("Hello") and page.url == "https://site.example/a?b=c"
        assert server.paths() == ["/https://site.example/a?b=c"] * 2
        assert b"Authorization: Bearer jina-secret" in server.requests[1]
        for url in ("http://127.0.0.1/", "http://localhost/", "file:///x", "http://user@site.example/", "https://hf.co/datasets/a"):
            with pytest.raises(VisitFailed):
                reader.visit(url)
        assert len(server.requests) == 2
    assert "jina-secret" not in repr(reader) and b"jina-secret" not in pickle.dumps(reader)
    with serving(answering(reply(status=402))) as server, pytest.raises(VisitFailed, match="status 402"):
        JinaReader(server.url).visit("https://site.example/")


def test_a_malformed_key_is_reported_at_once(monkeypatch):
    monkeypatch.setenv("JINA_API_KEY", "schlüssel")
    with pytest.raises(ConfigError, match="JINA_API_KEY") as error:
        JinaReader()
    assert "schlüssel" not in str(error.value)


def test_visitors_have_names_and_can_be_pickled():
    with pytest.raises(ConfigError, match="did you mean 'fetch'"):
        live_visitor("fetsh")
    assert pickle.loads(pickle.dumps(live_visitor("fetch"))) == Fetcher()
