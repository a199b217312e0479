"""A local imitation of the services that distribute the literature, with faults on request.

Tests and the download benchmark ask this server what they would ask PMC's bucket, ESearch, Europe PMC and PubMed's
folders. It is a bare `asyncio.Protocol`, because a benchmark must not wait for its server and because a fault needs a
say over every byte.
"""

import argparse
import asyncio
import base64
import csv
import gzip
import html
import io
import json
import random
import re
import socket
import struct
import tarfile
import threading
import time
import uuid
import zlib
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from functools import lru_cache
from hashlib import blake2b, md5
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl, quote, unquote
from xml.sax.saxutils import escape

V = TypeVar("V")

WRITE_BYTES = 1 << 18  # a longer body goes out in pieces, each when the client has taken the one before
REQUEST_BYTES = 1 << 16
INVENTORY_ROWS = 250_000  # in one data file
BODY_FAULTS = ("reset", "cut", "wrong", "slow", "stall")  # only for a GET that finds something
FIRST_RELEASE, LAST_RELEASE = date(2010, 1, 1), date(2026, 10, 31)
DATES = re.compile(
    r'"?(\d{4}(?:/\d{1,2}){0,2})"?(?:\[\w+\])?(?:\s*:\s*"?(\d{4}(?:/\d{1,2}){0,2})"?)?\s*\[(pdat|pmcrdat)\]',
    re.I,
)


class Request(NamedTuple):
    """One line of the log. `status` is 0 where no status line was sent."""

    time: float  # time.monotonic() when it came
    method: str
    path: str  # with the query
    status: int
    user_agent: str
    in_flight: int  # others that were being answered when this one came


class Answer(NamedTuple):
    """`head` ends with its last field's line break: the connection adds its own field and the empty line."""

    status: int
    head: bytes
    body: bytes


class Stored(NamedTuple):
    """An object or file with its header fields ready to send."""

    body: bytes
    etag: str  # without quotes
    modified: datetime
    fields: bytes  # all but Content-Length
    head: bytes  # of a plain 200


class Conditions(NamedTuple):
    """The request headers that matter here, as sent."""

    user_agent: str = ""
    connection: str = ""
    range: str = ""
    if_none_match: str = ""
    if_range: str = ""


class Default(dict[int, V]):
    """A dict that works out what it was not told."""

    def __init__(self, default: Callable[[int], V]) -> None:
        super().__init__()
        self._default = default

    def __missing__(self, key: int) -> V:
        return self._default(key)


@lru_cache(maxsize=4096)
def read_conditions(lines: bytes) -> Conditions:
    """Cached, because a client repeats its headers with every request."""
    found = {}
    for line in lines.decode("latin-1").split("\r\n"):
        name, _, value = line.partition(":")
        name = name.strip().lower().replace("-", "_")
        if name in Conditions._fields:
            found[name] = value.strip()
    return Conditions(**found)


def md5_hex(data: bytes) -> str:
    return md5(data, usedforsecurity=False).hexdigest()


def iso_time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def make_answer(status: int, content_type: str, body: bytes, fields: str = "") -> Answer:
    line = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
    head = f"{line}Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n{fields}"
    return Answer(status, head.encode("latin-1"), body)


def s3_error(status: int, code: str, message: str, inside: str = "", fields: str = "") -> Answer:
    body = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message>{inside}'
        "<RequestId>4442587FB7D0A2F9</RequestId><HostId>replica</HostId></Error>"
    )
    return make_answer(status, "application/xml", body.encode(), "Server: AmazonS3\r\n" + fields)


def no_such_key(key: str) -> Answer:
    return s3_error(404, "NoSuchKey", "The specified key does not exist.", f"<Key>{escape(key)}</Key>")


def json_answer(status: int, content: Any, fields: str = "") -> Answer:
    return make_answer(status, "application/json; charset=UTF-8", json.dumps(content).encode(), fields)


def not_found(path: str) -> Answer:
    body = f"<html><head><title>404 Not Found</title></head><body>{html.escape(path)} was not found.</body></html>"
    return make_answer(404, "text/html; charset=UTF-8", body.encode(), "Server: Apache\r\n")


def rounded_size(size: int) -> str:
    """As Apache prints it: 812, 4.2K, 34M."""
    amount, unit = float(size), ""
    for unit in ("", "K", "M", "G"):
        if amount < 999.5 or unit == "G":
            break
        amount /= 1024
    return f"{amount:.1f}{unit}" if unit and amount < 9.95 else f"{amount:.0f}{unit}"


