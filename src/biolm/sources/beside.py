"""What lies beside papers and says more of them: PMC's metadata and the file lists of its old packages.

The Cloud Service puts `PMC1.1.json` beside `PMC1.1.xml`, or in a folder `metadata`; a bulk package
`oa_comm_xml.PMC000xxxxxx.baseline.2024-12-17.tar.gz` came with a list of its files, `.filelist.csv` or `.txt`.
They know what the XML often does not say: the licence's code, retraction, manuscript or published.
"""

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from biolm.records import Article
from biolm.sources.ids import plain_doi, plain_pmcid, plain_pmid
from biolm.sources.licence import UNKNOWN, spdx_licence
from biolm.sources.xml import Unusable

MAX_JSON_BYTES = 1 << 20
MAX_LISTED = 5_000_000
TEXT_MINING_ONLY = "LicenseRef-TDM"
"""Author manuscripts of PMC that may be mined but not passed on; SPDX names own licences so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What metadata say of one article; None or empty where they say nothing."""

    pmid: str | None = None
    pmcid: str | None = None
    doi: str | None = None
    version: int = 0
    manuscript: bool = False
    retracted: bool = False
    licence: str = UNKNOWN

    def of(self, article: Article) -> Article:
        """The article with what its own XML does not state; retraction counts whoever says it."""
        return replace(
            article,
            pmid=article.pmid or self.pmid,
            pmcid=article.pmcid or self.pmcid,
            doi=article.doi or self.doi,
            version=article.version or self.version,
            manuscript=article.manuscript or self.manuscript,
            retracted=article.retracted or self.retracted,
            licence=article.licence if article.licence != UNKNOWN else self.licence,
        )


def files_beside(path: Path) -> tuple[Path, ...]:
    """The metadata files that belong to a file of papers, where there are any."""
    name = path.name
    lower = name.lower()
    if lower.endswith((".xml", ".nxml")) and name.upper().startswith("PMC"):
        stem = f"{path.stem}.json"
        places = (
            path.with_name(stem),
            path.parent.parent / "metadata" / stem,
            path.parent / "metadata" / stem,
        )
        return tuple(place for place in places if place.is_file())[:1]
    if lower.endswith((".tar.gz", ".tgz", ".tar")):
        stem = name[: lower.rindex(".t")]
        lists = (path.with_name(f"{stem}.filelist.{ending}") for ending in ("csv", "txt"))
        return tuple(place for place in lists if place.is_file())[:1]
    return ()


def read_metadata(path: Path) -> Said:
    """One article's metadata of the Cloud Service. Raises Unusable where the file is broken."""
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise Unusable(f"metadata larger than {MAX_JSON_BYTES >> 20} MiB")
        facts: Any = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise Unusable(f"metadata that cannot be read: {error}") from None
    if not isinstance(facts, dict):
        raise Unusable("metadata that are no JSON object")
    version = str(facts.get("version") or "")
    return Said(
        pmid=plain_pmid(str(facts.get("pmid") or "")),
        pmcid=plain_pmcid(str(facts.get("pmcid") or "")),
        doi=plain_doi(str(facts.get("doi") or "")),
        version=int(version) if re.fullmatch("[0-9]{1,4}", version) else 0,
        manuscript=facts.get("is_manuscript") is True,
        retracted=facts.get("is_retracted") is True,
        licence=licence_of_code(str(facts.get("license_code") or "")),
    )


def read_file_list(path: Path) -> dict[str, Said]:
    """The articles of a package's file list by the member's name. Raises Unusable where it is none.

    Columns: Article File, Article Citation, AccessionID, LastUpdated, PMID, License, Retracted; separated by
    commas in `.csv`, by tabs in `.txt`.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            first = file.readline()
            file.seek(0)
            rows = csv.DictReader(file, delimiter="\t" if "\t" in first else ",")
            if not {"Article File", "License"} <= set(rows.fieldnames or ()):
                raise Unusable("a file list without the columns Article File and License")
            return dict(_listed(rows))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise Unusable(f"a file list that cannot be read: {error}") from None


def _listed(rows: Iterator[dict[str, Any]]) -> Iterator[tuple[str, Said]]:
    for number, row in enumerate(rows):
        if number >= MAX_LISTED:
            raise Unusable(f"a file list of more than {MAX_LISTED:,} articles")
        yield (
            str(row["Article File"]),
            Said(
                pmid=plain_pmid(row.get("PMID") or ""),
                pmcid=plain_pmcid(row.get("AccessionID") or row.get("Accession ID") or ""),
                retracted=(row.get("Retracted") or "").strip().lower() in ("yes", "true", "1"),
                licence=licence_of_code(row["License"] or ""),
            ),
        )


def licence_of_code(code: str) -> str:
    """PMC's code ("CC BY-NC", "CC0", "TDM") as SPDX id without version; "unknown" for "NO-CC CODE" and others."""
    word = code.strip().upper()
    return TEXT_MINING_ONLY if word == "TDM" else spdx_licence([], word, "")
