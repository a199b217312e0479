"""Large files of many records, cut into one small document per record.

PubMed's files and Europe PMC's bundles hold thousands of records each. Cutting them at their tags, before
any parsing, keeps memory flat and lets one broken record be set aside without its neighbours, which a
streaming XML parser cannot do: it stops at the first error.
"""

import re
from collections.abc import Iterator
from xml.sax.saxutils import quoteattr

from lxml import etree

from biolm.sources.xml import MAX_RECORD_BYTES, Element, Unusable, parse_xml

_ENCODING = re.compile(rb"\s*<\?xml[^>]{0,200}?\sencoding\s*=\s*[\"']([A-Za-z0-9._:-]+)")
_LONGEST_TAG = 128
"""Bytes kept from one chunk to the next, so that a tag cut in two is still seen whole."""


class Records:
    """The records of one file, from its root element, its bytes and the names of its records.

    Iterating gives the bytes of one record after another; `parse` makes an element of them. Raises
    Unusable at the end where the file stops before its root is closed, or holds no record.
    """

    def __init__(self, root: Element, chunks: Iterator[bytes], names: tuple[str, ...]) -> None:
        self.pubmed = "PubmedArticle" in names
        """Whether the records are PubMed's."""
        prefix = f"{root.prefix}:" if root.prefix else ""
        self._root = f"{prefix}{etree.QName(root).localname}"
        declared = (
            f" xmlns{f':{name}' if name else ''}={quoteattr(address)}" for name, address in root.nsmap.items()
        )
        self._before = f"<{self._root}{''.join(declared)}>".encode()
        self._after = f"</{self._root}>".encode()
        self._encoding: str | None = None
        tags = "|".join(re.escape(f"{prefix}{name}") for name in names)
        self._mark = re.compile(rf"<(/?)(?:{tags}|({re.escape(self._root)}))(?=[\s/>])".encode())
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        buffer = b""
        start: int | None = None  # of the open record
        position = count = 0
        for chunk in self._chunks:
            if self._encoding is None:
                declared = _ENCODING.match(chunk)
                self._encoding = declared[1].decode() if declared else "utf-8"
            buffer += chunk
            while (mark := self._mark.search(buffer, position)) is not None:
                is_end, is_root = bool(mark[1]), mark[2] is not None
                stop = mark.start()
                position = mark.end()
                if is_end and not is_root:
                    stop = position = buffer.find(b">", mark.end()) + 1
                    if not stop:  # cut inside the end tag
                        position = mark.start()
                        break
                if start is not None and (is_end or not is_root):
                    yield buffer[start:stop]
                    count += 1
                    start = None
                if is_end and is_root:
                    if not count:
                        raise Unusable(f"an empty <{self._root}>: it holds no articles")
                    for _ in self._chunks:
                        pass  # to the end, where a gzip file has its checksum
                    return
                if not is_end and not is_root:
                    start = mark.start()
            else:
                position = max(position, len(buffer) - _LONGEST_TAG)
            keep = position if start is None else start
            buffer = buffer[keep:]
            position -= keep
            start = None if start is None else 0
            if len(buffer) > MAX_RECORD_BYTES:
                raise Unusable(f"holds a record of more than {MAX_RECORD_BYTES >> 20} MiB")
        raise Unusable(f"cut off: it ends before </{self._root}>")

    def parse(self, records: bytes) -> list[Element]:
        """The elements of records end to end. Raises Unusable where any is broken."""
        return list(parse_xml(b"".join((self._before, records, self._after)), self._encoding))
