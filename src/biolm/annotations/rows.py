"""Rows of data sets, as people put them at the Hub: words with tags, or texts with spans."""

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from biolm.annotations.files import checked, fitted
from biolm.annotations.tagged_words import Scheme, Spacing, document_of_sentences, scheme_of
from biolm.errors import InputError
from biolm.mentions import Document, Mention

WORDS = ("tokens", "words")
TAGS = ("ner_tags", "tags", "labels", "ner_labels")
SPANS = ("spans", "entities", "mentions")
TYPE_KEYS = ("label", "type", "entity", "entity_group")
WITHOUT_SPANS = "rows of texts without spans, read as texts without mentions"
EMPTY = "rows without words left out"
_WANTED = "give columns tokens and ner_tags, or text and spans"

Row = Mapping[str, Any]


def documents_of_rows(
    rows: Iterable[tuple[str, Row]],
    name: str,
    *,
    columns: Sequence[str] | None = None,
    names: Mapping[str, Sequence[str]] | None = None,
    labels: Sequence[str] | None = None,
    spacing: Spacing = "reconstructed",
    scheme: Scheme | None = None,
    strict: bool = False,
    counts: Counter[str] | None = None,
) -> Iterator[Document]:
    """A document for each (where, row): of its `tokens` and `ner_tags`, or its `text` and `spans` (or `entities`, ...).

    `columns`: those there are, None for what all rows say together (one of JSON leaves out what it does not have).
    Where they are known, texts are read one at a time; tags are looked at together, for the scheme that they have.
    Spans are objects with start, end and label, or [start, end, label]; texts without such a column have no mentions.
    `names`: of a column's numbers, as the data set says them; `labels`: those to take instead. An id that is not there
    is "name:row". Raises InputError where columns are missing, numbers have no name, or spans are not in the text.
    """
    counts = Counter() if counts is None else counts
    if columns is None:
        rows = list(rows)
        columns = list(dict.fromkeys(column for _, row in rows for column in row))
    waiting = enumerate(rows, 1)
    first = next(waiting, None)
    if first is None:
        return
    where, found = first[1][0], chain([first], waiting)
    words, tags = _column(columns, WORDS), _column(columns, TAGS)
    if words and tags:
        _count_columns(columns, {"id", words, tags}, counts)
        known = labels or (names or {}).get(tags)
        tagged = [
            (number, here, row, _tagged(row, words, tags, known, here)) for number, (here, row) in found
        ]
        try:
            scheme = scheme or scheme_of(row_tags for *_, (_, row_tags) in tagged)
        except ValueError as error:
            raise InputError(
                f"{where}, column {tags}: {error}; give a tag for each word, such as B-Gene, I-Gene and O"
            ) from None
        for number, here, row, (row_words, row_tags) in tagged:
            if not row_words:
                counts[EMPTY] += 1
                continue
            sentence = [(row_words, row_tags)]
            made = document_of_sentences(
                _id(row, name, number), sentence, scheme=scheme, spacing=spacing, strict=strict
            )
            yield checked(made, here)
        return
    if "text" not in columns:
        raise InputError(f"{where} has the columns {', '.join(map(str, columns)) or 'none'}; {_WANTED}")
    _count_columns(columns, {"id", "text", *SPANS}, counts)
    for number, (here, row) in found:
        spans = _column_of_spans(row, counts)
        known = labels or (names or {}).get(spans or "")
        yield _document_of_spans(row, spans, known, _id(row, name, number), here, counts)


def _column(row: Container[str], wanted: Sequence[str]) -> str | None:
    return next((column for column in wanted if column in row), None)


def _count_columns(columns: Iterable[str], known: Container[str], counts: Counter[str]) -> None:
    for column in columns:
        if column not in known:
            counts[f"columns {column!r} ignored"] += 1


def _column_of_spans(row: Row, counts: Counter[str]) -> str | None:
    """Where a row has its spans: the first of those columns that is not empty."""
    there = [column for column in SPANS if column in row]
    # Older data sets have an object of lists.
    full = [c for c in there if (any(row[c].values()) if isinstance(row[c], dict) else row[c])]
    counts[WITHOUT_SPANS] += not there
    for other in full[1:]:
        counts[f"rows with spans in {full[0]!r}, whose {other!r} were ignored"] += 1
    return next(iter(full or there), None)


