"""biolm's own form: a document a line, as JSON.

    {"id": "1", "text": "BRCA1 binds.", "mentions": [{"start": 0, "end": 5, "type": "GENE", "text": "BRCA1"}]}

A mention may have a `score` and `attributes`, a document `parts` ({"start", "end", "name"}) and `words` ([start, end]).
A mention's other keys are attributes where they are strings; what else is not known is passed over, and counted.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TextIO

from biolm.annotations.files import checked, fitted, lines_of
from biolm.errors import InputError
from biolm.mentions import Document, Mention, Part

_KEYS = {"id", "text", "mentions", "parts", "words"}
_ELSEWHERE = ("spans", "entities")
"""Where rows of data sets have their mentions: such a row among ours would lose them."""
_MENTION_KEYS = {"start", "end", "type", "text", "score", "attributes"}
_WANTED = 'give {"id": "1", "text": "BRCA1", "mentions": [{"start": 0, "end": 5, "type": "GENE"}]} a line'


def read_json_lines(
    text: str, name: str, *, where: str, counts: Counter[str] | None = None
) -> Iterator[Document]:
    """The documents of a file; one without id is "name:line".

    Raises InputError, with the line, for anything else than the form above, and for a mention whose `text` is not what
    stands at its offsets.
    """
    counts = Counter() if counts is None else counts
    for number, line in lines_of(text):
        if line.strip():
            here = f"{where}, line {number}"
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(f"{here} is no JSON: {error}; {_WANTED}") from None
            yield document_of_json(row, f"{name}:{number}", where=here, counts=counts)


def document_of_json(
    row: Any, default_id: str, *, where: str, counts: Counter[str] | None = None
) -> Document:
    """One document from its JSON value. Raises InputError, naming `where`, for any other value."""
    counts = Counter() if counts is None else counts
    if not isinstance(row, dict) or not isinstance(row.get("text"), str):
        raise InputError(f"{where}: no object with a text; {_WANTED}")
    if not row.get("mentions") and (other := next((key for key in _ELSEWHERE if row.get(key)), None)):
        raise InputError(
            f"{where}: mentions in {other!r}, but none in 'mentions'; give them as the form has them: {_WANTED}"
        )
    for key in row.keys() - _KEYS:
        counts[f"keys {key!r} ignored"] += 1
    text: str = row["text"]
    try:
        mentions = [_mention(mention, text, where, counts) for mention in row.get("mentions") or ()]
        parts = [
            Part(_whole(part["start"]), _whole(part["end"]), str(part["name"]))
            for part in row.get("parts") or ()
        ]
        words = row.get("words")
        if words is not None:
            words = tuple((_whole(start), _whole(end)) for start, end in words)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{where}: {type(error).__name__}: {error}; {_WANTED}") from None
    name = default_id if row.get("id") is None else str(row["id"])
    return checked(Document(name, text, tuple(mentions), tuple(parts), words), where)


def _mention(row: Mapping[str, Any], text: str, where: str, counts: Counter[str]) -> Mention:
    start, end, type_, score = _whole(row["start"]), _whole(row["end"]), row["type"], row.get("score")
    if not isinstance(type_, str):
        raise TypeError(f"the type {type_!r} is no text")
    if score is not None and (isinstance(score, bool) or not 0 <= score <= 1):
        raise ValueError(f"the score {score!r} is not from 0 to 1")
    attributes = dict(row.get("attributes") or {})
    for key in row.keys() - _MENTION_KEYS:
        if isinstance(row[key], str):
            attributes[key] = row[key]
        else:
            counts[f"keys {key!r} of mentions ignored"] += 1
    if not all(isinstance(word, str) for word in (*attributes, *attributes.values())):
        raise TypeError("attributes are no texts")
    if row.get("text") not in (None, text[max(start, 0) : end]):
        start, end = fitted(text, start, end, str(row["text"]), where=where, counts=counts)
    return Mention(start, end, type_, None if score is None else float(score), attributes)


def _whole(number: Any) -> int:
    if type(number) is not int:
        raise TypeError(f"{number!r} is no whole number")
    return number


def json_of(document: Document) -> dict[str, Any]:
    """A document as the JSON value that `document_of_json` reads; nothing is lost."""
    row: dict[str, Any] = {"id": document.id, "text": document.text}
    row["mentions"] = [_json_of_mention(document, mention) for mention in document.mentions]
    if document.parts:
        row["parts"] = [{"start": part.start, "end": part.end, "name": part.name} for part in document.parts]
    if document.words is not None:
        row["words"] = [list(word) for word in document.words]
    return row


def _json_of_mention(document: Document, mention: Mention) -> dict[str, Any]:
    row: dict[str, Any] = {"start": mention.start, "end": mention.end, "type": mention.type}
    row["text"] = document.surface(mention)
    if mention.score is not None:
        row["score"] = mention.score
    if mention.attributes:
        row["attributes"] = dict(mention.attributes)
    return row


def write_json_lines(documents: Iterable[Document], out: TextIO) -> Counter[str]:
    """A document a line. Nothing is lost, so the counts are empty."""
    for document in documents:
        out.write(json.dumps(json_of(document), ensure_ascii=False) + "\n")
    return Counter()