def part_of(stored: Stored, asked: Conditions) -> Answer:
    """What a GET with conditions gets: 304, 206, 416, or all of it (also for several ranges)."""
    tag = f'"{stored.etag}"'
    tags = [each.strip().removeprefix("W/") for each in asked.if_none_match.split(",")]
    if tag in tags or asked.if_none_match == "*":
        return Answer(304, b"HTTP/1.1 304 Not Modified\r\n" + stored.fields, b"")
    size = len(stored.body)
    unchanged = asked.if_range in ("", tag, format_datetime(stored.modified, usegmt=True))
    bounds = re.fullmatch(r"bytes=\s*(\d*)-(\d*)", asked.range)
    if not bounds or not unchanged or bounds[0].endswith("=-"):
        return Answer(200, stored.head, stored.body)
    if bounds[1]:
        first, last = int(bounds[1]), min(int(bounds[2] or size), size - 1)
        if bounds[2] and int(bounds[2]) < first:
            return Answer(200, stored.head, stored.body)
    else:
        first, last = max(size - int(bounds[2]), 0), size - 1
    if first >= size:
        range_field = f"Content-Range: bytes */{size}\r\n"
        return s3_error(416, "InvalidRange", "The requested range is not satisfiable", fields=range_field)
    body = stored.body[first : last + 1]
    return Answer(
        206,
        b"HTTP/1.1 206 Partial Content\r\n%bContent-Length: %d\r\nContent-Range: bytes %d-%d/%d\r\n"
        % (stored.fields, len(body), first, last, size),
        body,
    )


def conjuncts(term: str) -> list[str]:
    """The parts of a query that AND joins outside brackets and quotes."""
    parts, start, depth, quoted = [], 0, 0, False
    for mark in re.finditer(r'["()]| AND ', term):
        if mark[0] == '"':
            quoted = not quoted
        elif quoted:
            continue
        elif mark[0] in "()":
            depth += 1 if mark[0] == "(" else -1
        elif depth == 0:
            parts.append(term[start : mark.start()])
            start = mark.end()
    return [part.strip() for part in (*parts, term[start:])]


def unwrapped(term: str) -> str:
    """The query without the brackets around all of it."""
    while term.startswith("(") and term.endswith(")"):
        depth = 0
        for character in term[1:-1]:
            depth += (character == "(") - (character == ")")
            if depth < 0:
                return term
        term = term[1:-1].strip()
    return term


def day_of(text: str, missing: tuple[int, int]) -> tuple[int, int, int]:
    """`2015/03` with what is missing filled in; a tuple, because Entrez writes an open end as the year 3000."""
    year, month, day = (*map(int, text.split("/")), *missing[text.count("/") :])[:3]
    return year, month, day


def default_release(pmcid: int) -> date:
    days = (LAST_RELEASE - FIRST_RELEASE).days + 1
    return FIRST_RELEASE + timedelta(days=zlib.crc32(b"%d" % pmcid) % days)


@dataclass
class Faults:
    """What goes wrong. A path in `rates` works in the end; the same seed gives the same faults.

    Kinds: 503, 429, 500, 403, 404; reset (in mid-body), reset_early (before any byte), cut (a clean end after half the
    body), wrong (one byte), slow (the body in four pieces), stall (headers only, then the end).
    """

    seed: int = 0
    rates: dict[str, float] = field(default_factory=dict)
    # kind → share of the paths (with query) that get it; a path chosen for several kinds gets one after the other
    times: int = 1
    # a chosen path's GETs that get each of its kinds; what comes after them works
    always: dict[str, str] = field(default_factory=dict)
    # path or its beginning → kind, for every GET and HEAD; the longest that fits
    only: str | None = None
    # regular expression, searched in the paths that `rates` are for
    retry_after: float = 1
    # seconds, for 429
    slow_seconds: float = 0.05
    stall_seconds: float = 30
    latency_seconds: float = 0
    # before every answer
    counts: Counter[str] = field(default_factory=Counter)
    # what was injected
    _asked: Counter[str] = field(default_factory=Counter, init=False, repr=False)

    def kind_for(self, method: str, target: str) -> str | None:
        """The fault that this request gets; counts the request."""
        if fitting := [path for path in list(self.always) if target.startswith(path)]:
            return self.always[max(fitting, key=len)]
        if not self.rates or method != "GET" or (self.only is not None and not re.search(self.only, target)):
            return None
        asked = self._asked[target]
        self._asked[target] += 1
        chosen = [kind for kind, rate in list(self.rates.items()) if self._share(kind, target) < rate]
        turn = asked // self.times if self.times > 0 else len(chosen)
        return chosen[turn] if turn < len(chosen) else None

    def _share(self, kind: str, target: str) -> float:
        digest = blake2b(f"{self.seed}\0{kind}\0{target}".encode(), digest_size=8).digest()
        return int.from_bytes(digest) / 2**64

    def answer(self, kind: str) -> Answer:
        """The answer for a kind that does without a body of ours; status 0 is no answer at all."""
        match kind:
            case "503":
                return s3_error(503, "SlowDown", "Please reduce your request rate.")
            case "429":
                fields = f"Retry-After: {max(0, int(self.retry_after))}\r\n"
                return s3_error(429, "TooManyRequests", "Please reduce your request rate.", fields=fields)
            case "500":
                return s3_error(500, "InternalError", "We encountered an internal error. Please try again.")
            case "403":
                return s3_error(403, "AccessDenied", "Access Denied")
            case "404":
                return s3_error(404, "NoSuchKey", "The specified key does not exist.")
            case "reset_early":
                return Answer(0, b"", b"")
        raise ValueError(f"no fault is called {kind!r}")


