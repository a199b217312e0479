"""HTTP for many small objects: hundreds of requests in flight, polite, and stubborn in reason.

A request that fails for a reason that may pass (5xx, 429, a time-out, a broken connection, wrong bytes) is made
again after a growing, random pause; `Retry-After` stops everything to its host for as long as it says. What no
second try puts right is raised at once. Nothing here knows what is fetched.
"""

import asyncio
import logging
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from biolm.errors import InputError
from biolm.papers.answers import Answer, Damaged, Gone, HttpConfig, Refused, Unanswered, seconds_of
from biolm.papers.checksums import md5_of
from biolm.papers.proxies import proxy_of
from biolm.papers.redirects import MOST_REDIRECTS, REDIRECTS, followed

_Result = TypeVar("_Result")
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses that may be others the next time."""
_GONE = frozenset({404, 410})
FIRST_ATTEMPTS = 4
"""Tries before the first answer of a host: whether it can be reached at all should not take minutes to say."""
GIVEN_UP_IN_A_ROW = 24
"""Requests in a row given up after all tries, without one answer between: the service is down."""
WRONG_ATTEMPTS = 3
"""Tries after which wrong bytes are taken for what the service has."""
MOST_PAUSE_SECONDS = 3600.0
"""However much longer a Retry-After asks for."""
SAID_PAUSE_SECONDS = 30.0
"""A longer one is told of: nothing else would show why nothing happens."""
CHUNK_BYTES = 1 << 18
PROGRESS_BYTES = 1 << 16
"""What further tries must bring to be allowed more of them: with a byte a try nothing would ever be given up."""
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Host:
    """What must be kept in mind of one host."""

    seconds_apart: float = 0.0
    next_turn: float = 0.0
    not_before: float = 0.0
    answered: bool = False
    proxy: str | None = None
    """As the environment says (HTTPS_PROXY, NO_PROXY). aiohttp would look it up anew, in a thread, for each request."""


@dataclass(slots=True)
class Traffic:
    """What did not come at once."""

    again: Counter[str] = field(default_factory=Counter)
    """Tries that were repeated, by reason."""


class Client:
    """Asks services; to be used as an asynchronous context, inside one event loop."""

    def __init__(self, config: HttpConfig, per_second: Mapping[str, float] | None = None) -> None:
        """`per_second`: requests a second that a service allows, by what its addresses begin with."""
        self.config = config
        self.traffic = Traffic()
        self._random = random.Random()  # noqa: S311  only to spread retries; results do not depend on it
        self._hosts: dict[str, _Host] = {}
        self._given_up = 0
        self._limited = tuple(per_second or ())
        for beginning, rate in (per_second or {}).items():
            self._hosts[beginning] = _Host(seconds_apart=1.0 / rate, proxy=proxy_of(beginning))
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        config = self.config
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=config.in_flight, ttl_dns_cache=300),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=config.connect_seconds, sock_read=config.silence_seconds
            ),
            headers={"User-Agent": config.user_agent, "Accept-Encoding": "identity"},
            auto_decompress=False,  # checksums are of the bytes as they lie there
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(
        self,
        url: str,
        *,
        md5: str | None = None,
        most_bytes: int = 256 << 20,
        first_bytes: int | None = None,
        params: Mapping[str, str] | None = None,
        method: str = "GET",
    ) -> Answer:
        """The answer at an address, whole; with `md5` only where its bytes have that hash.

        `first_bytes` asks for its beginning only, which a server may not heed.

        Raises Gone, Refused, Damaged, Unanswered, and InputError where the host cannot be reached or has stopped
        answering.
        """

        async def read(response: aiohttp.ClientResponse) -> Answer:
            # The length in an answer to HEAD is that of a body that does not come.
            length = 0 if method == "HEAD" else response.content_length or 0
            if length > most_bytes:
                raise Refused(f"larger than {most_bytes >> 20} MiB")
            async with asyncio.timeout(
                self.config.silence_seconds + length / self.config.slowest_bytes_per_second
            ):
                if response.content_length is not None:
                    body = await response.read()
                else:
                    body = await _bounded(response, most_bytes)
            if md5 is not None and md5_of(body) != md5:
                raise _WrongBytes("wrong MD5")
            return Answer(response.status, _headers_of(response), body)

        part = {} if first_bytes is None else {"Range": f"bytes=0-{first_bytes - 1}"}
        return await self._asked(method, url, read, params=params, headers=lambda: part)

    async def download(
        self,
        url: str,
        into: Path,
        *,
        most_bytes: int = 64 << 30,
        tick: Callable[[int], None] = lambda more: None,
    ) -> Answer:
        """A large file at an address, written to `into`; a broken connection is taken up where it broke.

        What lies in `into` already is taken for its beginning if the server still says so (a strong ETag in
        `into`.etag). Returns the last answer's headers. Raises as `get` does; of what is larger than `most_bytes`
        nothing is left.
        """
        mark = into.with_name(f"{into.name}.etag")

        def check(size: int) -> None:
            if size > most_bytes:
                into.unlink(missing_ok=True)
                mark.unlink(missing_ok=True)
                raise Refused(f"larger than {most_bytes >> 20:,} MiB")

        async def read(response: aiohttp.ClientResponse) -> Answer:
            headers = _headers_of(response)
            etag, said = headers.get("etag", ""), headers.get("content-range", "")
            size = into.stat().st_size if into.exists() else 0
            if response.status == 416 and size and said.rpartition("/")[2] == str(size):
                return Answer(response.status, headers, b"")  # nothing lies behind what is there
            begin = size if response.status == 206 else 0
            if response.status == 416 or (response.status == 206 and not said.startswith(f"bytes {begin}-")):
                mark.unlink(missing_ok=True)
                raise _TryAgain("another part than asked for")
            check(begin + (response.content_length or 0))
            mark.write_text(etag if etag.startswith('"') else "", encoding="utf-8")
            with into.open("ab" if begin else "wb") as file:
                since, seen = time.monotonic(), 0
                async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                    file.write(chunk)
                    seen += len(chunk)
                    tick(len(chunk))
                    check(begin + seen)
                    seconds = time.monotonic() - since
                    if seconds > self.config.silence_seconds + seen / self.config.slowest_bytes_per_second:
                        raise _TryAgain("too slow")
                file.flush()
                os.fsync(file.fileno())
            return Answer(response.status, headers, b"")

        def headers() -> dict[str, str]:
            if not into.exists() or not mark.exists() or not (etag := mark.read_text(encoding="utf-8")):
                return {}
            return {"Range": f"bytes={into.stat().st_size}-", "If-Range": etag}

        def far() -> int:
            return into.stat().st_size if into.exists() else 0

        answer = await self._asked("GET", url, read, headers=headers, readable=(416,), progress=far)
        mark.unlink(missing_ok=True)
        return answer

    async def _asked(
        self,
        method: str,
        url: str,
        read: Callable[[aiohttp.ClientResponse], Awaitable[_Result]],
        *,
        params: Mapping[str, str] | None = None,
        headers: Callable[[], dict[str, str]] = dict,
        readable: tuple[int, ...] = (),
        progress: Callable[[], int] = lambda: 0,
    ) -> _Result:
        """What `read` makes of an answer; of those of 400 and more it sees those in `readable`.

        Tries that brought `progress` further by PROGRESS_BYTES, though they failed, do not count against the attempts.
        """
        assert self._session is not None
        name = urlsplit(url).netloc.rpartition("@")[2]
        beginning = next(filter(url.startswith, self._limited), name)
        host = self._hosts.get(beginning)
        if host is None:
            host = self._hosts[beginning] = _Host(proxy=proxy_of(url))
        why = ""
        tried = wrong = 0
        far = progress()
        while tried < (self.config.attempts if host.answered else min(self.config.attempts, FIRST_ATTEMPTS)):
            if self._given_up >= GIVEN_UP_IN_A_ROW:
                break
            if tried:
                await asyncio.sleep(self._pause(tried))
            await self._turn(host)
            tried += 1
            try:
                async with self._opened(method, url, params, headers(), host.proxy) as response:
                    status = response.status
                    host.answered = True
                    if status in _PASSING:
                        self._heed(name, host, response.headers.get("Retry-After"))
                        why = f"HTTP {status}"
                    elif status in _GONE:
                        raise Gone(f"HTTP {status}")
                    elif status >= 300 and status not in readable:
                        raise Refused(f"HTTP {status}")
                    else:
                        result = await read(response)
                        self._given_up = 0
                        return result
            except (Gone, Refused):
                host.answered = True
                self._given_up = 0
                raise
            except _WrongBytes as error:
                why, wrong = str(error), wrong + 1
                if wrong == WRONG_ATTEMPTS:
                    self._given_up = 0
                    raise Damaged(f"{why}, {wrong} times") from None
            except _TryAgain as error:
                why = str(error)
            except TimeoutError:  # before OSError, which it is
                why = "time-out"
            except aiohttp.ClientPayloadError:
                why = "cut off"
            except aiohttp.InvalidURL:  # the error's own words have the address, and that NCBI's key
                raise Refused("no usable address") from None
            except aiohttp.ClientConnectorError as error:
                why = f"no connection ({error.os_error.strerror or error})"
            except (aiohttp.ClientError, ConnectionError) as error:
                why = f"broken connection ({type(error).__name__})"
            finally:
                if (
                    host.seconds_apart
                ):  # the service counts from when a request reaches it, which is before now
                    host.next_turn = max(host.next_turn, time.monotonic() + host.seconds_apart)
            self.traffic.again[why.partition(" (")[0]] += 1
            if progress() >= far + PROGRESS_BYTES:
                far, tried = progress(), 1
        if not host.answered or self._given_up >= GIVEN_UP_IN_A_ROW:
            self._given_up = GIVEN_UP_IN_A_ROW
            raise InputError(
                f"{name} cannot be reached ({why or 'it has stopped answering'}); check the network and "
                "--endpoint, and run the same command again: what was fetched is kept"
            )
        self._given_up += 1
        raise Unanswered(f"{why}, {tried} times")

    @asynccontextmanager
    async def _opened(
        self,
        method: str,
        url: str,
        params: Mapping[str, str] | None,
        headers: dict[str, str],
        proxy: str | None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer that is no redirect. Raises Refused, without an address, where one is not to be followed."""
        assert self._session is not None
        place: str | URL = url
        for _ in range(MOST_REDIRECTS + 1):
            async with self._session.request(
                method, place, params=params, headers=headers, allow_redirects=False, proxy=proxy
            ) as response:
                location = response.headers.get("Location")
                if response.status not in REDIRECTS or location is None:
                    yield response
                    return
                target = followed(response.url, _clean(location))
                if target is None:
                    raise Refused("a redirect to another host")
            if (target.scheme, target.host) != (response.url.scheme, response.url.host):
                proxy = proxy_of(str(target))
            place, params = target, None  # what is asked for stands in the new address
        raise Refused("too many redirects")

    def _pause(self, tried: int) -> float:
        """Full jitter: anything up to a bound that doubles."""
        bound = min(self.config.backoff_most_seconds, self.config.backoff_seconds * 2 ** (tried - 1))
        return self._random.uniform(0, bound)

    async def _turn(self, host: _Host) -> None:
        """Wait for the host's pause to end, and for a turn where it has a rate."""
        while (wait := host.not_before - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        if host.seconds_apart:
            turn = max(time.monotonic(), host.next_turn)
            host.next_turn = turn + host.seconds_apart
            await asyncio.sleep(max(0.0, turn - time.monotonic()))

    def _heed(self, name: str, host: _Host, retry_after: str | None) -> None:
        """Nothing more to this host before the time that it says."""
        seconds = min(seconds_of(retry_after), MOST_PAUSE_SECONDS)
        until = time.monotonic() + seconds
        if seconds and until > host.not_before + 1:
            if seconds > SAID_PAUSE_SECONDS:
                _log.warning("%s asks to wait for %.0f s", name, seconds)
            host.not_before = until


class _TryAgain(Exception):  # noqa: N818
    """An answer that is not usable, as it came."""


class _WrongBytes(_TryAgain):
    """A whole answer with other bytes than it should have."""


def _clean(value: str) -> str:
    """A header's value that any file can hold: aiohttp decodes bytes that are no UTF-8 to lone surrogates."""
    return value.encode("utf-8", "replace").decode()


def _headers_of(response: aiohttp.ClientResponse) -> dict[str, str]:
    return {name.lower(): _clean(value) for name, value in response.headers.items()}


async def _bounded(response: aiohttp.ClientResponse, most_bytes: int) -> bytes:
    pieces, size = [], 0
    async for chunk in response.content.iter_chunked(CHUNK_BYTES):
        size += len(chunk)
        if size > most_bytes:
            raise Refused(f"larger than {most_bytes >> 20} MiB")
        pieces.append(chunk)
    return b"".join(pieces)
