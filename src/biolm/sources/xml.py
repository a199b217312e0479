"""XML from strangers, parsed safely: no DTD is loaded, no entity is expanded, nothing is fetched.

Named references such as `&nbsp;`, which only a DTD would define, are turned into numeric ones by our own
table (that of HTML, a superset of what JATS papers use) before the parser sees them.
"""

import re
from collections.abc import Iterable, Iterator
from html.entities import html5
from typing import IO, Any

from lxml import etree

CHUNK_BYTES = 1 << 16
_PREDEFINED = {b"lt", b"gt", b"amp", b"quot", b"apos"}
_NAMED = {
    name[:-1].encode(): "".join(f"&#{ord(character)};" for character in characters).encode()
    for name, characters in html5.items()
    if name.endswith(";") and name[:-1].encode() not in _PREDEFINED
}
_REFERENCE = re.compile(rb"&([A-Za-z][A-Za-z0-9]{1,31});")
_UNFINISHED = re.compile(rb"&[A-Za-z0-9]{0,32}$")


class NotXml(Exception):  # noqa: N818  the reason goes to a person, not to a handler of errors
    """The bytes are no well-formed XML; the text says where."""


def numeric_references(data: bytes) -> bytes:
    """Known named references as numeric ones; XML's own five and unknown names stay as they are."""
    if b"&" not in data:
        return data
    return _REFERENCE.sub(lambda found: _NAMED.get(found[1], found[0]), data)


def parse_xml(data: bytes) -> Any:
    """The root element of a document. Raises NotXml."""
    parser = etree.XMLParser(
        resolve_entities=False, load_dtd=False, no_network=True, huge_tree=False, remove_comments=False
    )
    try:
        return etree.fromstring(numeric_references(data), parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise NotXml(reason(error)) from None


def root_name(head: bytes) -> str:
    """The local name of the root element, from a document's first bytes. Raises NotXml where there is none."""
    parser = etree.XMLPullParser(events=("start",), resolve_entities=False, load_dtd=False, no_network=True)
    problem = "no XML element in it"
    try:
        parser.feed(numeric_references(head))
    except (etree.XMLSyntaxError, ValueError) as error:
        problem = reason(error)
    for _, element in parser.read_events():
        return local_name(element)
    raise NotXml(problem)


def stream_elements(file: IO[bytes], names: Iterable[str]) -> Iterator[Any]:
    """Each element with one of the local `names`, as soon as it is whole.

    An element is freed, with all before it, when the next one is asked for, so memory is that of one
    record. Raises NotXml where the document breaks off or is ill-formed; what came before has been given.
    """
    parser = etree.XMLPullParser(
        events=("end",),
        tag=[f"{{*}}{name}" for name in names],
        resolve_entities=False,
        load_dtd=False,
        no_network=True,
        huge_tree=False,
    )
    problem: Exception | None = None
    for chunk in _whole_references(file):
        try:
            parser.feed(chunk)
        except (etree.XMLSyntaxError, ValueError) as error:
            problem = error
        yield from _freed(parser)
        if problem:
            raise NotXml(reason(problem))
    try:
        parser.close()
    except (etree.XMLSyntaxError, ValueError) as error:
        raise NotXml(reason(error)) from None


def local_name(element: Any) -> str:
    """The element's name without namespace; empty for comments, processing instructions and entities."""
    tag = element.tag
    if not isinstance(tag, str):
        return ""
    return tag[tag.rfind("}") + 1 :]


def reason(error: Exception) -> str:
    """One line of a parser's complaint."""
    return " ".join(str(error).split()) or type(error).__name__


def _freed(parser: Any) -> Iterator[Any]:
    for _, element in parser.read_events():
        yield element
        element.clear()
        parent = element.getparent()
        if parent is not None:
            while element.getprevious() is not None:
                del parent[0]


def _whole_references(file: IO[bytes]) -> Iterator[bytes]:
    """Chunks of a file with numeric references, none of them cut inside a reference."""
    rest = b""
    while chunk := file.read(CHUNK_BYTES):
        chunk = rest + chunk
        cut = _UNFINISHED.search(chunk)
        rest = chunk[cut.start() :] if cut else b""
        yield numeric_references(chunk[: len(chunk) - len(rest)])
    if rest:
        yield rest