class Replica:
    """What the services hold. Methods may be called from any thread while it is served."""

    bucket = "pmc-oa-opendata"

    def __init__(self, *, keep_log: bool = True) -> None:
        self.keep_log = keep_log
        self.log: list[Request] = []
        self.faults = Faults()
        self.down = False  # closes every connection without an answer
        self.now = datetime(2026, 11, 25, 12, tzinfo=UTC)  # last-modified of what is put or changed
        self.page_size = 1000  # keys in one page of a bucket's listing
        self.esearch_limit = 10_000  # ids that ESearch gives out for one query
        self.eutils_per_second: int | None = 3
        self.released: dict[int, date] = Default(default_release)
        self.published: dict[int, int] = Default(lambda pmcid: self.released[pmcid].year)
        self._stored: dict[str, Stored] = {}  # by path
        self._sorted: list[str] | None = None  # by code point, which is UTF-8's byte order
        self._queries: dict[str, list[int]] = {}
        self._eutils_times: defaultdict[str, deque[float]] = defaultdict(deque)  # by api_key
        self._lock = threading.RLock()

    def put_article(self, name: str, xml: bytes, **metadata: Any) -> None:
        """Put `PMC123.1` with its metadata, or replace it; `metadata` overrides what the XML says."""
        if not re.fullmatch(r"PMC\d+\.\d+", name):
            raise ValueError(f"an article is named like PMC123.1, not {name}")
        described = self._describe(name, xml) | metadata
        with self._lock:
            self._put(f"/{self.bucket}/{name}/{name}.xml", xml, "application/xml")
            self._put_metadata(name, described)

    def change(self, name: str, **metadata: Any) -> None:
        """Replace these fields of the metadata."""
        with self._lock:
            old = json.loads(self._stored[f"/{self.bucket}/metadata/{name}.json"].body)
            self._put_metadata(name, old | metadata)

    def remove_article(self, name: str) -> None:
        """Its objects are gone."""
        for key in (f"{name}/{name}.xml", f"{name}/{name}.json", f"metadata/{name}.json"):
            self._remove(f"/{self.bucket}/{key}")

    def lose_xml(self, name: str) -> None:
        """Only the XML is gone: the metadata still name it."""
        self._remove(f"/{self.bucket}/{name}/{name}.xml")

    def take_inventory(self, date: str) -> None:
        """Freeze an inventory of the metadata that are there now, as of 01:00 UTC on `date` (2026-11-25)."""
        created = datetime.fromisoformat(date).replace(hour=1, tzinfo=UTC)
        folder = f"inventory-reports/{self.bucket}/metadata"
        skipped = len(f"/{self.bucket}/")
        with self._lock:
            stored = [
                (path[skipped:], self._stored[path]) for path in self._under(f"/{self.bucket}/metadata/")
            ]
            rows = [(self.bucket, key, iso_time(each.modified), each.etag) for key, each in stored]
            count = max(min(2, len(rows)), -(-len(rows) // INVENTORY_ROWS))
            files = []
            for index in range(count):
                text = io.StringIO()
                csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows[index::count])
                data = gzip.compress(text.getvalue().encode(), compresslevel=1, mtime=0)
                name = uuid.uuid5(uuid.NAMESPACE_URL, f"{date}/{index}/{md5_hex(data)}")
                key = f"{folder}/data/{name}.csv.gz"
                self._put(f"/{self.bucket}/{key}", data, "application/octet-stream", created)
                files.append({"key": key, "size": len(data), "MD5checksum": md5_hex(data)})
            manifest = {
                "sourceBucket": self.bucket,
                "destinationBucket": f"arn:aws:s3:::{self.bucket}",
                "version": "2016-11-30",
                "creationTimestamp": str(int(created.timestamp() * 1000)),
                "fileFormat": "CSV",
                "fileSchema": "Bucket, Key, LastModifiedDate, ETag",
                "files": files,
            }
            body = json.dumps(manifest, indent=2).encode()
            path = f"/{self.bucket}/{folder}/{date}T01-00Z/manifest"
            self._put(f"{path}.json", body, "application/json", created)
            self._put(f"{path}.checksum", md5_hex(body).encode(), "application/octet-stream", created)

    def put_query(self, term: str, pmcids: Sequence[int]) -> None:
        """Let ESearch find these for this term, in this order."""
        self._queries[" ".join(term.split())] = list(dict.fromkeys(pmcids))

    def put_file(self, path: str, data: bytes) -> None:
        """Put or replace a file of a folder; one of PubMed's gets its `.md5` beside it."""
        content_type = "application/x-gzip" if path.endswith(".gz") else "text/plain"
        with self._lock:
            self._put(path, data, content_type)
            if path.startswith("/pubmed/") and path.endswith(".xml.gz"):
                line = f"MD5({path.rpartition('/')[2]})= {md5_hex(data)}\n"
                self._put(f"{path}.md5", line.encode(), "text/plain")

    def remove_file(self, path: str) -> None:
        """The file is gone, and the `.md5` beside it."""
        self._remove(path)
        self._remove(f"{path}.md5")

    def _put(self, path: str, body: bytes, content_type: str, modified: datetime | None = None) -> None:
        modified = modified or self.now
        etag = md5_hex(body)
        fields = (
            f'Content-Type: {content_type}\r\nETag: "{etag}"\r\nLast-Modified: '
            f"{format_datetime(modified, usegmt=True)}\r\nAccept-Ranges: bytes\r\nServer: "
            f"{'AmazonS3' if path.startswith(f'/{self.bucket}/') else 'Apache'}\r\n"
        ).encode("latin-1")
        head = b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n" % (fields, len(body))
        with self._lock:
            if path not in self._stored:
                self._sorted = None
            self._stored[path] = Stored(body, etag, modified, fields, head)

    def _put_metadata(self, name: str, metadata: dict[str, Any]) -> None:
        body = json.dumps(metadata, indent=2, ensure_ascii=False).encode()
        for key in (f"{name}/{name}.json", f"metadata/{name}.json"):
            self._put(f"/{self.bucket}/{key}", body, "application/json")

    def _remove(self, path: str) -> None:
        with self._lock:
            if self._stored.pop(path, None):
                self._sorted = None

    def _describe(self, name: str, xml: bytes) -> dict[str, Any]:
        """The metadata of an article; the URL of its text names an object that is not here."""
        front = xml[:65536].decode(errors="replace")

        def first(pattern: str) -> str | None:
            found = re.search(pattern, front, re.S)
            return " ".join(re.sub(r"<[^>]*>", "", found[1]).split()) if found else None

        pmcid, _, version = name.partition(".")
        pmid = first(r'<article-id pub-id-type="pmid">\s*(\d+)')
        journal = first(r"<journal-title>(.*?)</journal-title>")
        year = first(r"<pub-date\b.*?<year\b[^>]*>\s*(\d{4})")
        licence = first(r"creativecommons\.org/(licenses/[a-z-]+|publicdomain/zero)") or "licenses/by"
        url = f"s3://{self.bucket}/{name}/{name}"
        return {
            "pmcid": pmcid,
            "version": int(version),
            "pmid": int(pmid) if pmid else None,
            "doi": first(r'<article-id pub-id-type="doi">(.*?)</article-id>'),
            "title": first(r"<article-title\b[^>]*>(.*?)</article-title>"),
            "citation": f"{journal or 'A journal'}. {year or 'n.d.'}; {pmcid}",
            "is_pmc_openaccess": True,
            "is_manuscript": False,
            "is_historical_ocr": False,
            "is_retracted": False,
            "license_code": "CC0" if "zero" in licence else f"CC {licence.partition('/')[2].upper()}",
            "xml_url": f"{url}.xml?md5={md5_hex(xml)}",
            "text_url": f"{url}.txt?md5={md5_hex(url.encode())}",
            "pdf_url": None,
            "media_urls": [],
        }

    def _paths(self) -> list[str]:
        with self._lock:
            if self._sorted is None:
                self._sorted = sorted(self._stored)
            return self._sorted

    def _under(self, prefix: str) -> Iterator[str]:
        paths = self._paths()
        for index in range(bisect_left(paths, prefix), len(paths)):
            if not paths[index].startswith(prefix):
                return
            yield paths[index]

    def _entries(self, prefix: str, delimiter: str, start: str) -> Iterator[tuple[str, str, Stored | None]]:
        """From `start` on: (path, name after the prefix, object), or None for the object where names share a folder.

        The path of a folder is its first object's, from which a listing can go on.
        """
        paths = self._paths()
        index = bisect_left(paths, max(start, prefix))
        while index < len(paths) and paths[index].startswith(prefix):
            path = paths[index]
            name = path[len(prefix) :]
            folder, found, _ = name.partition(delimiter) if delimiter else ("", "", "")
            if found:
                yield path, folder + found, None
                index = bisect_right(paths, f"{prefix}{folder}{found}\U0010ffff", lo=index)
            else:
                if stored := self._stored.get(path):
                    yield path, name, stored
                index += 1

    def answer(self, method: str, target: str, asked: Conditions) -> Answer:
        """What the services answer when nothing goes wrong."""
        if method not in ("GET", "HEAD"):
            return make_answer(405, "text/plain", b"GET and HEAD only\n", "Allow: GET, HEAD\r\n")
        stored = self._stored.get(target)
        if stored is None:
            path, _, query = target.partition("?")
            path = unquote(path)
            stored = self._stored.get(path)
            if stored is None:
                return self._generated(path, query)
        if asked.range or asked.if_none_match:
            return part_of(stored, asked)
        return Answer(200, stored.head, stored.body)

    def _generated(self, path: str, query: str) -> Answer:
        if path.startswith("/eutils/"):
            parameters = dict(parse_qsl(query, keep_blank_values=True))
            return self._too_many(parameters) or self._esearch(path, parameters)
        if path in (f"/{self.bucket}", f"/{self.bucket}/"):
            return self._listing(dict(parse_qsl(query, keep_blank_values=True)))
        if path.startswith(f"/{self.bucket}/"):
            return no_such_key(path.removeprefix(f"/{self.bucket}/"))
        return self._index(path) if path.endswith("/") else not_found(path)

    def _listing(self, parameters: dict[str, str]) -> Answer:
        """ListObjectsV2."""
        if parameters.get("list-type") != "2":
            return s3_error(400, "InvalidArgument", "Only list-type=2 is answered here.")
        root = f"/{self.bucket}/"
        prefix, delimiter = parameters.get("prefix", ""), parameters.get("delimiter", "")
        size = min(int(parameters.get("max-keys") or self.page_size), self.page_size)
        start = ""
        if token := parameters.get("continuation-token"):
            try:
                start = base64.b64decode(token, validate=True).decode()
            except ValueError:
                return s3_error(400, "InvalidArgument", "The continuation token provided is incorrect")
        elif after := parameters.get("start-after"):
            start = f"{root}{after}\0"
        contents: list[str] = []
        folders: list[str] = []
        following = None
        for path, name, stored in self._entries(root + prefix, delimiter, start):
            if len(contents) + len(folders) == size:
                following = path if size else None
                break
            key = escape(prefix + name)
            if stored is None:
                folders.append(f"<CommonPrefixes><Prefix>{key}</Prefix></CommonPrefixes>")
            else:
                contents.append(
                    f"<Contents><Key>{key}</Key><LastModified>{iso_time(stored.modified)}</LastModified><ETag>&quot;"
                    f"{stored.etag}&quot;</ETag><Size>{len(stored.body)}</Size><StorageClass>STANDARD</StorageClass>"
                    "</Contents>"
                )
        fields = {
            "Name": self.bucket,
            "Prefix": prefix,
            "StartAfter": parameters.get("start-after"),
            "ContinuationToken": token,
            "NextContinuationToken": following and base64.b64encode(following.encode()).decode(),
            "KeyCount": str(len(contents) + len(folders)),
            "MaxKeys": str(size),
            "Delimiter": delimiter or None,
            "IsTruncated": "true" if following else "false",
        }
        told = "".join(
            f"<{name}>{escape(text)}</{name}>" for name, text in fields.items() if text is not None
        )
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"{told}{''.join(contents)}{''.join(folders)}</ListBucketResult>"
        )
        return make_answer(200, "application/xml", body.encode(), "Server: AmazonS3\r\n")

    def _index(self, path: str) -> Answer:
        """A folder as Apache shows it."""
        lines = []
        for _, name, stored in self._entries(path, "/", ""):
            shown = f'<a href="{html.escape(quote(name))}">{html.escape(name)}</a>'
            when, size = (
                (f"{stored.modified:%Y-%m-%d %H:%M}", rounded_size(len(stored.body))) if stored else ("", "-")
            )
            lines.append(f"{shown}{' ' * max(1, 40 - len(name))}{when:16}  {size:>4}  \n")
        if not lines:
            return not_found(path)
        title = f"Index of {html.escape(path.rstrip('/') or '/')}"
        parent = html.escape(quote(path.rstrip("/").rpartition("/")[0] + "/"))
        body = (
            f'<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 3.2 Final//EN">\n<html><head><title>{title}</title></head>\n'
            f"<body><h1>{title}</h1>\n<pre>Name{' ' * 36}Last modified      Size  <hr>"
            f'<a href="{parent}">Parent Directory</a>{" " * 44}-  \n{"".join(lines)}<hr></pre>\n</body></html>\n'
        )
        return make_answer(200, "text/html; charset=UTF-8", body.encode(), "Server: Apache\r\n")

    def _too_many(self, parameters: dict[str, str]) -> Answer | None:
        """A 429 when this and the requests of the last second, refused ones too, are more than allowed."""
        if self.eutils_per_second is None:
            return None
        key = parameters.get("api_key", "")
        limit = 10 if key else self.eutils_per_second
        now, times = time.monotonic(), self._eutils_times[key]
        while times and times[0] <= now - 1:
            times.popleft()
        times.append(now)
        if len(times) <= limit:
            return None
        refusal = {"error": "API rate limit exceeded", "api-key": key or "127.0.0.1"}
        return json_answer(
            429, refusal | {"count": str(len(times)), "limit": str(limit)}, "Retry-After: 1\r\n"
        )

    def _esearch(self, path: str, parameters: dict[str, str]) -> Answer:
        if path != "/eutils/esearch.fcgi":
            return not_found(path)
        header = {"type": "esearch", "version": "0.3"}
        if parameters.get("db") != "pmc":
            error = f"Invalid db name specified: {parameters.get('db', '')}"
            return json_answer(200, {"header": header, "esearchresult": {"ERROR": error}})
        term = parameters.get("term", "")
        start, most = int(parameters.get("retstart") or 0), int(parameters.get("retmax") or 20)
        missing: list[str] = []
        found = self._found(term, missing)
        ids = [] if most > self.esearch_limit else found[: self.esearch_limit][start : start + most]
        result: dict[str, Any] = {
            "count": str(len(found)),
            "retmax": str(len(ids)),
            "retstart": str(start),
            "idlist": [str(pmcid) for pmcid in ids],
            "translationset": [],
            "querytranslation": term,
        }
        if missing:
            result["errorlist"] = {"phrasesnotfound": missing, "fieldsnotfound": []}
        return json_answer(200, {"header": header, "esearchresult": result})

    def _found(self, term: str, missing: list[str]) -> list[int]:
        """The PMCIDs for a term that was put, narrowed by the dates that AND joins to it."""
        term = " ".join(term.split())
        if term in self._queries:
            return self._queries[term]
        if (inner := unwrapped(term)) != term:
            return self._found(inner, missing)
        parts = [unwrapped(part) for part in conjuncts(term)]
        dates = [clause for part in parts if (clause := DATES.fullmatch(part))]
        rest = [part for part in conjuncts(term) if not DATES.fullmatch(unwrapped(part))]
        if dates:
            found: Iterable[int] = self._found(" AND ".join(rest), missing) if rest else self._pmcids()
            for clause in dates:
                found = self._within(clause, found)
            return list(found)
        if len(rest) == 1:
            missing.append(term)
            return []
        first, *others = [self._found(part, missing) for part in rest]
        common = set(first).intersection(*others)
        return [pmcid for pmcid in first if pmcid in common]

    def _within(self, clause: re.Match[str], pmcids: Iterable[int]) -> list[int]:
        first, last = day_of(clause[1], (1, 1)), day_of(clause[2] or clause[1], (12, 31))
        if clause[3].lower() == "pdat":
            return [pmcid for pmcid in pmcids if first[0] <= self.published[pmcid] <= last[0]]
        days = ((pmcid, self.released[pmcid]) for pmcid in pmcids)
        return [pmcid for pmcid, day in days if first <= (day.year, day.month, day.day) <= last]

    def _pmcids(self) -> list[int]:
        """All that are known, for a query of dates alone."""
        known = {pmcid for found in list(self._queries.values()) for pmcid in found}
        prefix = f"/{self.bucket}/metadata/PMC"
        known.update(int(path.removeprefix(prefix).partition(".")[0]) for path in self._under(prefix))
        return sorted(known)


