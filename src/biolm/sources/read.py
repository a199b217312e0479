"""One file of papers as a stream of `Article`, `Unreadable` and `Deletion`.

A file of JATS, of PubMed XML or of a bundle of articles, gzipped or not (its root and its first bytes tell, not
its name), or a tar or zip archive of such files. PubMed XML, bundles and archives are streamed: memory is that of
some records, or of one member. What lies inside may be bad: it is given as `Unreadable`, and the stream goes on.
The `source` of a record is the file's name, with "/member" of an archive and "#PMID", or "#number" in a bundle,
behind it.
"""

import re
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from itertools import chain, count

from biolm.records import Article, Deletion, Unreadable
from biolm.sources.archives import Member, tar_members, unpacked_chunks, zip_members
from biolm.sources.beside import with_sidecar
from biolm.sources.cut import cut_article
from biolm.sources.files import NO_MEMBERS, PAPER_ENDINGS, TAR_ENDINGS, ZIP_ENDINGS, PaperFile, portable
from biolm.sources.jats import parse_article
from biolm.sources.options import TextOptions
from biolm.sources.pubmed import DELETION, RECORDS, first_pmid, parse_deletion, parse_record
from biolm.sources.pubmed_plain import plain_article, plain_records
from biolm.sources.remote import is_url, open_file
from biolm.sources.split import Records
from biolm.sources.stored import stored_papers
from biolm.sources.xml import (
    MAX_RECORD_BYTES,
    PAPERS,
    Element,
    Unusable,
    as_utf8,
    local_name,
    one_line,
    parse_xml,
    root_of,
    words_of,
)

BUNDLES = frozenset({"articles", "pmc-articleset"})
"""Roots that hold many JATS articles."""
BATCH_BYTES = 1 << 18
"""Records that are taken out of a file together."""

_BEGINS_ARTICLE = re.compile(
    rb"\s*(?:<\?xml\s[^>]*\?>\s*)?(?:<!DOCTYPE\s+article\s[^\[>]*>\s*)?<article[\s>]"
)

Stream = Iterator[Article | Unreadable | Deletion]


def read_file(file: PaperFile, options: TextOptions) -> Stream:
    """Every record of one file. Raises Unusable where the file cannot be used."""
    if file.problem is not None:
        raise Unusable(file.problem)
    yield from with_sidecar(_read_file(file, options), file)


def _read_file(file: PaperFile, options: TextOptions) -> Stream:
    if file.rows is not None:
        yield from _read_rows(file, options)
        return
    lower = file.path.lower().partition("?")[0] if is_url(file.path) else file.path.lower()
    with open_file(file.path) as stream:
        if lower.endswith(TAR_ENDINGS):
            yield from _read_members(tar_members(stream, _chooser(file.members)), file, options)
        elif lower.endswith(ZIP_ENDINGS):
            yield from _read_members(zip_members(stream, file.members), file, options)
        else:
            yield from _read_xml(unpacked_chunks(stream), file.name, options)


def _read_members(found: Iterator[Member], file: PaperFile, options: TextOptions) -> Stream:
    name, members = file.name, file.members
    missing = set(members or ())
    is_empty = True
    for member in found:
        is_empty = False
        missing.discard(member.name)
        source = f"{name}/{portable(member.name).removeprefix('./')}"
        try:
            yield from _read_xml(member.chunks(), source, options)
        except Unusable as error:
            yield Unreadable(source=source, reason=error.reason, transient=error.transient)
    if is_empty:
        raise Unusable(NO_MEMBERS if members is None else "holds none of the members", PAPERS)
    for member_name in sorted(missing):
        yield Unreadable(source=f"{name}/{portable(member_name)}", reason="not in the archive")


def _read_rows(file: PaperFile, options: TextOptions) -> Stream:
    """The papers of a store, each with what the store knows of it."""
    for paper in stored_papers(file):
        if isinstance(paper, Unreadable):
            yield paper
            continue
        try:
            for record in _read_xml(unpacked_chunks(paper.stream()), paper.name, options):
                yield from paper.with_facts(record)
        except Unusable as error:
            yield Unreadable(source=paper.name, reason=error.reason, transient=error.transient)


