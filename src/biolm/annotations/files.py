"""The text of an annotated file, and the checks that every reader makes of what it says."""

import gzip
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from biolm.errors import InputError
from biolm.mentions import Document, in_order

UNTYPED = "UNTYPED"
"""The type of a mention whose data names none."""
TRIMMED = "white space at a mention's end left out"
_GZIP = b"\x1f\x8b"
_SHOWN = 60


def read_bytes(path: Path) -> bytes:
    """A file's contents, unpacked where gzipped: its first bytes tell. Raises InputError where it cannot be read."""
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if data.startswith(_GZIP) else data
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read: {error}; check the path, or fetch the file again") from None


def read_text(path: Path) -> str:
    """A file's text, without a byte order mark. Raises InputError where it is no UTF-8."""
    data = read_bytes(path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}, line {line}: no UTF-8 ({error.reason}); convert it, e.g. with `iconv -t utf-8`"
        ) from None


def lines_of(text: str) -> Iterator[tuple[int, str]]:
    """(number from 1, line) of lines that end in LF or CRLF.

    `splitlines` would break a text at U+2028 or a form feed, too.
    """
    for number, line in enumerate(text.split("\n"), 1):
        yield number, line.removesuffix("\r")


def checked(document: Document, where: str) -> Document:
    """The same document with its mentions in order.

    Raises InputError, naming `where`, for a mention or part that is not in the text, a mention without a type, and
    a text that UTF-8 cannot hold.
    """
    try:
        for word in (document.id, document.text, *(mention.type for mention in document.mentions)):
            word.encode()
    except UnicodeEncodeError:
        raise InputError(
            f"{where}: half a character (a lone surrogate) in document {document.id!r}; repair it"
        ) from None
    characters = len(document.text)
    for mention in document.mentions:
        if not 0 <= mention.start < mention.end <= characters:
            raise InputError(
                f"{where}: a mention from {mention.start} to {mention.end} is not in document {document.id}, which "
                f"has {characters} characters; check the offsets"
            )
        if not mention.type:
            raise InputError(f"{where}: a mention in document {document.id} has no type; give it one")
    for start, end in [*((part.start, part.end) for part in document.parts), *(document.words or ())]:
        if not 0 <= start <= end <= characters:
            raise InputError(
                f"{where}: {start} to {end} is not in document {document.id}, which has {characters} characters; "
                "check its parts and words"
            )
    return replace(document, mentions=in_order(list(document.mentions)))


def fitted(
    text: str, start: int, end: int, said: str, *, where: str, counts: Counter[str]
) -> tuple[int, int]:
    """Where a mention stands whose file says both its offsets and its characters.

    White space at its ends is left out, and counted, whether one of the two has it or both: nobody means it, and a
    mention without it would not be the same. Raises InputError, naming `where`, where they are different otherwise.
    """
    surface = text[max(start, 0) : end]
    core = surface.strip()
    begin = start + len(surface) - len(surface.lstrip())
    if start < 0 or spaced(core) != spaced(said.strip()) or not core:
        raise InputError(
            f"{where}: characters {start} to {end} of the document are {_shown(surface)}, but the mention says "
            f"{_shown(said)}; check the offsets (they count characters, not bytes) or leave the line out"
        )
    if (begin, begin + len(core)) != (start, end):
        counts[TRIMMED] += 1
    return begin, begin + len(core)


def spaced(text: str) -> str:
    """A text with a space for each line break and tab, for layouts that cannot hold these; of the same length."""
    return text.translate(_TO_SPACES)


def unique(documents: Iterator[Document], counts: Counter[str]) -> Iterator[Document]:
    """The same documents, of which a second one with the same id is "id#2", and so on; they are counted.

    The training part of NCBI-disease holds the abstract 8528200 twice.
    """
    seen: Counter[str] = Counter()
    for document in documents:
        name = document.id
        while name in seen:
            seen[document.id] += 1
            name = f"{document.id}#{seen[document.id]}"
        seen[name] = 1
        if name != document.id:
            counts["document ids met again, now with #2, #3, ..."] += 1
        yield document if name == document.id else replace(document, id=name)


_TO_SPACES = str.maketrans("\n\r\t", "   ")


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…")