class Service:
    """What the connections of one server share; only its thread touches it."""

    def __init__(self, replica: Replica, loop: asyncio.AbstractEventLoop) -> None:
        self.replica = replica
        self.loop = loop
        self.in_flight = 0
        self.connections: set[Connection] = set()


class Connection(asyncio.Protocol):
    """Answers one request at a time; what arrives meanwhile waits in `received`."""

    transport: asyncio.Transport

    def __init__(self, service: Service) -> None:
        self.service = service
        self.replica = service.replica
        self.received = b""
        self.busy = False
        self.paused = False  # the client is slower than we are
        self.timer: asyncio.Handle | None = None  # for what goes on later
        self.pieces: deque[tuple[float, bytes | memoryview]] = deque()  # (seconds to wait before it, bytes)
        self.end = "keep"  # then "close", or "abort" with a reset

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if self.replica.down:
            transport.abort()
            return
        transport.set_write_buffer_limits(high=0)  # so that "not paused" means that the kernel has everything
        self.service.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.service.connections.discard(self)
        self.service.in_flight -= self.busy
        self.busy = False
        self.pieces.clear()
        if self.timer:
            self.timer.cancel()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        if self.busy and not self.timer:  # not at once: asyncio is in the middle of its own writing
            self.timer = self.service.loop.call_soon(self._go_on)

    def data_received(self, data: bytes) -> None:
        self.received = self.received + data if self.received else data
        self._answer_received()

    def _answer_received(self) -> None:
        while self.received and not self.busy and not self.transport.is_closing():
            end = self.received.find(b"\r\n\r\n")
            if end < 0:
                if len(self.received) > REQUEST_BYTES:
                    self.transport.abort()
                return
            head, self.received = self.received[:end], self.received[end + 4 :]
            self._answer_one(head)

    def _answer_one(self, request: bytes) -> None:
        arrived = time.monotonic()
        line, _, lines = request.partition(b"\r\n")
        words = line.decode("latin-1").split(" ")
        if len(words) != 3 or self.replica.down:
            self.transport.abort()
            return
        method, target, protocol = words
        asked = read_conditions(lines)
        answer = self.replica.answer(method, target, asked)
        faults = self.replica.faults
        kind = faults.kind_for(method, target) if faults.always or faults.rates else None
        if kind in BODY_FAULTS and (method == "HEAD" or answer.status not in (200, 206) or not answer.body):
            kind = None
        if kind:
            faults.counts[kind] += 1
            if kind not in BODY_FAULTS:
                answer, kind = faults.answer(kind), None
        if self.replica.keep_log:
            others = self.service.in_flight
            entry = Request(arrived, method, target, answer.status, asked.user_agent, others)
            self.replica.log.append(entry)
        self.busy = True
        self.service.in_flight += 1
        wish = asked.connection.lower()
        closing = wish == "close" or (protocol == "HTTP/1.0" and wish != "keep-alive") or answer.status == 405
        self.end = "abort" if answer.status == 0 else "close" if closing else "keep"
        head = answer.head + (b"Connection: close\r\n\r\n" if closing else b"\r\n")
        body = answer.body if method != "HEAD" else b""
        if answer.status:
            self._plan(kind, head, body)
        if faults.latency_seconds:
            self.pieces.appendleft((faults.latency_seconds, b""))
        self._pump()

    def _plan(self, kind: str | None, head: bytes, body: bytes) -> None:
        """What to write when, and how it ends."""
        add, half = self.pieces.append, (len(body) + 1) // 2
        match kind:
            case "reset" | "cut":
                add((0, head + body[: len(body) - half]))
                self.end = "abort" if kind == "reset" else "close"
            case "stall":
                add((0, head))
                add((self.replica.faults.stall_seconds, b""))
                self.end = "close"
            case "slow":
                quarter = -(-len(body) // 4)
                add((0, head + body[:quarter]))
                for start in range(quarter, len(body), quarter):
                    add((self.replica.faults.slow_seconds, body[start : start + quarter]))
            case _:
                if kind == "wrong":
                    body = body[: half - 1] + bytes([body[half - 1] ^ 1]) + body[half:]
                if len(body) <= WRITE_BYTES:
                    add((0, head + body))
                    return
                add((0, head))
                view = memoryview(body)
                self.pieces.extend(
                    (0, view[at : at + WRITE_BYTES]) for at in range(0, len(body), WRITE_BYTES)
                )

    def _go_on(self) -> None:
        self.timer = None
        self._pump()
        self._answer_received()

    def _pump(self) -> None:
        """Write until the plan or the client says to wait, or the answer is complete."""
        while self.pieces and not self.paused:
            seconds, data = self.pieces.popleft()
            if self.replica.down:
                self.transport.abort()
                return
            if seconds:
                self.pieces.appendleft((0, data))
                self.timer = self.service.loop.call_later(seconds, self._go_on)
                return
            self.transport.write(data)
        if self.paused or self.pieces:
            return
        self.busy = False
        self.service.in_flight -= 1
        if self.end == "close":
            self.transport.close()
        elif self.end == "abort":
            # Without lingering the kernel sends a reset; plain closing would look like a clean end.
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()


@contextmanager
def serving(replica: Replica) -> Iterator[str]:
    """Serve in a thread of its own until the block ends; yields `http://127.0.0.1:PORT`."""
    loop = asyncio.new_event_loop()
    service = Service(replica, loop)
    starting = loop.create_server(lambda: Connection(service), "127.0.0.1", 0, backlog=1024)
    server = loop.run_until_complete(starting)
    port = server.sockets[0].getsockname()[1]

    def serve() -> None:
        loop.run_forever()
        server.close()
        for connection in list(service.connections):
            connection.transport.abort()
        loop.run_until_complete(asyncio.sleep(0.01))  # lets the transports close their sockets
        loop.close()

    thread = threading.Thread(target=serve, name="replica", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


KINDS = "rapid stable novel human bacterial chronic mild severe early late specific soluble cellular viral".split()
THINGS = (
    "protein kinase receptor tumour membrane gene antibody neuron infection cohort pathway mutation vaccine enzyme "
    "tissue patient marker therapy genome transcript inflammation peptide lesion diet exposure biopsy fibroblast "
    "plasma cytokine ligand promoter"
).split()
ACTS = (
    "increased reduced altered predicted inhibited followed preceded activated stabilised explained".split()
)
SENTENCES = (
    "The {} {} {} the {} {} in {} of {:.0%} of the samples.",
    "We found that the {} {} {} the {} {} when the {} was removed ({:.2f} in the controls).",
    "In contrast, one {} {} {} every {} {} that had been treated with the {} for {:.1f} hours.",
    "These results suggest that {} {} {} the response of the {} {} to {}, by a factor of {:.2f}.",
)


def _text(generator: random.Random, sentences: int) -> str:
    written = []
    for _ in range(sentences):
        kinds, things = generator.choices(KINDS, k=2), generator.choices(THINGS, k=3)
        words = (kinds[0], things[0], generator.choice(ACTS), kinds[1], things[1], things[2])
        written.append(generator.choice(SENTENCES).format(*words, generator.random()))
    return " ".join(written)


def invented_article(pmcid: int, version: int = 1, paragraphs: int = 3, seed: int = 0) -> bytes:
    """A small JATS article with everything that a reader looks for; the same arguments give the same bytes."""
    generator = random.Random(f"{seed}/{pmcid}/{version}")
    title = (
        f"A {generator.choice(KINDS)} {generator.choice(THINGS)} and its {generator.choice(THINGS)} {pmcid}"
    )
    body = "".join(f"<p>{_text(generator, generator.randint(3, 9))}</p>" for _ in range(paragraphs))
    licence = "https://creativecommons.org/licenses/by/4.0/"
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE article PUBLIC "-//NLM//DTD JATS (Z39.96) Journal Archiving and Interchange DTD v1.3 20210610//EN" \
"JATS-archivearticle1-3.dtd">
<article xmlns:xlink="http://www.w3.org/1999/xlink" article-type="research-article" xml:lang="en"><front>
<journal-meta><journal-id journal-id-type="nlm-ta">J Replica</journal-id>
<journal-title-group><journal-title>Journal of Replicas</journal-title></journal-title-group>
<issn pub-type="epub">2999-0000</issn><publisher><publisher-name>Replica Press</publisher-name></publisher>
</journal-meta><article-meta>
<article-id pub-id-type="pmc">PMC{pmcid}</article-id><article-id pub-id-type="pmid">{40_000_000 + pmcid}</article-id>
<article-id pub-id-type="doi">10.5555/replica.{pmcid}.{version}</article-id>
<title-group><article-title>{title}</article-title></title-group>
<pub-date pub-type="epub"><year>{default_release(pmcid).year}</year></pub-date>
<permissions><license license-type="open-access" xlink:href="{licence}"><license-p>This article may be used under \
<ext-link ext-link-type="uri" xlink:href="{licence}">CC BY</ext-link>.</license-p></license></permissions>
<abstract><p>{_text(generator, 4)}</p></abstract>
</article-meta></front><body><sec><title>Results</title>{body}
<fig id="f1"><label>Figure 1</label><caption><p>{_text(generator, 3)}</p></caption>
<graphic xlink:href="f1"/></fig></sec></body></article>
""".encode()


def _real_articles(data: Path) -> Iterator[tuple[str, bytes]]:
    with (data / "articles" / "manifest.csv").open(newline="") as table:
        for row in csv.DictReader(table):
            made_up = f"PMC{90_000_001 + zlib.crc32(row['file'].encode()) % 9_000_000}"
            yield row["pmcid"] or made_up, (data / "articles" / row["file"]).read_bytes()
    with (data / "bundles" / "manifest.csv").open(newline="") as table:
        pmcids = {row["member"]: row["pmcid"] for row in csv.DictReader(table)}
    for bundle in sorted((data / "bundles").glob("*.tar.gz")):
        with tarfile.open(bundle) as archive:
            for member in archive:
                if (pmcid := pmcids.get(member.name)) and (content := archive.extractfile(member)):
                    yield pmcid, content.read()


def real_articles(shared: Path, limit: int | None = None) -> dict[str, bytes]:
    """The real papers in jats/ or data/jats/ of `shared` as {"PMC123.1": xml}.

    One without a PMCID gets a number past 90000000, always the same.
    """
    data = next(folder for folder in (shared / "jats", shared / "data" / "jats") if folder.is_dir())
    found: dict[str, bytes] = {}
    for pmcid, xml in _real_articles(data):
        if limit is not None and len(found) >= limit:
            break
        found.setdefault(f"{pmcid}.1", xml)
    return found


def main() -> None:
    """Serve invented articles until killed; the base URL is the one line on stdout."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--articles", type=int, required=True)
    parser.add_argument(
        "--bytes", type=int, default=5000, help="of an article's XML, on average (at least 2,800)"
    )
    parser.add_argument("--latency-ms", type=float, default=0)
    options = parser.parse_args()
    replica = Replica(keep_log=False)
    replica.faults.latency_seconds = options.latency_ms / 1000
    generator = random.Random(0)
    for pmcid in range(1, options.articles + 1):
        wanted = options.bytes * generator.uniform(0.5, 1.5)
        paragraphs = max(1, round((wanted - 2100) / 640))
        replica.put_article(f"PMC{pmcid}.1", invented_article(pmcid, paragraphs=paragraphs))
    replica.take_inventory(f"{replica.now:%Y-%m-%d}")
    with serving(replica) as url:
        print(url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
