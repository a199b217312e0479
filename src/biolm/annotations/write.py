"""Documents into files of the layouts that others read."""

import codecs
import gzip
import io
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TextIO, cast

from biolm.annotations.bioc_files import write_bioc
from biolm.annotations.brat import write_brat
from biolm.annotations.conll import write_conll
from biolm.annotations.json_lines import write_json_lines
from biolm.annotations.pubtator import write_pubtator
from biolm.artifacts import atomic_file, check_free
from biolm.errors import ArtifactError, InputError
from biolm.mentions import Document

_STREAMED: Mapping[str, Callable[[Iterable[Document], TextIO], Mapping[str, int]]] = {
    "jsonl": write_json_lines,
    "pubtator": write_pubtator,
    "bioc": write_bioc,
    "conll": write_conll,
}
WRITTEN_FORMS = (*_STREAMED, "brat")
"""What `write_documents` writes, by name: BioC as JSON, CoNLL in IOB2."""


def write_documents(documents: Iterable[Document], out: Path | TextIO, form: str) -> dict[str, int]:
    """Write documents, one at a time, to a stream or a path; a file ending in .gz is gzipped, brat is a folder.

    A path is whole or absent, and a file that is there is replaced. A stream of bytes below (as standard output has)
    gets UTF-8, whatever the terminal's encoding. Returns counts, by reason, of what the layout could not hold. Raises
    InputError for an unknown form, ArtifactError where the path or stream cannot be written; BrokenPipeError, and what
    the documents raise while they are made, pass.
    """
    if form not in WRITTEN_FORMS:
        raise InputError(f"the form {form!r} cannot be written; choose one of {', '.join(WRITTEN_FORMS)}")
    if form == "brat" and not isinstance(out, Path):
        raise InputError("brat is a folder of files, which no stream can hold; name a folder")
    documents = _told_apart(documents)
    try:
        if not isinstance(out, Path):
            return _into_stream(documents, out, form)
        return _into_folder(documents, out) if form == "brat" else _into_file(documents, out, form)
    except _InputFailedError as failed:
        raise failed.error from failed.error.__cause__
    except BrokenPipeError:
        raise
    except UnicodeEncodeError as error:
        if error.encoding != "utf-8":
            raise ArtifactError(
                f"{_place(out)} is of {error.encoding}, which lacks {error.object[error.start]!r}; "
                "set PYTHONIOENCODING=utf-8, or write a file"
            ) from None
        raise InputError(
            f"half a character (a lone surrogate), which no file can hold: {error.reason}; repair the text"
        ) from None
    except OSError as error:
        raise ArtifactError(
            f"{_place(out)} cannot be written: {error.strerror or error}; choose another place"
        ) from None


class _InputFailedError(Exception):
    """Carries an error of making the documents past those of writing them."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def _told_apart(documents: Iterable[Document]) -> Iterator[Document]:
    try:
        yield from documents
    except (OSError, UnicodeEncodeError) as error:
        raise _InputFailedError(error) from error


def _place(out: Path | TextIO) -> str:
    if isinstance(out, Path):
        return str(out)
    return "standard output" if out is sys.stdout else str(getattr(out, "name", "the stream"))


def _into_stream(documents: Iterable[Document], out: TextIO, form: str) -> dict[str, int]:
    below = getattr(out, "buffer", None)
    stream = out
    if below is not None and codecs.lookup(out.encoding).name != "utf-8":
        out.flush()
        stream = cast(TextIO, codecs.getwriter("utf-8")(below))
    counts = dict(_STREAMED[form](documents, stream))
    stream.flush()
    return counts


def _into_file(documents: Iterable[Document], out: Path, form: str) -> dict[str, int]:
    with atomic_file(out) as partial, partial.open("wb") as raw:
        # Without name and time the same documents give the same bytes.
        packed = gzip.GzipFile("", "wb", fileobj=raw, mtime=0) if out.suffix == ".gz" else raw
        with io.TextIOWrapper(packed, encoding="utf-8", newline="") as text:
            counts = dict(_STREAMED[form](documents, text))
    return counts


def _into_folder(documents: Iterable[Document], out: Path) -> dict[str, int]:
    check_free(out)
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        counts = dict(write_brat(documents, partial))
        if out.is_dir():
            out.rmdir()
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return counts
