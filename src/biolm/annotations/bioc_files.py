"""BioC collections, as XML or JSON: documents of passages, whose offsets count from the document's start.

The layout is that of Comeau et al. 2013 and of the `bioc` library; the reading is ours, because the library's XML
parser expands entities and loads what a document names.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

from biolm.annotations.files import UNTYPED, checked, fitted
from biolm.errors import InputError
from biolm.mentions import Document, Mention, Part

DISCONTINUOUS = "discontinuous"
"""The attribute of a mention in several pieces: "start-end,start-end"; the mention itself goes from the first to the
last."""
IN_PIECES = "mentions in several pieces, read as one from first to last"
PLACELESS = "annotations without a place ignored"
RELATIONS = "relations ignored"
SCORE = "score"
_LONGEST_GAPS = 1 << 20
"""Characters between the passages of a document, all together; real ones are a few."""
_WANTED = "give a BioC collection"


def read_bioc_json(content: str, *, where: str, counts: Counter[str] | None = None) -> Iterator[Document]:
    """The documents of BioC JSON: of a collection, a list of them (as NCBI's service for PMC sends), or PubTator's.

    Raises InputError for anything else, and what `bioc_documents` raises.
    """
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is no JSON: {error}; {_WANTED}") from None
    for collection in found if isinstance(found, list) else [found]:
        documents = None
        if isinstance(collection, dict):
            documents = collection.get("documents", collection.get("PubTator3"))
        if not isinstance(documents, list):
            raise InputError(f"{where} has no list of documents; {_WANTED}")
        yield from bioc_documents(documents, where=where, counts=counts)


def read_bioc_xml_file(data: bytes, *, where: str, counts: Counter[str] | None = None) -> Iterator[Document]:
    """The documents of BioC XML. Raises InputError where it is broken, and what `bioc_documents` raises."""
    from biolm.sources.bioc_xml import read_bioc_xml
    from biolm.sources.xml import Unusable

    try:
        collection = read_bioc_xml(data)
    except Unusable as error:
        raise InputError(f"{where}: {error.reason}; {error.remedy}") from None
    yield from bioc_documents(collection["documents"], where=where, counts=counts)


def bioc_documents(
    documents: Iterable[Any], *, where: str, counts: Counter[str] | None = None
) -> Iterator[Document]:
    """Documents from dictionaries in the layout of BioC JSON.

    Passages stand at their offsets, gaps between them are spaces; a passage whose infons name a type is a part. All
    infons of an annotation but its type and score are attributes. Raises InputError, with the document's id, for
    offsets that go backwards, and mentions whose text is not what stands at their offsets.
    """
    counts = Counter() if counts is None else counts
    for number, document in enumerate(documents, 1):
        here = f"{where}, document {number}"
        try:
            name = str(document["id"])
            here = f"{where}, document {name}"
            yield _document(document, name, here, counts)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise InputError(
                f"{here} is not laid out as BioC is ({type(error).__name__}: {error}); {_WANTED}"
            ) from None


def _document(document: dict[str, Any], name: str, here: str, counts: Counter[str]) -> Document:
    pieces: list[str] = []
    parts: list[Part] = []
    length = gaps = 0
    annotations = list(document.get("annotations") or ())
    counts[RELATIONS] += len(document.get("relations") or ())
    for passage in document["passages"]:
        begin = None
        for offset, text in _texts(passage):
            gaps += offset - length
            if offset < length or gaps > _LONGEST_GAPS:
                raise InputError(
                    f"{here}: a passage begins at character {offset}, but the text before it ends at {length}"
                    + (f", and gaps may be {_LONGEST_GAPS:,} together" if offset > length else "")
                    + "; check the offsets (they count characters, not bytes)"
                )
            pieces += [" " * (offset - length), text]
            length = offset + len(text)
            begin = offset if begin is None else begin
        infons = passage.get("infons") or {}
        kind = infons.get("type") or infons.get("section_type")
        if kind and begin is not None and length > begin:
            parts.append(Part(begin, length, str(kind)))
        for level in (passage, *(passage.get("sentences") or ())):
            annotations += level.get("annotations") or ()
            counts[RELATIONS] += len(level.get("relations") or ())
    text = "".join(pieces)
    mentions = [_mention(annotation, text, here, counts) for annotation in annotations]
    return checked(Document(name, text, tuple(filter(None, mentions)), tuple(parts)), here)


def _texts(passage: dict[str, Any]) -> list[tuple[int, str]]:
    """(offset, text) of a passage, or of its sentences where it has none itself."""
    if passage.get("text") is not None:
        return [(_whole(passage["offset"]), str(passage["text"]))]
    sentences = passage.get("sentences") or ()
    return [(_whole(sentence["offset"]), str(sentence.get("text") or "")) for sentence in sentences]


def _whole(number: Any) -> int:
    if type(number) is not int:
        raise ValueError(f"{number!r} is no offset")
    return number


def _mention(annotation: dict[str, Any], text: str, here: str, counts: Counter[str]) -> Mention | None:
    said = str(annotation.get("text") or "")
    places = sorted(
        (_whole(place["offset"]), _whole(place["length"])) for place in annotation.get("locations") or ()
    )
    if not places:
        counts[PLACELESS] += 1
        return None
    infons = {
        str(key): str(value) for key, value in (annotation.get("infons") or {}).items() if value is not None
    }
    kind, score = infons.pop("type", "") or UNTYPED, _score(infons)
    spans = [(offset, offset + length) for offset, length in places]
    start, end = spans[0][0], max(end for _, end in spans)
    if len(spans) > 1:
        counts[IN_PIECES] += 1
        infons[DISCONTINUOUS] = ",".join(f"{first}-{last}" for first, last in spans)
    elif said:
        start, end = fitted(
            text, start, end, said, where=f"{here}, annotation {annotation.get('id', '')}", counts=counts
        )
    return Mention(start, end, kind, score, infons)


def _score(infons: dict[str, str]) -> float | None:
    """Takes the score out of the infons, where it is a number from 0 to 1."""
    try:
        score = float(infons[SCORE])
    except (KeyError, ValueError):
        return None
    if not 0 <= score <= 1:
        return None
    del infons[SCORE]
    return score


def write_bioc(documents: Iterable[Document], out: TextIO) -> Counter[str]:
    """The documents as BioC JSON, a document a line. Nothing is lost but where words begin and end."""
    head = {
        "bioctype": "BioCCollection",
        "source": "biolm",
        "date": "",
        "key": "",
        "version": "1.0",
        "infons": {},
    }
    out.write(json.dumps(head)[:-1] + ', "documents": [')
    for number, document in enumerate(documents):
        out.write(",\n" if number else "\n")
        out.write(json.dumps(_as_bioc(document), ensure_ascii=False))
    out.write("\n]}\n")
    return Counter()


def _as_bioc(document: Document) -> dict[str, Any]:
    passages = _passages(document)
    outside: list[dict[str, Any]] = []
    for number, mention in enumerate(document.mentions):
        holding = (
            passage
            for passage in passages
            if passage["offset"] <= mention.start and mention.end <= passage["offset"] + len(passage["text"])
        )
        home = next(holding, None)
        (outside if home is None else home["annotations"]).append(_annotation(document, mention, number))
    return {
        "bioctype": "BioCDocument",
        "id": document.id,
        "infons": {},
        "passages": passages,
        "annotations": outside,
        "relations": [],
    }


def _passages(document: Document) -> list[dict[str, Any]]:
    """The document's parts, and what lies between them where that is more than spaces."""
    passages: list[dict[str, Any]] = []
    place = 0
    for part in sorted(document.parts, key=lambda part: (part.start, -part.end)):
        if part.start < place or part.end == part.start:  # a part in a part, or an empty one, is no passage
            continue
        if document.text[place : part.start].strip(" "):
            passages.append(_passage(document.text, place, part.start, None))
        passages.append(_passage(document.text, part.start, part.end, part.name))
        place = part.end
    if place < len(document.text) or not passages:
        passages.append(_passage(document.text, place, len(document.text), None))
    return passages


def _passage(text: str, start: int, end: int, kind: str | None) -> dict[str, Any]:
    return {
        "bioctype": "BioCPassage",
        "offset": start,
        "infons": {} if kind is None else {"type": kind},
        "text": text[start:end],
        "sentences": [],
        "annotations": [],
        "relations": [],
    }


def _annotation(document: Document, mention: Mention, number: int) -> dict[str, Any]:
    infons = {**mention.attributes, "type": mention.type}
    infons.pop(DISCONTINUOUS, None)  # its locations say it
    if mention.score is not None:
        infons[SCORE] = repr(mention.score)
    spans = pieces_of(mention)
    return {
        "id": str(number),
        "infons": infons,
        "text": " ".join(document.text[start:end] for start, end in spans),
        "locations": [{"offset": start, "length": end - start} for start, end in spans],
    }


def pieces_of(mention: Mention) -> list[tuple[int, int]]:
    """(start, end) of the pieces of a mention: of its attribute `discontinuous`, or itself."""
    said = mention.attributes.get(DISCONTINUOUS, "")
    try:
        pieces = [(int(first), int(last)) for first, last in (piece.split("-") for piece in said.split(","))]
    except ValueError:
        return [(mention.start, mention.end)]
    inside = all(mention.start <= first < last <= mention.end for first, last in pieces)
    return pieces if inside else [(mention.start, mention.end)]
