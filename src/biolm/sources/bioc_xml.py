"""BioC XML as plain dictionaries, laid out as BioC JSON is, so that one function reads both."""

from typing import Any

from biolm.sources.xml import Element, Unusable, local_name, parse_xml


def read_bioc_xml(data: bytes) -> dict[str, Any]:
    """A collection: {"documents": [{"id", "infons", "passages": [...], ...}]}.

    Text is kept as it is, white space too. Raises Unusable where it is broken, or no BioC.
    """
    root = parse_xml(data)
    if local_name(root) != "collection":
        raise Unusable(f"its root is <{local_name(root)}>, not <collection>", "give BioC XML")
    return {
        "source": _text_of(root, "source") or "",
        "infons": _infons(root),
        "documents": [_document(child) for child in _children(root, "document")],
    }


def _document(element: Element) -> dict[str, Any]:
    return {
        "id": (_text_of(element, "id") or "").strip(),
        **_annotated(element),
        "passages": [_passage(child) for child in _children(element, "passage")],
    }


def _passage(element: Element) -> dict[str, Any]:
    """A passage or a sentence, which is laid out as one."""
    found = {
        "offset": _number(_text_of(element, "offset")),
        **_annotated(element),
        "sentences": [_passage(child) for child in _children(element, "sentence")],
    }
    text = _text_of(element, "text")
    return found if text is None else {**found, "text": text}


def _annotated(element: Element) -> dict[str, Any]:
    return {
        "infons": _infons(element),
        "annotations": [_annotation(child) for child in _children(element, "annotation")],
        "relations": [{} for _ in _children(element, "relation")],
    }


def _annotation(element: Element) -> dict[str, Any]:
    places = _children(element, "location")
    return {
        "id": element.get("id", ""),
        "infons": _infons(element),
        "text": _text_of(element, "text") or "",
        "locations": [{name: _number(place.get(name)) for name in ("offset", "length")} for place in places],
    }


def _infons(element: Element) -> dict[str, str]:
    return {child.get("key", ""): _all_text(child) for child in _children(element, "infon")}


def _children(element: Element, name: str) -> list[Element]:
    return [child for child in element if local_name(child) == name]


def _text_of(element: Element, name: str) -> str | None:
    found = _children(element, name)
    return _all_text(found[0]) if found else None


def _all_text(element: Element) -> str:
    return str(element.xpath("string()", smart_strings=False))


def _number(text: str | None) -> int | str | None:
    """The number that stands there; whatever else does is for the reader to refuse."""
    try:
        return int(text or "")
    except ValueError:
        return text
