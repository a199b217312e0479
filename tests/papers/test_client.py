"""The client asks politely, stubbornly, by way of a proxy, and never tells NCBI's key to anybody else."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

import pytest
from pmc import BUCKET, FAST, fetch, held, truth
from replica import Faults, Replica, invented_article, make_answer
from yarl import URL

from biolm.errors import ConfigError, InputError
from biolm.papers import client as client_module
from biolm.papers.answers import Answer, Damaged, Gone, HttpConfig, Refused, Unanswered, seconds_of
from biolm.papers.client import Client
from biolm.papers.fetch import fetch_papers
from biolm.papers.redirects import followed
from biolm.papers.runs import Fetching
from biolm.papers.selection import Selection
from biolm.progress import Silent

XML = f"{BUCKET}/PMC1.1/PMC1.1.xml"


def ask(work: Callable[[Client], Any], config: HttpConfig = FAST, **more: Any) -> Any:
    """What some work with a client gives."""

    async def inside() -> Any:
        async with Client(config, **more) as client:
            return await work(client)

    return asyncio.run(inside())


@contextmanager
def answering(respond: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """A server that does what a function does with each request."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            respond(self)

        def do_HEAD(self) -> None:
            respond(self)

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def send(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content_Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


# Who asks, and how much


def test_every_request_says_who_asks(replica, url, tmp_path):
    fetch(tmp_path / "a", url, Selection(pmcids="PMC1-PMC3"))
    anonymous, before = {entry.user_agent for entry in replica.log}, len(replica.log)
    (agent,) = anonymous
    assert agent.startswith("biolm/")
    assert "(" not in agent
    replica.put_query("heart", [4, 5])
    fetch(tmp_path / "a", url, Selection(query="heart"), http=HttpConfig(contact="a@example.org"))
    paths = [entry.path for entry in replica.log[before:]]
    assert {entry.user_agent for entry in replica.log[before:]} == {f"{agent} (a@example.org)"}
    assert any("/eutils/" in path and "email=a%40example.org" in path.replace("@", "%40") for path in paths)
    assert any("tool=biolm" in path for path in paths)


@pytest.mark.parametrize("contact", ["a\nb", "a\r\nX-Other: 1", "x" * 201, "\x07"])
def test_a_contact_that_is_no_line_is_refused(contact):
    with pytest.raises(ConfigError, match="--contact must be one line"):
        HttpConfig(contact=contact)


def test_no_requests_at_once_are_impossible():
    with pytest.raises(ConfigError, match="0 requests in flight"):
        HttpConfig(in_flight=0)


@pytest.mark.parametrize("in_flight", [1, 3, 16])
def test_never_more_requests_at_once_than_allowed(replica, url, in_flight):
    replica.faults.latency_seconds = 0.01

    async def all_at_once(client: Client) -> None:
        paths = [f"{url}{BUCKET}/PMC{number}.1/PMC{number}.1.xml" for number in range(1, 41)]
        await asyncio.gather(*map(client.get, paths))

    ask(all_at_once, HttpConfig(in_flight=in_flight))
    assert max(entry.in_flight for entry in replica.log) + 1 == in_flight


def test_what_is_larger_than_asked_for_is_refused(replica, url):
    size = len(replica._stored[XML].body)
    with pytest.raises(Refused, match="larger than"):
        ask(lambda client: client.get(url + XML, most_bytes=size - 1))
    assert len(replica.log) == 1
    assert len(ask(lambda client: client.get(url + XML, most_bytes=size)).body) == size


def test_what_is_larger_without_saying_so_is_refused():
    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        try:
            for _ in range(1000):
                handler.wfile.write(b"10000\r\n" + bytes(1 << 16) + b"\r\n")
            handler.wfile.write(b"0\r\n\r\n")
        except OSError:  # it does not listen any more
            handler.close_connection = True

    with answering(endless) as url, pytest.raises(Refused, match="larger than 1 MiB"):
        ask(lambda client: client.get(url, most_bytes=1 << 20))


# Trying again


@pytest.mark.parametrize("status", [404, 403, 400, 401])
def test_what_no_second_try_puts_right_is_not_tried_again(status):
    asked = []

    def refuse(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.path)
        send(handler, status)

    with answering(refuse) as url, pytest.raises(Gone if status == 404 else Refused, match=f"HTTP {status}"):
        ask(lambda client: client.get(url))
    assert len(asked) == 1


def test_other_bytes_than_the_md5_are_damaged_after_three_times(replica, url):
    with pytest.raises(Damaged, match="wrong MD5, 3 times"):
        ask(lambda client: client.get(url + XML, md5="0" * 32))
    assert len(replica.log) == 3


def test_no_answer_says_what_the_last_one_was(replica, url):
    replica.faults.always[XML] = "500"

    async def work(client: Client) -> None:
        await client.get(f"{url}{BUCKET}/PMC2.1/PMC2.1.xml")
        with pytest.raises(Unanswered, match="HTTP 500, 8 times"):
            await client.get(url + XML)
        assert client.traffic.again == {"HTTP 500": 8}

    ask(work)


def test_an_answer_that_trickles_is_given_up():
    def trickle(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        try:
            for _ in range(1000):
                handler.wfile.write(b"x")
                time.sleep(0.02)
        except OSError:
            handler.close_connection = True

    config = HttpConfig(
        attempts=2, backoff_seconds=0.01, silence_seconds=0.1, slowest_bytes_per_second=10_000.0
    )
    with answering(trickle) as url, pytest.raises(Unanswered, match="time-out, 2 times"):
        ask(lambda client: client.get(url), config)


@pytest.mark.parametrize("as_date", [False, True])
def test_nothing_is_asked_before_retry_after_is_over(replica, url, as_date):
    paths = [f"{BUCKET}/PMC{number}.1/PMC{number}.1.xml" for number in range(1, 41)]
    answer, told = replica.answer, []

    def busy_once(method, target, conditions):
        if target == paths[3] and not told:
            told.append(time.time())
            when = formatdate(time.time() + 2, usegmt=True) if as_date else "1"  # a date has whole seconds
            return make_answer(429, "text/plain", b"", f"Retry-After: {when}\r\n")
        return answer(method, target, conditions)

    replica.answer = busy_once
    config = HttpConfig(in_flight=2, backoff_seconds=0.01)

    async def work(client: Client) -> None:
        turns = asyncio.Semaphore(2)

        async def one(path: str) -> None:
            async with turns:
                assert (await client.get(url + path)).body == replica._stored[path].body

        await asyncio.gather(*map(one, paths))

    ask(work, config)
    (refused,) = [entry for entry in replica.log if entry.status == 429]
    after = [entry.time - refused.time for entry in replica.log if entry.time > refused.time]
    under_way = [seconds for seconds in after if seconds < 0.9]
    assert len(under_way) <= 6  # sent when the answer was on its way
    assert len(after) - len(under_way) >= 30


def test_retry_after_in_every_form():
    assert seconds_of(None) == 0
    assert seconds_of("7") == 7
    assert seconds_of(" 7 ") == 7
    assert 50 < seconds_of(formatdate(time.time() + 60, usegmt=True)) <= 61
    assert seconds_of(formatdate(time.time() - 60, usegmt=True)) == 0
    for junk in ("", "soon", "-3", "1.5", "1e9", "Wed, 99 Foo 2026 00:00:00 GMT", "²"):
        assert seconds_of(junk) == 0


# ESearch's rate and key


@pytest.mark.parametrize(("key", "most"), [(None, 3), ("SECRET-KEY", 10)])
def test_eutils_gets_no_more_requests_a_second_than_it_allows(replica, url, tmp_path, monkeypatch, key, most):
    if key:
        monkeypatch.setenv("NCBI_API_KEY", key)
    replica.put_query("heart", range(1, 41))
    replica.esearch_limit = 13 if key else 30
    fetch(tmp_path / "store", url, Selection(query="heart"), esearch_limit=replica.esearch_limit)
    assert held(tmp_path / "store") == truth(replica)
    asked = [entry for entry in replica.log if "/eutils/" in entry.path]
    assert len(asked) > most
    assert all(entry.status == 200 for entry in asked)
    times = [entry.time for entry in asked]
    assert all(later - first > 0.99 for first, later in zip(times, times[most:], strict=False))
    assert all((f"api_key={key}" in entry.path) == bool(key) for entry in asked)


def everything_written(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_the_key_stands_in_no_file_and_goes_nowhere_else(replica, url, tmp_path, monkeypatch):
    monkeypatch.setenv("NCBI_API_KEY", "SECRET-KEY")
    replica.put_query("heart", [1, 2])
    fetch(tmp_path / "store", url, Selection(query="heart"))
    assert b"SECRET-KEY" not in everything_written(tmp_path)
    told = [entry.path for entry in replica.log if "SECRET-KEY" in entry.path]
    assert told
    assert all("/eutils/" in path for path in told)


FAILURES = {
    "a refusal": lambda handler: send(handler, 400, b'{"error":"API key invalid","api-key":"SECRET-KEY"}'),
    "no answer": lambda handler: send(handler, 503),
    "a rate limit": lambda handler: send(
        handler, 200, b'{"error":"API rate limit exceeded","api-key":"SECRET-KEY"}'
    ),
    "junk": lambda handler: send(handler, 200, b'{"error":"x","api-key":"SECRET-KEY"}'),
    "redirects": lambda handler: send(handler, 302, Location=handler.path),
    "a redirect to nowhere": lambda handler: send(
        handler, 302, Location="ftp://elsewhere.example" + handler.path
    ),
    "a broken redirect": lambda handler: send(handler, 302, Location="http://[" + handler.path),
    "a cut": lambda handler: send(handler, 200, b"", Content_Length="10", Connection="close"),
}


@pytest.mark.parametrize("kind", FAILURES)
def test_the_key_stands_in_no_message(replica, url, tmp_path, monkeypatch, kind):
    monkeypatch.setenv("NCBI_API_KEY", "SECRET-KEY")
    how = HttpConfig(attempts=2, backoff_seconds=0.01, silence_seconds=0.3)
    with answering(FAILURES[kind]) as other, pytest.raises(InputError) as error:
        where = (f"pmc={url}{BUCKET}", f"eutils={other}")
        fetch_papers(
            tmp_path / "store",
            "pmc",
            Selection(query="heart"),
            Fetching(endpoints=where, http=how),
            Silent(),
        )
    assert "SECRET-KEY" not in str(error.value)
    assert "\n" not in str(error.value)
    assert b"SECRET-KEY" not in everything_written(tmp_path)


# Proxies


@contextmanager
def proxy(seen: list[tuple[str, str]]) -> Iterator[str]:
    """A proxy for plain HTTP; keeps each address that it is asked for, and the credentials."""
    direct = build_opener(ProxyHandler({}))

    def forward(handler: BaseHTTPRequestHandler) -> None:
        seen.append((handler.path, handler.headers.get("Proxy-Authorization", "")))
        with direct.open(Request(handler.path)) as response:  # noqa: S310
            body = response.read()
            send(handler, response.status, body, ETag=response.headers.get("ETag", ""))

    with answering(forward) as url:
        yield url


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
def test_the_proxy_of_the_environment_is_asked(replica, url, tmp_path, monkeypatch, name):
    seen: list[tuple[str, str]] = []
    with proxy(seen) as place:
        monkeypatch.setenv(name, place.replace("http://", "http://me:word@"))
        fetch(tmp_path / "store", url, Selection(pmcids="PMC1-PMC3"))
    assert len(held(tmp_path / "store")) == 3
    assert len(seen) == len(replica.log) > 3
    assert all(path.startswith(url) and who.startswith("Basic ") for path, who in seen)


@pytest.mark.parametrize("without", ["127.0.0.1", "{place}", "example.org,127.0.0.1", "*"])
def test_no_proxy_is_respected(replica, url, tmp_path, monkeypatch, without):
    seen: list[tuple[str, str]] = []
    with proxy(seen) as place:
        monkeypatch.setenv("HTTP_PROXY", place)
        monkeypatch.setenv("NO_PROXY", without.format(place=urlsplit(url).netloc))
        fetch(tmp_path / "store", url, Selection(pmcids="PMC1-PMC3"))
    assert len(held(tmp_path / "store")) == 3
    assert not seen


@pytest.mark.parametrize("value", ["socks5://127.0.0.1:9", "http://", "http://[", "ftp://a"])
def test_a_proxy_that_cannot_be_used_is_one_line(url, tmp_path, monkeypatch, value):
    monkeypatch.setenv("HTTP_PROXY", value)
    with pytest.raises(ConfigError, match=r"proxy .*HTTP_PROXY") as error:
        fetch(tmp_path / "store", url, Selection(pmcids="PMC1-PMC3"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("beginning", ["", "http://"])
def test_a_proxy_that_is_not_there_is_one_line(replica, url, tmp_path, monkeypatch, beginning):
    monkeypatch.setenv("HTTP_PROXY", f"{beginning}127.0.0.1:9")
    with pytest.raises(InputError, match=r"cannot be reached .no connection") as error:
        fetch(tmp_path / "store", url, Selection(pmcids="PMC1-PMC3"))
    assert "\n" not in str(error.value)
    assert not replica.log


def test_the_password_of_a_proxy_stands_in_no_message(url, tmp_path, monkeypatch):
    for value in ("http://me:word@127.0.0.1:9", "socks5://me:word@127.0.0.1:9"):
        monkeypatch.setenv("HTTP_PROXY", value)
        with pytest.raises((ConfigError, InputError)) as error:
            fetch(tmp_path / "store", url, Selection(pmcids="PMC1-PMC3"))
        assert "word" not in str(error.value)


# Large files

BODY = invented_article(1, paragraphs=2000)
FILE = "/folder/large.xml"


@pytest.fixture
def large(replica: Replica) -> Replica:
    replica.put_file(FILE, BODY)
    return replica


def ranges(replica: Replica, url: str, into: Path) -> tuple[list[tuple[str, str]], Answer]:
    """The conditions of each request that a download makes, and its answer."""
    answer, asked = replica.answer, []

    def noted(method, target, conditions):
        asked.append((conditions.range, conditions.if_range))
        return answer(method, target, conditions)

    replica.answer = noted
    return asked, ask(lambda client: client.download(url + FILE, into))


@pytest.mark.parametrize("kind", ["reset", "cut", "503", "500", "429", "slow", "stall"])
def test_a_download_that_breaks_is_taken_up_where_it_broke(large, url, tmp_path, kind):
    large.faults = Faults(rates={kind: 1.0}, retry_after=0, stall_seconds=30)
    config = HttpConfig(backoff_seconds=0.01, silence_seconds=0.3)
    came = []
    answer = large.answer
    asked = []

    def noted(method, target, conditions):
        asked.append(conditions.range)
        return answer(method, target, conditions)

    large.answer = noted
    ask(lambda client: client.download(url + FILE, tmp_path / "file", tick=came.append), config)
    assert (tmp_path / "file").read_bytes() == BODY
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert len(asked) == (1 if kind == "slow" else 2)
    assert sum(came) == len(BODY)
    if kind == "cut":  # a reset may take what came before it along
        assert asked[1] == f"bytes={len(BODY) // 2}-"


def test_a_download_may_break_as_often_as_it_gets_further(large, url, tmp_path):
    large.faults = Faults(rates={"cut": 1.0}, times=4)
    ask(
        lambda client: client.download(url + FILE, tmp_path / "file"),
        HttpConfig(attempts=2, backoff_seconds=0.01),
    )
    assert (tmp_path / "file").read_bytes() == BODY
    assert large.faults.counts["cut"] == 4


def test_a_long_wait_is_told_of(replica, url, monkeypatch, caplog):
    monkeypatch.setattr(client_module, "SAID_PAUSE_SECONDS", 0.5)
    replica.faults = Faults(rates={"429": 1.0}, retry_after=1)
    ask(lambda client: client.get(url + XML))
    assert caplog.messages == [f"{url.removeprefix('http://')} asks to wait for 1 s"]


def test_a_broken_file_is_taken_up_with_its_etag(large, url, tmp_path):
    etag = large._stored[FILE].etag
    (tmp_path / "file").write_bytes(BODY[:1000])
    (tmp_path / "file.etag").write_text(f'"{etag}"')
    asked, answer = ranges(large, url, tmp_path / "file")
    assert asked == [("bytes=1000-", f'"{etag}"')]
    assert answer.status == 206
    assert answer.etag == etag
    assert (tmp_path / "file").read_bytes() == BODY
    assert not (tmp_path / "file.etag").exists()


def test_a_file_that_changed_starts_anew(large, url, tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 1000)
    (tmp_path / "file.etag").write_text('"another"')
    asked, answer = ranges(large, url, tmp_path / "file")
    assert asked == [("bytes=1000-", '"another"')]
    assert answer.status == 200
    assert (tmp_path / "file").read_bytes() == BODY


def test_a_beginning_of_unknown_etag_starts_anew(large, url, tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 1000)
    asked, _ = ranges(large, url, tmp_path / "file")
    assert asked == [("", "")]
    assert (tmp_path / "file").read_bytes() == BODY


def test_a_file_that_is_whole_already_stays(large, url, tmp_path):
    etag = large._stored[FILE].etag
    (tmp_path / "file").write_bytes(BODY)
    (tmp_path / "file.etag").write_text(f'"{etag}"')
    asked, _ = ranges(large, url, tmp_path / "file")
    assert asked == [(f"bytes={len(BODY)}-", f'"{etag}"')]
    assert (tmp_path / "file").read_bytes() == BODY
    assert not (tmp_path / "file.etag").exists()


def test_more_than_the_server_has_starts_anew(large, url, tmp_path):
    (tmp_path / "file").write_bytes(BODY + b"more")
    (tmp_path / "file.etag").write_text(f'"{large._stored[FILE].etag}"')
    asked, _ = ranges(large, url, tmp_path / "file")
    assert asked[-1] == ("", "")
    assert (tmp_path / "file").read_bytes() == BODY


@pytest.mark.parametrize("said", ["", "bytes 0-9/10", "bytes", "junk", "bytes x-y/z", "bytes 7-9/10"])
def test_another_part_than_asked_for_is_not_taken(tmp_path, said):
    whole = b"0123456789"

    def part(handler: BaseHTTPRequestHandler) -> None:
        if handler.headers.get("Range"):
            send(handler, 206, b"56789", ETag='"a"', **({"Content_Range": said} if said else {}))
        else:
            send(handler, 200, whole, ETag='"a"')

    (tmp_path / "file").write_bytes(whole[:5])
    (tmp_path / "file.etag").write_text('"a"')
    with answering(part) as url:
        ask(lambda client: client.download(url, tmp_path / "file"))
    assert (tmp_path / "file").read_bytes() == whole


def test_a_download_of_nothing_says_so_and_leaves_no_file(url, tmp_path):
    with pytest.raises(Gone):
        ask(lambda client: client.download(url + FILE, tmp_path / "file"))
    assert not list(tmp_path.iterdir())


def trickle_a_byte(handler: BaseHTTPRequestHandler) -> None:
    """Each try brings one byte more, and ends."""
    begin = int(handler.headers.get("Range", "bytes=0-")[6:-1])
    handler.close_connection = True
    send(
        handler,
        206 if begin else 200,
        b"x",
        ETag='"a"',
        Content_Length=str(100_000 - begin),
        Content_Range=f"bytes {begin}-99999/100000",
    )


def test_a_download_of_a_byte_a_try_is_given_up(tmp_path):
    asked = []

    def respond(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.path)
        trickle_a_byte(handler)

    config = HttpConfig(attempts=3, backoff_seconds=0.01)
    with answering(respond) as url, pytest.raises(Unanswered, match="cut off, 3 times"):
        ask(lambda client: asyncio.wait_for(client.download(url, tmp_path / "file"), 5), config)
    assert len(asked) == 3


@pytest.mark.parametrize("chunked", [False, True])
def test_a_download_larger_than_asked_for_is_refused_and_not_kept(tmp_path, chunked):
    def respond(handler: BaseHTTPRequestHandler) -> None:
        if not chunked:
            send(handler, 200, bytes(3 << 20))
            return
        handler.close_connection = True
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(bytes(3 << 20))

    with answering(respond) as url, pytest.raises(Refused, match="larger than 2 MiB"):
        ask(lambda client: client.download(url, tmp_path / "file", most_bytes=2 << 20))
    assert not list(tmp_path.iterdir())


def test_head_tells_of_files_of_any_size():
    def respond(handler: BaseHTTPRequestHandler) -> None:
        send(handler, 200, Content_Length=str(1 << 40))

    with answering(respond) as url:
        answer = ask(lambda client: client.get(url, method="HEAD"))
    assert answer.headers["content-length"] == str(1 << 40)
    assert answer.body == b""


def test_headers_that_are_no_utf_8_can_be_written(tmp_path):
    def respond(handler: BaseHTTPRequestHandler) -> None:
        send(handler, 200, b"abc", ETag='"\xe9"', X_Name="J\xe9")  # http.server writes Latin-1

    with answering(respond) as url:
        answer = ask(lambda client: client.get(url))
        assert answer.headers["x-name"].encode() == b"J?"
        answer = ask(lambda client: client.download(url, tmp_path / "file"))
    assert answer.etag.encode() == b"?"
    assert (tmp_path / "file").read_bytes() == b"abc"


# Redirects


def redirecting(location: str) -> Callable[[BaseHTTPRequestHandler], None]:
    """/ leads to `location`, all else answers its own path."""

    def respond(handler: BaseHTTPRequestHandler) -> None:
        if urlsplit(handler.path).path == "/":
            send(handler, 302, Location=location.format(port=handler.server.server_port))
        else:
            send(handler, 200, handler.path.encode())

    return respond


@pytest.mark.parametrize("location", ["/there", "there", "http://127.0.0.1:{port}/there"])
def test_a_redirect_to_the_same_host_is_followed(location):
    with answering(redirecting(location)) as url:
        assert ask(lambda client: client.get(url + "/", params={"a": "b"})).body == b"/there"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_redirect_to_another_host_or_port_is_not_followed(replica, url, host):
    place = urlsplit(url)
    with (
        answering(redirecting(f"http://{host}:{place.port}{XML}?api_key=SECRET")) as other,
        pytest.raises(Refused) as error,
    ):
        ask(lambda client: client.get(other + "/", params={"api_key": "SECRET"}))
    assert str(error.value) == "a redirect to another host"
    assert not replica.log


def test_redirects_without_end_are_refused():
    with (
        answering(lambda handler: send(handler, 302, Location=handler.path)) as url,
        pytest.raises(Refused, match=r"^too many redirects$"),
    ):
        ask(lambda client: client.get(url))


@pytest.mark.parametrize(
    ("old", "new", "is_followed"),
    [
        ("http://a.org/x", "https://a.org/y", True),
        ("http://a.org/x", "https://A.org:443/y", True),
        ("http://a.org/x", "https://a.org:8443/y", False),
        ("https://a.org/x", "http://a.org/y", False),
        ("https://a.org/x", "//a.org/y", True),
        ("https://a.org/x", "//b.org/y", False),
        ("https://a.org/x", "https://a.org.b.org/y", False),
        ("https://a.org/x", "https://a.org@b.org/y", False),
        ("https://a.org/x", "https://a.org:22/y", False),
        ("https://b.s3.amazonaws.com/x", "https://b.s3.us-east-1.amazonaws.com/x", True),
        ("https://b.s3.amazonaws.com/x", "http://b.s3.us-east-1.amazonaws.com/x", False),
        ("https://b.s3.amazonaws.com/x", "https://evilamazonaws.com/x", False),
        ("http://a.org/x", "http://169.254.169.254/latest/meta-data", False),
        ("http://a.org/x", "file:///etc/passwd", False),
        ("http://a.org/x", "http://[", False),
        ("http://a.org/x", "http://a.org:99999999/", False),
        ("http://a.org/x", "", True),
    ],
)
def test_where_redirects_may_lead(old, new, is_followed):
    assert (followed(URL(old), new) is not None) == is_followed


def test_a_host_that_stops_answering_is_named_as_such(replica, url):
    replica.faults.always[XML] = "500"

    async def work(client: Client) -> None:
        await client.get(f"{url}{BUCKET}/PMC2.1/PMC2.1.xml")
        client._given_up = client_module.GIVEN_UP_IN_A_ROW
        with pytest.raises(InputError, match=r"it has stopped answering"):
            await client.get(url + XML)

    ask(work)
