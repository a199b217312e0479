"""Any source of papers as one stream of `Article` and `Unreadable`.

The path that was named must be usable, otherwise InputError. What lies inside a folder, archive or bundle
may be bad: it is given as `Unreadable`, and the stream goes on.
"""

import os
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path

from biolm.errors import InputError
from biolm.records import Article, Deletion, Unreadable
from biolm.sources.archives import Member, tar_members, unpacked_chunks, zip_members
from biolm.sources.cut import cut_article, cut_records
from biolm.sources.jats import parse_article
from biolm.sources.options import TextOptions
from biolm.sources.pubmed import DELETION, RECORDS, parse_deletion, parse_record
from biolm.sources.split import Records
from biolm.sources.xml import (
    MAX_RECORD_BYTES,
    PAPERS,
    Element,
    Unusable,
    local_name,
    one_line,
    parse_xml,
    root_of,
    words_of,
)

PAPER_ENDINGS = (".xml", ".nxml", ".xml.gz", ".nxml.gz")
TAR_ENDINGS = (".tar", ".tar.gz", ".tgz")
ZIP_ENDINGS = (".zip", ".whl", ".meca")
NOT_PAPERS = ("manifest.xml", "directives.xml", "transfer.xml")
"""The files of a MECA package that say how it is sent."""
IN_FOLDERS = (*PAPER_ENDINGS, *TAR_ENDINGS, ".zip", ".meca")
"""Files of a folder that are read."""
BUNDLES = frozenset({"articles", "pmc-articleset"})
"""Roots that hold many JATS articles."""
BATCH_BYTES = 1 << 20
"""PubMed records that are parsed together."""

Stream = Iterator[Article | Unreadable | Deletion]
_DEFAULT = TextOptions()


def read_source(
    path: Path, members: Collection[str] | None = None, options: TextOptions = _DEFAULT
) -> Stream:
    """Every article of a file, folder or archive, one after another.

    A file of JATS, of PubMed XML or of a bundle of articles, gzipped or not (its root and its first bytes
    tell, not its name); a folder of such files and of tar archives, in sorted order; a tar archive, gzipped
    or not, in its own order; a zip archive. `members` names the only ones to read of an archive. PubMed XML,
    bundles and archives are streamed: memory is that of one record or member.

    The `source` of a record is the path's last part, with "/member" behind it in a folder or archive and
    "#PMID", or "#number" in a bundle, behind that. Raises InputError, possibly after the articles before the
    damage, where `path` itself cannot be used; whatever is bad inside it gives an Unreadable.
    """
    try:
        yield from _read_path(path, members, options)
    except Unusable as error:
        raise InputError(f"{path}: {error.reason}; {error.remedy}") from None


def _read_path(path: Path, members: Collection[str] | None, options: TextOptions) -> Stream:
    mode = _mode(path)
    if stat.S_ISDIR(mode):
        name = _portable(Path(os.path.realpath(path)).name)
    elif stat.S_ISREG(mode):
        name = _portable(path.name)
    else:
        raise Unusable("neither a file nor a folder", PAPERS)
    if members is not None and not path.name.lower().endswith((*TAR_ENDINGS, *ZIP_ENDINGS)):
        raise Unusable("no archive, so it has no members to choose from", PAPERS)
    if stat.S_ISDIR(mode):
        yield from _read_folder(path, name, options)
    else:
        yield from read_file(path, name, members, options)


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        raise Unusable("does not exist", "give a file or folder of papers") from None
    except (OSError, ValueError) as error:
        raise _unopened(error) from None


def _read_folder(folder: Path, name: str, options: TextOptions) -> Stream:
    for portable, path in papers_below(folder):
        source = f"{name}/{portable}"
        try:
            yield from read_file(path, source, None, options)
        except Unusable as error:
            yield Unreadable(source=source, reason=error.reason)


def papers_below(folder: Path) -> Iterator[tuple[str, Path]]:
    """Papers and tar archives in sorted order, by their portable names below the folder.

    Links are followed to files inside the folder only. Raises Unusable where there is none.
    """
    inside = os.path.realpath(folder)
    found = False
    for where, folders, files in os.walk(folder, onerror=_raise_unopened):
        folders.sort()
        for file in sorted(files):
            path = Path(where, file)
            if not file.lower().endswith(IN_FOLDERS) or not path.is_file():
                continue
            if not path.is_symlink() or Path(os.path.realpath(path)).is_relative_to(inside):
                found = True
                yield _portable(path.relative_to(folder).as_posix()), path
    if not found:
        raise Unusable(f"holds no file ending in {', '.join(IN_FOLDERS)}", PAPERS)


def _raise_unopened(error: OSError) -> None:
    raise _unopened(error)


def _unopened(error: Exception) -> Unusable:
    why = error.strerror if isinstance(error, OSError) and error.strerror else one_line(error)
    return Unusable(f"cannot be read: {why}", "check its path and permissions")


def read_file(path: Path, name: str, members: Collection[str] | None, options: TextOptions) -> Stream:
    """Every record of one file that is called `name`. Raises Unusable where the file cannot be used."""
    lower = path.name.lower()
    try:
        file = path.open("rb")
    except OSError as error:
        raise _unopened(error) from None
    with file:
        if lower.endswith(TAR_ENDINGS):
            yield from _read_members(tar_members(file, _chooser(members)), name, members, options)
        elif lower.endswith(ZIP_ENDINGS):
            yield from _read_members(zip_members(file, _chooser(members)), name, members, options)
        else:
            yield from _read_xml(unpacked_chunks(file), name, options)


