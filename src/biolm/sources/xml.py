"""Bytes to element trees, safely: no DTD, no network, no entity expansion, bounded sizes.

Named entities (`&nbsp;`, `&alpha;`) are known to us, not to a DTD: they are written as numeric references
before the parser sees them. What a document declares itself is never expanded, so nested or external
entities do no harm; a document that needs them is unusable.
"""

import codecs
import re
from collections.abc import Iterator
from functools import lru_cache
from html.entities import html5
from itertools import chain
from typing import Any

from lxml import etree

Element = Any
"""An lxml element; lxml has no type of its own to name here."""

PARSER_VERSIONS = (etree.LXML_VERSION, etree.LIBXML_VERSION)
"""Of lxml, and of the libxml2 in it."""
MAX_RECORD_BYTES = 128 << 20
"""Largest article or PubMed record that is parsed; the longest in PMC, with tables, are near 60 MB."""

PAPERS = "give JATS or PubMed XML (.xml, .nxml, .gz), a tar or zip of it, or a folder"
AGAIN = "fetch it again or leave it out"

_ENTITY = re.compile(rb"&(?!(?:lt|gt|amp|quot|apos);)([A-Za-z][A-Za-z0-9]{1,31});")
_ENTITY_OR_CDATA = re.compile(rb"<!\[CDATA\[(?:.*?\]\]>|.*\Z)|" + _ENTITY.pattern, re.DOTALL)
_REFERENCES = {
    name[:-1].encode(): "".join(f"&#{ord(character)};" for character in value).encode()
    for name, value in html5.items()
    if name.endswith(";")
}
# What Europe PMC is known to send: control bytes that XML forbids, and an ampersand that begins nothing.
_BROKEN = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]|&(?!#?\w{1,32};)")
_STRING = etree.XPath("string()", smart_strings=False)  # unlike itertext(), without comments
_UTF_16 = {
    b"\xff\xfe": "utf-16-le",
    b"\xfe\xff": "utf-16-be",
    b"<\0?\0": "utf-16-le",
    b"\0<\0?": "utf-16-be",
}
_OPAQUE = {b"<!--": b"-->", b"<![CDATA[": b"]]>", b"<?": b"?>"}
"""What begins a stretch without tags (a comment, CDATA, an instruction), and what ends it."""
_DECLARATION = re.compile(r"\A\s*<\?xml\s[^>]*\?>")
_PEEK_BYTES = 1024
_LONGEST_PROLOG = 1 << 20


class Unusable(Exception):  # noqa: N818  the reason is for a person
    """A document or record that gives no article: `reason` and the next step, each part of one line.

    `transient`: not for what it holds, but for a connection or a disk; another time it may be read.
    """

    def __init__(self, reason: str, remedy: str = AGAIN, *, transient: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy
        self.transient = transient


def parse_xml(data: bytes, encoding: str | None = None) -> Element:
    """The root element of one document.

    `encoding` overrides what the document declares. Control bytes and bare ampersands are repaired where
    the document is broken without that. Raises Unusable for whatever stays broken.
    """
    data = _numeric_references(data)
    try:
        root = _parse(data, encoding)
    except etree.XMLSyntaxError as error:
        repaired = _BROKEN.sub(lambda match: b"&amp;" if match[0] == b"&" else b"", data)
        if repaired == data:
            raise Unusable(f"broken XML: {one_line(error)}") from None
        try:
            root = _parse(repaired, encoding)
        except etree.XMLSyntaxError as error:
            raise Unusable(f"broken XML: {one_line(error)}") from None
    entity = next(root.iter(etree.Entity), None)
    if entity is not None:
        raise Unusable(f"broken XML: the entity {one_line(entity.text)} is not known")
    return root


def root_of(head: Iterator[bytes]) -> Element:
    """The root element of a document, without its content, from its first bytes.

    Takes from `head` what it needs and no more. Raises Unusable where no XML begins there.
    """
    parser = etree.XMLPullParser(events=("start",), **_SAFE)
    seen = 0
    for chunk in chain(head, [b"\n"]):  # of <a/> alone the parser tells when more comes
        data = _numeric_references(chunk if seen else chunk.lstrip())
        for start in range(0, len(data), _PEEK_BYTES):
            problem = None
            try:
                parser.feed(data[start : start + _PEEK_BYTES])
            except etree.XMLSyntaxError as error:  # it may lie behind the root
                problem = Unusable(f"not XML: {one_line(error)}", PAPERS)
            for _, element in parser.read_events():
                return element
            if problem:
                raise problem
            seen += _PEEK_BYTES
            if seen > _LONGEST_PROLOG:
                raise Unusable("no XML element in its first MiB", PAPERS)
    raise Unusable("not XML: it ends before any element" if seen else "not XML: it is empty", PAPERS)


def as_utf8(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """A document in UTF-16 as one in UTF-8, without its declaration; any other as it is.

    Tags are looked for as bytes, which UTF-16 writes otherwise. Raises Unusable where it is no UTF-16.
    """
    first = next(chunks, b"")
    encoding = next((name for mark, name in _UTF_16.items() if first.startswith(mark)), None)
    if encoding is None:
        yield first
        yield from chunks
        return
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        start = _DECLARATION.sub("", decoder.decode(first).removeprefix("\ufeff"))
        yield start.encode()
        for chunk in chunks:
            yield decoder.decode(chunk).encode()
        yield decoder.decode(b"", final=True).encode()
    except UnicodeError as error:
        raise Unusable(f"broken XML: {one_line(error)}") from None


def after_opaque(data: bytes | bytearray, start: int) -> int:
    """Where the comment, CDATA section or instruction ends that begins at `start`; 0 where none does, or never ends."""
    for begins, ends in _OPAQUE.items():
        if data.startswith(begins, start):
            end = data.find(ends, start + len(begins))
            return end + len(ends) if end >= 0 else 0
    return 0


def local_name(element: Element) -> str:
    """An element's name without namespace; empty for comments and processing instructions."""
    tag = element.tag
    if not isinstance(tag, str):
        return ""
    return tag[tag.rfind("}") + 1 :] if tag[0] == "{" else tag


def words_of(element: Element | None) -> str:
    """All text inside an element, without any rules but one: white space is one space. Empty for None."""
    if element is None:
        return ""
    return " ".join((_STRING(element) if len(element) else element.text or "").split())


def one_line(message: object) -> str:
    """An error's message as one short line, without the parser's own "(<string>, line 1)"."""
    text = re.sub(r" \(<string>, line \d+\)$|[^\x20-\uffff]+", " ", str(message).strip())
    return " ".join(text.split())[:200]


_SAFE = {
    "resolve_entities": False,
    "load_dtd": False,
    "dtd_validation": False,
    "attribute_defaults": False,
    "no_network": True,
    "huge_tree": False,
}


@lru_cache(maxsize=8)
def _parser(encoding: str | None) -> Any:
    try:
        return etree.XMLParser(encoding=encoding, **_SAFE)
    except LookupError:
        raise Unusable(f"broken XML: the encoding {one_line(encoding)} is not known") from None


def _parse(data: bytes, encoding: str | None) -> Element:
    return etree.fromstring(data, _parser(encoding))


def _numeric_references(data: bytes) -> bytes:
    if b"&" not in data:
        return data
    pattern = _ENTITY_OR_CDATA if b"<![CDATA[" in data else _ENTITY
    return pattern.sub(lambda match: _REFERENCES.get(match[1], match[0]), data)
