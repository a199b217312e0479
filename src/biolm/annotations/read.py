"""Annotated data in whatever layout they come, as documents."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict, Unpack

from biolm.annotations.bioc_files import read_bioc_json, read_bioc_xml_file
from biolm.annotations.brat import read_brat
from biolm.annotations.conll import read_conll
from biolm.annotations.files import read_bytes, read_text, unique
from biolm.annotations.forms import FORMS, file_of_split, form_of, plain_suffix, splits_in
from biolm.annotations.json_lines import read_json_lines
from biolm.annotations.pubtator import read_pubtator
from biolm.annotations.rows import documents_of_rows
from biolm.annotations.sourcedata import read_sourcedata
from biolm.annotations.tables import json_rows, parquet_table, saved_table
from biolm.annotations.tagged_words import Scheme, check_spacing
from biolm.errors import InputError
from biolm.mentions import Document

__all__ = [
    "FORMS",
    "AnnotatedData",
    "DocumentStream",
    "form_of",
    "iter_documents",
    "read_documents",
    "splits_in",
]


@dataclass(frozen=True, slots=True)
class AnnotatedData:
    """Documents, and what of their file is not in them."""

    documents: list[Document]
    form: str
    """One of FORMS."""
    counts: dict[str, int] = field(default_factory=dict)
    """How often something was ignored, left out or read otherwise, by reason."""

    @property
    def mentions(self) -> int:
        """How many there are in all documents."""
        return sum(len(document.mentions) for document in self.documents)


class Reading(TypedDict, total=False):
    """The settings of `iter_documents`."""

    form: str | None
    spacing: str
    split: str | None
    labels: Sequence[str] | None
    scheme: Scheme | None
    strict: bool


def read_documents(path: Path, **settings: Unpack[Reading]) -> AnnotatedData:
    """All documents of a file or folder at once; settings and errors are those of `iter_documents`."""
    stream = iter_documents(path, **settings)
    documents = list(stream)
    return AnnotatedData(documents, stream.form, dict(+stream.counts))


class DocumentStream:
    """Documents as they are read, to be taken once."""

    def __init__(self, form: str, counts: Counter[str], documents: Iterator[Document], path: Path) -> None:
        self.form = form
        """One of FORMS."""
        self.counts = counts
        """As `AnnotatedData.counts`; whole when all documents were taken."""
        self._documents, self._path = documents, path

    def __iter__(self) -> Iterator[Document]:
        """Raises InputError for what cannot be read, with file and line; where there is nothing, too."""
        empty = True
        for document in self._documents:
            empty = False
            yield document
        if empty:
            raise InputError(f"{self._path} holds no document; check that it is whole")


def iter_documents(
    path: Path,
    *,
    form: str | None = None,
    spacing: str = "reconstructed",
    split: str | None = None,
    labels: Sequence[str] | None = None,
    scheme: Scheme | None = None,
    strict: bool = False,
) -> DocumentStream:
    """The documents of a file or folder, gzipped or not, in their order; an id met again becomes "id#2".

    `form`: one of FORMS; None to find out, from the name and the contents. `spacing`: how words of CoNLL files and
    tables are joined, as they were printed ("reconstructed") or by one space ("words"). `split`: which of several
    splits in a folder. `labels`: names of a table's numbers. `scheme`, `strict`: of tags, as `read_conll` has them.
    Rows of Parquet files and of the datasets library are in memory a batch at a time where they are texts; of the other
    forms the file is. Raises InputError for whatever cannot be read, with file and line, some of it on the way.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path")
    if form is not None and form not in FORMS:
        raise InputError(f"the form {form!r} is not known; choose one of {', '.join(FORMS)}")
    path = file_of_split(path, form, split)
    form = form or form_of(path)
    if labels is not None and form not in ("table", "datasets"):
        raise InputError(f"{path} has names of labels itself ({form}); leave the labels out")
    counts: Counter[str] = Counter()
    tagged = {"spacing": check_spacing(spacing), "scheme": scheme, "strict": strict}
    documents = unique(_read(path, form, split, labels, tagged, counts), counts)
    return DocumentStream(form, counts, documents, path)


def _read(
    path: Path,
    form: str,
    split: str | None,
    labels: Sequence[str] | None,
    tagged: dict[str, Any],
    counts: Counter[str],
) -> Iterator[Document]:
    where, name = str(path), path.name.removesuffix(".gz").rpartition(".")[0] or path.name
    if form in ("brat", "datasets") and not path.is_dir():
        raise InputError(f"{path} is a file; for {form} give the folder")
    if form == "brat":
        yield from read_brat(path, counts=counts)
    elif form == "datasets" or (form == "table" and plain_suffix(path) == ".parquet"):
        table = saved_table(path, split) if form == "datasets" else parquet_table(path)
        yield from documents_of_rows(
            table.rows,
            name,
            columns=table.columns,
            names=table.names,
            labels=labels,
            counts=counts,
            **tagged,
        )
    elif form == "sourcedata":
        yield from read_sourcedata(read_bytes(path), where=where, counts=counts)
    elif form == "bioc" and (data := read_bytes(path)).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        yield from read_bioc_xml_file(data, where=where, counts=counts)
    else:
        yield from _read_text(path, form, name, labels, tagged, counts)


def _read_text(
    path: Path,
    form: str,
    name: str,
    labels: Sequence[str] | None,
    tagged: dict[str, Any],
    counts: Counter[str],
) -> Iterator[Document]:
    text, where = read_text(path), str(path)
    if form == "conll":
        return read_conll(text, name, where=where, counts=counts, **tagged)
    if form == "pubtator":
        return read_pubtator(text, where=where, counts=counts)
    if form == "bioc":
        return read_bioc_json(text, where=where, counts=counts)
    if form == "jsonl":
        return read_json_lines(text, name, where=where, counts=counts)
    return documents_of_rows(json_rows(text, where), name, labels=labels, counts=counts, **tagged)