def _read_members(
    found: Iterator[Member], name: str, members: Collection[str] | None, options: TextOptions
) -> Stream:
    missing = set(members or ())
    count = 0
    for count, member in enumerate(found, 1):  # noqa: B007  counted for what follows the loop
        missing.discard(member.name)
        source = f"{name}/{_portable(member.name).removeprefix('./')}"
        try:
            yield from _read_xml(member.chunks(), source, options)
        except Unusable as error:
            yield Unreadable(source=source, reason=error.reason)
    if not count:
        raise Unusable(
            f"holds no file ending in {', '.join(PAPER_ENDINGS)}"
            if members is None
            else "holds none of the members",
            PAPERS,
        )
    for member_name in sorted(missing):
        yield Unreadable(source=f"{name}/{_portable(member_name)}", reason="not in the archive")


def is_paper(name: str) -> bool:
    """Whether a member of an archive is read, by its name."""
    return name.lower().endswith(PAPER_ENDINGS) and name not in NOT_PAPERS


def _chooser(members: Collection[str] | None) -> Callable[[str], bool]:
    if members is None:
        return is_paper
    return lambda name: name in members


def _read_xml(chunks: Iterator[bytes], name: str, options: TextOptions) -> Stream:
    """The articles of one XML document. Raises Unusable where it is none, or breaks off."""
    head: list[bytes] = []
    root = root_of(_kept(chunks, head))
    whole = chain(head, chunks)
    kind = local_name(root)
    if kind == "article":
        yield _whole_article(_joined(whole), name, options)
    elif kind == "PubmedArticleSet":
        yield from _read_records(Records(root, whole, (*RECORDS, DELETION)), name, options)
    elif kind in BUNDLES:
        yield from _read_records(Records(root, whole, ("article",)), name, options)
    else:
        raise Unusable(f"its root is <{one_line(kind)}>, which is neither JATS nor PubMed", PAPERS)


def _whole_article(data: bytes, name: str, options: TextOptions) -> Article:
    short = cut_article(data)
    if short is not data:
        with suppress(Unusable):
            article = _article(parse_xml(short), name, options)
            if article.pmid or article.pmcid or article.doi:  # else its hash is that of all of it
                return article
    return _article(parse_xml(data), name, options)


def _kept(chunks: Iterator[bytes], head: list[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        head.append(chunk)
        yield chunk


def _joined(chunks: Iterator[bytes]) -> bytes:
    data = bytearray()
    for chunk in chunks:
        data += chunk
        if len(data) > MAX_RECORD_BYTES:
            raise Unusable(f"larger than {MAX_RECORD_BYTES >> 20} MiB")
    return bytes(data)


def _read_records(records: Records, name: str, options: TextOptions) -> Stream:
    """Records in batches that are parsed as one document; where a batch does not parse, one by one."""
    number = 1
    batch: list[bytes] = []
    size = 0
    failure: Unusable | None = None
    found = iter(records)
    while True:
        try:
            record = next(found, None)
        except Unusable as error:  # the file breaks off; what came before it counts
            record, failure = None, error
        if record is not None:
            batch.append(record)
            size += len(record)
        if size >= BATCH_BYTES or record is None:
            yield from _read_batch(records, batch, name, number, options)
            number += len(batch)
            batch, size = [], 0
        if failure is not None:
            raise failure
        if record is None:
            return


def _read_batch(records: Records, batch: list[bytes], name: str, number: int, options: TextOptions) -> Stream:
    """The articles of some records, the first of which is the file's `number`-th."""
    cut = cut_records if records.pubmed else cut_article
    elements: list[Element] = []
    if records.pubmed or len(batch) == 1:
        with suppress(Unusable):
            elements = records.parse(cut(b"".join(batch)))
    whole = len(elements) != len(batch)
    for place, record in enumerate(batch):
        source = f"{name}#{number + place}"
        try:
            element = _record(records, record, cut) if whole else elements[place]
            kind = local_name(element)
            if kind == DELETION:
                yield parse_deletion(element, name)
                continue
            if kind in RECORDS:
                pmid = words_of(next(element.iter("PMID"), None))
                source = f"{name}#{one_line(pmid) or f'record-{number + place}'}"
            article = _article(element, source, options)
            if not (article.pmid or article.pmcid or article.doi):
                article = _article(records.parse(record)[0], source, options)  # its hash is that of all of it
            yield article
        except Unusable as error:
            yield Unreadable(source=source, reason=error.reason)


def _record(records: Records, record: bytes, cut: Callable[[bytes], bytes]) -> Element:
    """The element of one record, read whole where it does not parse when cut."""
    short = cut(record)
    if short is not record:
        with suppress(Unusable):
            (element,) = records.parse(short)
            return element
    (element,) = records.parse(record)
    return element


def _article(element: Element, source: str, options: TextOptions) -> Article:
    parse = parse_record if local_name(element) in RECORDS else parse_article
    try:
        return parse(element, source, options)
    except RecursionError:
        raise Unusable("broken XML: its elements are nested too deeply") from None


def _portable(name: str) -> str:
    """A file's name as text that UTF-8 can hold."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
