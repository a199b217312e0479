"""What PMC's Cloud Service says of one article in JSON, and what the head of its XML shows at a glance."""

import html
import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from biolm.licences import UNKNOWN, licence_of_code

_HEAD_BYTES = 1 << 16
_TYPE = re.compile(rb"<article\b[^>]{0,2000}?\barticle-type\s*=\s*[\"']([^\"']{1,60})[\"']")
_JOURNAL = re.compile(rb"<journal-title\b[^>]{0,200}>([^<]{1,300})</journal-title>")
_DATE = re.compile(rb"<pub-date\b.{0,1000}?<year\b[^>]{0,100}>\s*((?:1[6-9]|20)\d\d)\s*</year>", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What the service says of one version of an article; empty, 0 and False where it says nothing."""

    pmcid: str = ""
    """As it is written there: "PMC123", or with a version behind it."""
    version: int = 0
    pmid: str = ""
    doi: str = ""
    licence: str = UNKNOWN
    """SPDX id, or what stands for text mining only."""
    open_access: bool = False
    manuscript: bool = False
    retracted: bool = False
    xml_url: str = ""

    @property
    def name(self) -> str:
        """ "PMC123.1"."""
        return f"{self.pmcid.partition('.')[0]}.{self.version}"


def parse_metadata(data: bytes | str) -> Metadata:
    """The facts in an article's JSON. Raises ValueError, with one line, where it is none."""
    try:
        said = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"broken JSON: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(said, dict):
        raise ValueError("metadata that are no JSON object")
    words: dict[str, str] = {
        key: str(value).strip() for key, value in said.items() if isinstance(value, str | int)
    }
    found = re.fullmatch(r"PMC\d+\.(\d{1,4})", words.get("pmcid", ""), re.IGNORECASE)
    version = found[1] if found else words.get("version", "")
    return Metadata(
        pmcid=words.get("pmcid", ""),
        version=int(version) if re.fullmatch(r"[0-9]{1,4}", version) else 0,
        pmid=words.get("pmid", ""),
        doi=words.get("doi", ""),
        licence=licence_of_code(words.get("license_code", "")),
        open_access=is_true(words.get("is_pmc_openaccess", "")),
        manuscript=is_true(words.get("is_manuscript", "")),
        retracted=is_true(words.get("is_retracted", "")),
        xml_url=words.get("xml_url", ""),
    )


def is_true(word: str) -> bool:
    """How the lists of PMC write yes."""
    return word.strip().lower() in ("true", "yes", "1")


def object_of(url: str, bucket: str) -> tuple[str, str | None]:
    """The key of an object that metadata name by its address, and its MD5 where the address has one.

    Metadata of a mirror still name the bucket ("s3://pmc-oa-opendata/PMC1.1/PMC1.1.xml?md5=..."), so only the
    key is taken. Raises ValueError for an address outside the bucket: nobody's metadata send us anywhere else.
    """
    parts = urlsplit(url)
    path = unquote(parts.path).lstrip("/")
    host = parts.netloc.lower()
    if parts.scheme in ("http", "https") and host.startswith("s3.") and path.startswith(f"{bucket}/"):
        path = path.removeprefix(f"{bucket}/")
    elif not (
        (parts.scheme == "s3" and host == bucket)
        or (
            parts.scheme in ("http", "https")
            and host.startswith(f"{bucket}.s3")
            and host.endswith(".amazonaws.com")
        )
    ):
        raise ValueError(f"an address outside the bucket {bucket}: {url[:200]!r}")
    if not path or ".." in path.split("/"):
        raise ValueError(f"an address without a usable key: {url[:200]!r}")
    md5 = parse_qs(parts.query).get("md5", [""])[0].lower()
    return path, md5 if re.fullmatch("[0-9a-f]{32}", md5) else None


def head_facts(xml: bytes) -> dict[str, Any]:
    """`type`, `journal` and `year` as the first 64 KiB of an article's XML show them; None where they do not.

    For counting what a store holds, without a parser; a corpus takes them from the parsed article.
    """
    head = xml[:_HEAD_BYTES]
    kind, journal = _TYPE.search(head), _JOURNAL.search(head)
    years = [int(year) for year in _DATE.findall(head)]
    return {
        "type": _text(kind[1]) if kind else None,
        "journal": _text(journal[1]) if journal else None,
        "year": min(years, default=None),
    }


def _text(data: bytes) -> str:
    text = html.unescape(data.decode("utf-8", "replace"))
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
