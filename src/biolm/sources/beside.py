"""What a file beside the papers says of them: PMC's Cloud Service (JSON) and its former file lists (CSV, text).

Both know what the XML may not: the licence's code, whether a paper was retracted, whether it is the author's
manuscript. What the XML states itself goes before them, but of two licences the one that allows less counts.
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace

from biolm.licences import UNKNOWN, licence_of_code, stricter
from biolm.papers.metadata import is_true, parse_metadata
from biolm.records import Article, Deletion, Unreadable
from biolm.sources.files import PaperFile, unopened
from biolm.sources.ids import plain_doi, plain_pmcid, plain_pmid
from biolm.sources.remote import open_file
from biolm.sources.xml import Unusable, one_line

Record = Article | Unreadable | Deletion
MAX_JSON_BYTES = 1 << 20
_MAX_ROW_BYTES = 1 << 16
_COLUMNS = ("Article File", "AccessionID", "PMID", "License", "Retracted")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is said of one paper; None, 0 and False where nothing is."""

    pmid: str | None = None
    pmcid: str | None = None
    doi: str | None = None
    version: int = 0
    manuscript: bool = False
    retracted: bool = False
    licence: str = UNKNOWN


def with_sidecar(records: Iterable[Record], file: PaperFile) -> Iterator[Record]:
    """The records of a file with what its sidecar says of them.

    A sidecar that cannot be used loses no record: it gives an Unreadable of its own.
    """
    sidecar = file.sidecar
    if sidecar is None:
        yield from records
        return
    source = f"{file.name} ({sidecar.name.rpartition('/')[2]})"
    problem: str | None = None
    find: Callable[[str], Facts | None] = lambda _: None  # noqa: E731  until the sidecar is open
    said: FileList | None = None
    with ExitStack() as opened:
        try:
            stream = opened.enter_context(open_file(sidecar.path))
            if sidecar.name.endswith(".json"):
                facts = cloud_facts(_bounded(stream))
                find = lambda _: facts  # noqa: E731
            else:
                said = FileList(_lines(stream), tabs=sidecar.name.endswith(".txt"))
                find = said.find
        except Unusable as error:
            yield Unreadable(source=source, reason=error.reason, transient=error.transient)
        for record in records:
            if isinstance(record, Article):
                member = record.source.removeprefix(f"{file.name}/").partition("#")[0]
                try:
                    yield record if (found := find(member)) is None else with_facts(record, found)
                except Unusable as error:
                    problem = problem or error.reason
                    yield record
            else:
                yield record
        if said is not None:
            problem = problem or said.problem
    if problem:
        yield Unreadable(source=source, reason=problem)


def _bounded(stream: io.BufferedReader) -> bytes:
    try:
        data = stream.read(MAX_JSON_BYTES + 1)
    except OSError as error:
        raise unopened(error) from None
    if len(data) > MAX_JSON_BYTES:
        raise Unusable("larger than 1 MiB")
    return data


def _lines(stream: io.BufferedReader) -> Iterator[bytes]:
    try:
        while line := stream.readline(_MAX_ROW_BYTES + 1):
            if len(line) > _MAX_ROW_BYTES:
                raise Unusable("broken: a line of more than 64 KiB")
            yield line
    except OSError as error:
        raise unopened(error) from None


def with_facts(article: Article, facts: Facts) -> Article:
    """The article with what it does not say itself. Raises Unusable where the facts are of another paper."""
    for own, other in ((article.pmcid, facts.pmcid), (article.pmid, facts.pmid)):
        if own and other and own != other:
            raise Unusable(f"it is about {other}, not {own}")
    return replace(
        article,
        pmid=article.pmid or facts.pmid,
        pmcid=article.pmcid or facts.pmcid,
        doi=article.doi or facts.doi,
        version=article.version or facts.version,
        manuscript=article.manuscript or facts.manuscript,
        retracted=article.retracted or facts.retracted,
        licence=stricter(article.licence, facts.licence),
    )


def cloud_facts(data: bytes | str) -> Facts:
    """What the Cloud Service's JSON says of its article. Raises Unusable where it is none."""
    try:
        said = parse_metadata(data)
    except ValueError as error:
        raise Unusable(str(error)) from None
    return Facts(
        pmid=plain_pmid(said.pmid),
        pmcid=plain_pmcid(said.pmcid),
        doi=plain_doi(said.doi),
        version=said.version,
        manuscript=said.manuscript,
        retracted=said.retracted,
        licence=said.licence,
    )


class FileList:
    """What a bulk package's list says of its members, read along with the package.

    Rows that lie before the member that is asked for are kept, so memory is small where list and package have
    the same order. `problem` says, at the end, what is wrong with the list; None where nothing is.
    """

    def __init__(self, lines: Iterator[bytes], *, tabs: bool) -> None:
        """Reads its first line; raises Unusable where that names no such columns."""
        self.problem: str | None = None
        self._passed: dict[str, Facts] = {}
        if tabs:  # these lists quote nothing
            rows = csv.reader(_decoded(lines), delimiter="\t", quoting=csv.QUOTE_NONE)
        else:
            rows = csv.reader(_decoded(lines))
        try:
            heading = [name.strip() for name in next(rows, [])]
        except csv.Error as error:
            raise Unusable(f"broken: {one_line(error)}") from None
        if not {"Article File", "License"} <= set(heading):
            raise Unusable("a file list without the columns Article File and License")
        self._rows = self._read(rows, [heading.index(name) if name in heading else None for name in _COLUMNS])

    def find(self, member: str) -> Facts | None:
        """What the list says of a member, by its place in the archive or else its file name."""
        wanted = _key(member)
        if (facts := self._passed.pop(wanted, None)) is not None:
            return facts
        for key, facts in self._rows:
            if key == wanted:
                return facts
            self._passed[key] = facts
        return None

    def _read(self, rows: Iterator[list[str]], places: list[int | None]) -> Iterator[tuple[str, Facts]]:
        try:
            for row in rows:
                file, pmcid, pmid, licence, retracted = (
                    row[place] if place is not None and place < len(row) else "" for place in places
                )
                if file:
                    yield (
                        _key(file),
                        Facts(
                            pmid=plain_pmid(pmid),
                            pmcid=plain_pmcid(pmcid),
                            licence=licence_of_code(licence),
                            retracted=is_true(retracted),
                        ),
                    )
        except Unusable as error:
            self.problem = error.reason
        except csv.Error as error:
            self.problem = f"broken: {one_line(error)}"


def _decoded(lines: Iterable[bytes]) -> Iterator[str]:
    for line in lines:
        yield line.decode("utf-8", "replace").replace("\0", "")


def _key(member: str) -> str:
    """A member's file name: packages differ in the folders before it."""
    return member.rpartition("/")[2].lower()
