"""The PMC Cloud Service's bucket: its objects, its listings, and the inventory that it writes each day.

Read over plain HTTPS without credentials, as anybody may.
"""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.parquet as pq

from biolm.artifacts import atomic_file
from biolm.errors import InputError
from biolm.papers.answers import Answer, Damaged, Gone, Refused, Unanswered
from biolm.papers.checksums import md5_of, md5_of_file
from biolm.papers.client import WRONG_ATTEMPTS, Client
from biolm.papers.inventory import (
    KEY,
    LISTED,
    MOST_FILE_BYTES,
    inventory_rows,
    kept_inventory,
    once,
    place_of,
    read_inventory,
    temporary_folder,
)

BUCKET = "pmc-oa-opendata"
METADATA = "metadata/"
INVENTORIES = f"inventory-reports/{BUCKET}/metadata/"
INVENTORY_TRIES = 3
"""Newest days that are looked at: the last inventory may still be being written."""
_UNUSABLE = (Gone, Refused, Unanswered, Damaged)
_UNREADABLE = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OSError,
    OverflowError,
    RecursionError,
    pa.ArrowException,
)
"""What reading a manifest or a data file raises that is not what it should be; Arrow's broken gzip is an OSError."""
_DAY = re.compile(r"(\d{4}-\d\d-\d\d)T\d\d-\d\dZ/$")
_MOST_LISTING_BYTES = 16 << 20
_SAME_ANSWERS = 3
_MD5 = re.compile("[0-9a-f]{32}")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Listed:
    """An object in a listing."""

    key: str
    etag: str
    modified: datetime


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where the objects are asked for."""

    client: Client
    endpoint: str

    def url(self, key: str) -> str:
        """The address of an object."""
        return f"{self.endpoint}/{quote(key)}"

    async def object(self, key: str, most_bytes: int = 256 << 20) -> Answer:
        """An object whose bytes have the MD5 that its ETag is, or that came twice the same.

        S3's ETag of an object that was put in one piece is its MD5; other servers may have other ETags. Raises what
        `Client.get` does, and Damaged where it is another each time.
        """
        answer = await self.client.get(self.url(key), most_bytes=most_bytes)
        for _ in range(_SAME_ANSWERS):
            if not _MD5.fullmatch(answer.etag) or md5_of(answer.body) == answer.etag:
                return answer
            self.client.traffic.again["wrong MD5"] += 1
            before, answer = answer, await self.client.get(self.url(key), most_bytes=most_bytes)
            if answer.body == before.body:
                return answer
        raise Damaged("other bytes each time")

    async def objects(self, prefix: str) -> AsyncIterator[Listed]:
        """Every object whose key begins with `prefix`, page by page."""
        async for page in self._pages(prefix=prefix):
            for found in page.iterfind("{*}Contents"):
                yield Listed(
                    found.findtext("{*}Key", ""),
                    found.findtext("{*}ETag", "").strip('"'),
                    moment(found.findtext("{*}LastModified", "")),
                )

    async def folders(self, prefix: str) -> list[str]:
        """The folders in a folder, each with a slash at its end."""
        found: list[str] = []
        async for page in self._pages(prefix=prefix, delimiter="/"):
            found += [name.findtext("{*}Prefix", "") for name in page.iterfind("{*}CommonPrefixes")]
        return found

    async def _pages(self, **asked: str) -> AsyncIterator[ElementTree.Element]:
        token: dict[str, str] = {}
        seen: set[str] = set()
        while True:
            page = await self._page({"list-type": "2", **asked, **token})
            yield page
            if page.findtext("{*}IsTruncated", "").strip().lower() != "true":
                return
            following = page.findtext("{*}NextContinuationToken")
            if not following or following in seen:
                raise InputError(
                    f"{self.endpoint} cuts its listing short and does not say how it goes on; "
                    "check --endpoint: it must be the bucket's own address"
                )
            seen.add(following)
            token = {"continuation-token": following}

    async def _page(self, params: dict[str, str]) -> ElementTree.Element:
        why = ""
        for _ in range(WRONG_ATTEMPTS):
            try:
                answer = await self.client.get(
                    f"{self.endpoint}/", params=params, most_bytes=_MOST_LISTING_BYTES
                )
                return _listing(answer.body)
            except Unanswered as error:
                raise InputError(f"{self.endpoint} cannot be listed ({error}); try again later") from None
            except (Gone, Refused) as error:
                raise InputError(
                    f"{self.endpoint} cannot be listed ({error}); check --endpoint: it must be the bucket's own address"
                ) from None
            except ElementTree.ParseError as error:  # nothing else says whether a listing came as it was sent
                self.client.traffic.again["broken listing"] += 1
                why = str(error)
        raise InputError(
            f"{self.endpoint} answers no S3 listing ({why}); check --endpoint: it must be the bucket's own address"
        )

    async def versions(self, pmcid: int) -> list[tuple[int, int, str, datetime]]:
        """Every version of an article that the bucket has metadata of, as rows of LISTED."""
        return [row async for row in self._rows(f"{METADATA}PMC{pmcid}.")]

    async def everything(self) -> pa.Table:
        """LISTED of the whole bucket by listing it, a thousand a request; for servers without inventories."""
        return _listed([row async for row in self._rows(METADATA)])

    async def _rows(self, prefix: str) -> AsyncIterator[tuple[int, int, str, datetime]]:
        async for found in self.objects(prefix):
            if key := re.match(KEY, found.key):
                yield int(key["pmcid"]), int(key["version"]), found.etag, found.modified

    async def listed(self, numbers: list[int], in_flight: int) -> pa.Table:
        """LISTED of some articles, one request each."""
        rows: list[tuple[int, int, str, datetime]] = []
        turns = asyncio.Semaphore(in_flight)

        async def ask(number: int) -> None:
            async with turns:
                rows.extend(await self.versions(number))

        await asyncio.gather(*map(ask, numbers))
        return _listed(rows)

    async def inventory(self, cache: Path, day: str | None = None) -> tuple[str, pa.Table] | None:
        """The day and the rows (LISTED) of the newest inventory, or of that of a `day`; None where there is none.

        Kept in `cache`: of a day it is fetched once. Raises InputError where what there is cannot be used.
        """
        if day is not None and (table := kept_inventory(place_of(cache, day))) is not None:
            return day, table
        days = {found[1]: name for name in await self.folders(INVENTORIES) if (found := _DAY.search(name))}
        if day in days:
            days = {day: days[day]}
        why = ""
        for name in sorted(days, reverse=True)[:INVENTORY_TRIES]:
            place = place_of(cache, name)
            table = kept_inventory(place)
            if table is None:
                try:
                    manifest = json.loads((await self.object(f"{days[name]}manifest.json")).body)
                    table = await self._fetch_inventory(manifest, place)
                except (*_UNUSABLE, *_UNREADABLE) as error:
                    why = why or f"that of {name}: {' '.join(str(error).split()) or type(error).__name__}"
                    continue
            if why:
                _log.warning("the inventory of %s is taken, as a newer one cannot be used (%s)", name, why)
            for old in cache.glob("inventory-*.parquet"):
                if old.name < place.name and day is None:
                    old.unlink(missing_ok=True)
            return name, table
        if not days:
            return None
        raise InputError(f"no inventory of {self.endpoint} can be used ({why}); try again later")

    async def _fetch_inventory(self, manifest: dict[str, Any], out: Path) -> pa.Table:
        """LISTED of an inventory, also written to `out`; what others write there meanwhile is the same."""
        columns = [name.strip() for name in manifest["fileSchema"].split(",")]
        with temporary_folder(out.parent) as folder:
            packed = folder / "data.csv.gz"
            with atomic_file(folder / out.name) as partial:
                with pq.ParquetWriter(partial, LISTED, compression="zstd") as writer:
                    for file in manifest["files"]:
                        await self._download(self.url(file["key"]), packed, file.get("MD5checksum"))
                        for block in inventory_rows(packed, columns):
                            writer.write_table(block)
                everything = read_inventory(partial)
                if not everything.num_rows:
                    raise ValueError("it lists no articles")
                table = once(everything)
                if table is not everything:
                    pq.write_table(table, partial, compression="zstd")
            (folder / out.name).replace(out)
            return table

    async def _download(self, url: str, into: Path, md5: str | None) -> None:
        for _ in range(INVENTORY_TRIES):
            into.unlink(missing_ok=True)
            await self.client.download(url, into, most_bytes=MOST_FILE_BYTES)
            if not md5 or md5_of_file(into) == md5.lower():
                return
            self.client.traffic.again["wrong MD5"] += 1
        raise Damaged("wrong MD5")


def _listing(body: bytes) -> ElementTree.Element:
    """A page of a listing. What declares entities is no listing: nothing is ever expanded. Raises ParseError."""
    if b"<!" in body:
        raise ElementTree.ParseError("it declares a document type")
    page = ElementTree.fromstring(body)  # noqa: S314  without a document type there is nothing to expand
    if not page.tag.endswith("ListBucketResult"):
        raise ElementTree.ParseError(f"its root is {page.tag[:60]}")
    return page


def _listed(rows: list[tuple[int, int, str, datetime]]) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else [()] * len(LISTED)
    return once(
        pa.table(
            [pa.array(column, field.type) for column, field in zip(columns, LISTED, strict=True)],
            schema=LISTED,
        )
    )


def moment(text: str) -> datetime:
    """A time as S3 writes it; the beginning of time where it is none."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return datetime.fromtimestamp(0, UTC)