def _chooser(members: Collection[str] | None) -> Callable[[str], bool]:
    if members is None:
        return lambda name: name.lower().endswith(PAPER_ENDINGS)
    return lambda name: name in members


def _read_xml(chunks: Iterator[bytes], name: str, options: TextOptions) -> Stream:
    """The articles of one XML document. Raises Unusable where it is none, or breaks off."""
    chunks = as_utf8(chunks)
    first = next(chunks, b"")
    if _BEGINS_ARTICLE.match(first):  # most files: not to parse this for nothing is worth a tenth of the time
        yield _whole_article(_joined(chain([first], chunks)), name, options)
        return
    head: list[bytes] = []
    chunks = chain([first], chunks)
    root = root_of(_kept(chunks, head))
    whole = chain(head, chunks)
    kind = local_name(root)
    if kind == "article":
        yield _whole_article(_joined(whole), name, options)
    elif kind == "PubmedArticleSet":
        yield from _read_records(Records(root, whole, (*RECORDS, DELETION), BATCH_BYTES), name, options)
    elif kind in BUNDLES:
        yield from _read_records(Records(root, whole, ("article",), BATCH_BYTES), name, options)
    else:
        raise Unusable(f"its root is <{one_line(kind)}>, which is neither JATS nor PubMed", PAPERS)


def _whole_article(
    data: bytes, name: str, options: TextOptions, parse: Callable[[bytes], Element] = parse_xml
) -> Article:
    """One article of JATS, cut before it is parsed where that changes nothing."""
    short = cut_article(data, supplementary=options.supplementary)
    if short is not data:
        with suppress(Unusable):
            article = _article(parse(short), name, options)
            if article.pmid or article.pmcid or article.doi:  # else its hash is that of all of it
                return article
    return _article(parse(data), name, options)


def _kept(chunks: Iterator[bytes], head: list[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        head.append(chunk)
        yield chunk


def _joined(chunks: Iterator[bytes]) -> bytes:
    pieces, size = [], 0
    for chunk in chunks:
        pieces.append(chunk)
        size += len(chunk)
        if size > MAX_RECORD_BYTES:
            raise Unusable(f"larger than {MAX_RECORD_BYTES >> 20} MiB")
    return b"".join(pieces)


def _read_records(runs: Records, name: str, options: TextOptions) -> Stream:
    """The records of a file; a broken one is set aside without its neighbours."""
    numbers = count(1)
    for run in runs:
        bounds = plain_records(run) if runs.utf8 else None
        if bounds is None:
            for record in runs.split(run):
                yield _read_record(runs, record, name, next(numbers), options)
            continue
        for start, end in bounds:
            number = next(numbers)
            article = plain_article(run, start, end, name, options, runs.parse)
            yield article or _read_record(runs, run[start:end], name, number, options)


def _read_record(
    runs: Records, record: bytes, name: str, number: int, options: TextOptions
) -> Article | Unreadable | Deletion:
    """One record by its elements; its source has its number in the file where it has no PMID."""
    source = f"{name}#{number}"

    def parse(data: bytes) -> Element:
        return _only(runs.parse(data))

    try:
        if record.rstrip().endswith(b"article>"):
            return _whole_article(record, source, options, parse)
        element = parse(record)
        kind = local_name(element)
        if kind == DELETION:
            return parse_deletion(element, name)
        if kind in RECORDS:
            pmid = words_of(first_pmid(element))
            source = f"{name}#{pmid if pmid.isdecimal() else one_line(pmid) or f'record-{number}'}"
        return _article(element, source, options)
    except Unusable as error:
        return Unreadable(source=source, reason=error.reason, transient=error.transient)


def _only(elements: list[Element]) -> Element:
    if len(elements) != 1:
        raise Unusable("broken XML: its tags do not match")
    return elements[0]


def _article(element: Element, source: str, options: TextOptions) -> Article:
    parse = parse_record if local_name(element) in RECORDS else parse_article
    try:
        return parse(element, source, options)
    except RecursionError:
        raise Unusable("broken XML: its elements are nested too deeply") from None
