"""Versions of articles that may be wanted: named, narrowed down, compared with the store, drawn at random."""

from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from biolm.papers.selection import Selection


@dataclass(frozen=True, slots=True)
class Candidate:
    """A version of an article that may be wanted."""

    name: str
    """ "PMC123.1"."""
    etag: str
    """As it was listed."""
    modified: datetime | None
    held_state: str | None = None
    """How the store has it; None where it does not."""
    held_md5: str | None = None
    """Of the XML that the store has, withdrawn or not."""
    held_etag: str | None = None
    metadata: str | None = None
    """What is known of it, where the listed ETag is that of what is known."""


def names_of(listed: pa.Table) -> pa.ChunkedArray:
    """ "PMC123.1" of each row of LISTED."""
    text = [listed[name].cast(pa.string()) for name in ("pmcid", "version")]
    return pc.binary_join_element_wise(pc.binary_join_element_wise("PMC", text[0], ""), text[1], ".")


def numbers_in(names: pa.ChunkedArray) -> list[int]:
    """The numbers of the PMCIDs in such names, each once, sorted."""
    numbers = pc.replace_substring_regex(names, r"^PMC|\.\d+$", "").cast(pa.int64())
    found: list[int] = np.unique(numbers.to_numpy()).tolist()
    return found


def narrowed(listed: pa.Table, selection: Selection, found: set[int] | None) -> pa.Table:
    """What of the listed is wanted as far as its ids and days tell; `found`: PMCIDs that ESearch gave."""
    if selection.ids is not None:
        listed = listed.filter(pc.is_in(listed["pmcid"], pa.array([int(name[3:]) for name in selection.ids])))
    if found is not None:
        listed = listed.filter(pc.is_in(listed["pmcid"], pa.array(sorted(found), pa.int64())))
    if selection.pmcids is not None:
        low, high = selection.bounds()
        listed = listed.filter(
            pc.and_(pc.greater_equal(listed["pmcid"], low), pc.less_equal(listed["pmcid"], high))
        )
    if selection.changed_since is not None:
        day = datetime.combine(date.fromisoformat(selection.changed_since), datetime.min.time(), UTC)
        listed = listed.filter(pc.greater_equal(listed["modified"], pa.scalar(day, pa.timestamp("s", "UTC"))))
    return listed


def to_do(listed: pa.Table, known: pa.Table) -> pa.Table:
    """The listed versions that the store lacks, has withdrawn, or has with another ETag; by number and version."""
    held = known.select(["id", "state", "xml_md5", "etag"]).rename_columns(
        ["name", "held_state", "held_md5", "held_etag"]
    )
    table = listed.append_column("name", names_of(listed)).join(held, "name", join_type="left outer")
    changed = pc.not_equal(pc.fill_null(table["held_etag"], ""), table["etag"])
    absent = pc.or_(
        pc.is_null(table["held_state"]), pc.equal(pc.fill_null(table["held_state"], ""), "withdrawn")
    )
    return table.filter(pc.or_(absent, changed)).sort_by([("pmcid", "ascending"), ("version", "ascending")])


def sample_order(numbers: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """The numbers in an order that a seed chooses; those that come later change the order of no others.

    The finalizer of SplitMix64 (Steele, Lea & Flood 2014) over number and seed.
    """
    with np.errstate(over="ignore"):
        mixed = numbers.astype(np.uint64) + np.uint64(seed % 2**64) * np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
        mixed ^= mixed >> np.uint64(31)
    return numbers[np.lexsort((numbers, mixed))]