def _id(row: Row, name: str, number: int) -> str:
    said = row.get("id")
    return f"{name}:{number}" if said is None or said == "" else str(said)


def _tagged(
    row: Row, words: str, tags: str, names: Sequence[str] | None, here: str
) -> tuple[list[str], list[str]]:
    row_words, row_tags = row.get(words), row.get(tags)
    if not isinstance(row_words, list) or not isinstance(row_tags, list) or len(row_words) != len(row_tags):
        raise InputError(f"{here}: {words} and {tags} are no lists of one length; {_WANTED}")
    if not all(isinstance(word, str) and word for word in row_words):
        raise InputError(f"{here}: an empty word, or none, in {words}; repair the row or leave it out")
    return row_words, [_name(tag, names, tags, here) for tag in row_tags]


def _name(label: Any, names: Sequence[str] | None, column: str, here: str) -> str:
    if isinstance(label, str) and label:
        return label
    if type(label) is not int:
        raise InputError(f"{here}: {label!r} in {column} is no label; give names or numbers")
    if names is None:
        raise InputError(
            f"{here}: the labels in {column} are numbers, and the data set does not name them; give the names in their "
            "order (--labels O,B-Disease,I-Disease)"
        )
    if not 0 <= label < len(names):
        raise InputError(f"{here}: label {label} in {column}, but there are names for {len(names)}; give all")
    return names[label]


def _document_of_spans(
    row: Row, column: str | None, names: Sequence[str] | None, name: str, here: str, counts: Counter[str]
) -> Document:
    text = row.get("text")
    if not isinstance(text, str):
        raise InputError(f"{here}: no text; {_WANTED}")
    mentions = []
    try:
        spans = [
            (*_of_span(span, counts), _said(span)) for span in _spans(row.get(column) if column else None)
        ]
    except (TypeError, ValueError, KeyError) as error:
        raise InputError(
            f"{here}: a span in {column} without start, end and label ({error}); {_WANTED}"
        ) from None
    for start, end, label, said in spans:
        place = (start, end) if said is None else fitted(text, start, end, said, where=here, counts=counts)
        mentions.append(Mention(*place, _name(label, names, str(column), here)))
    return checked(Document(name, text, tuple(mentions)), here)


def _spans(value: Any) -> list[Any]:
    """The spans of a row; an object of lists, as older data sets have them, is a list of objects."""
    if isinstance(value, dict):
        return [dict(zip(value, one, strict=True)) for one in zip(*value.values(), strict=True)]
    return list(value or ())


def _of_span(span: Any, counts: Counter[str]) -> tuple[int, int, Any]:
    if isinstance(span, dict):
        key = _column(span, TYPE_KEYS)
        if key is None:
            raise KeyError("no label")
        start, end, label = span["start"], span["end"], span[key]
        for other in span.keys() - {"start", "end", "text", key}:
            counts[f"keys {other!r} of spans ignored"] += 1
    else:
        start, end, label = span[:3]
    if type(start) is not int or type(end) is not int:
        raise TypeError(f"{start!r} and {end!r} are no whole numbers")
    return start, end, label


def _said(span: Any) -> str | None:
    said = span.get("text") if isinstance(span, dict) else None
    return said if isinstance(said, str) else None


def class_names(features: Any) -> dict[str, list[str]]:
    """Column → names of its numbers, from a data set's features as their JSON says them."""
    if not isinstance(features, dict):
        return {}
    found = ((column, _names_in(feature)) for column, feature in features.items())
    return {column: names for column, names in found if names is not None}


def _names_in(feature: Any) -> list[str] | None:
    inner: Iterable[Any] = ()
    if isinstance(feature, dict):
        if feature.get("_type") == "ClassLabel" and isinstance(feature.get("names"), list):
            return [str(name) for name in feature["names"]]
        inner = feature.values()
    elif isinstance(feature, list):
        inner = feature
    return next((names for value in inner if (names := _names_in(value)) is not None), None)
