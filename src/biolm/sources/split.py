"""Large files of many records, cut into runs of records, and where a run is broken into single ones.

PubMed's files and Europe PMC's bundles hold thousands of records each. Cutting them at their tags, before
any parsing, keeps memory flat and lets one broken record be set aside without its neighbours, which a
streaming XML parser cannot do: it stops at the first error.
"""

import re
from collections.abc import Iterator
from xml.sax.saxutils import quoteattr

from lxml import etree

from biolm.sources.xml import MAX_RECORD_BYTES, Element, Unusable, after_opaque, parse_xml

_ENCODING = re.compile(rb"\s*<\?xml[^>]{0,200}?\sencoding\s*=\s*[\"']([A-Za-z0-9._:-]+)")
_LONGEST_TAG = 128
"""Bytes that are searched again when more have come, so that a tag cut in two is still seen whole."""
_ENDS_NAME = b" \t\r\n>"


class Records:
    """The records of one file, from its root element, its bytes and the names of its records, the usual one first.

    Iterating gives runs of whole records, end to end and about `run_bytes` long, or one longer record; `split`
    cuts a run into records; `parse` makes elements of either. Raises Unusable at the end where the file stops
    before its root is closed, or holds no record. Documents end to end, as `cat` makes them, are read as one.
    """

    def __init__(
        self, root: Element, chunks: Iterator[bytes], names: tuple[str, ...], run_bytes: int
    ) -> None:
        prefix = f"{root.prefix}:" if root.prefix else ""
        self._root = f"{prefix}{etree.QName(root).localname}"
        declared = (
            f" xmlns{f':{name}' if name else ''}={quoteattr(address)}" for name, address in root.nsmap.items()
        )
        self._before = f"<{self._root}{''.join(declared)}>".encode()
        self._after = f"</{self._root}>".encode()
        self._encoding: str | None = None
        self._names = [f"{prefix}{name}".encode() for name in names]
        self._mark = re.compile(b"<(/?)(?:" + b"|".join(map(re.escape, self._names)) + rb")(?=[\s/>])")
        self._mark_or_opaque = re.compile(self._mark.pattern + rb"|<!--|<!\[CDATA\[|<\?")
        self._chunks = chunks
        self._run_bytes = run_bytes

    def __iter__(self) -> Iterator[bytes]:
        buffer = bytearray()
        searched = 0  # up to here no record ends
        is_empty, is_last, is_closed = True, False, False
        failure: Unusable | None = None
        while not is_last:
            try:
                chunk = next(self._chunks, b"")
            except Unusable as error:  # what came before it counts
                chunk, failure = b"", error
            is_last = not chunk
            if self._encoding is None:
                declared = _ENCODING.match(chunk)
                self._encoding = declared[1].decode() if declared else "utf-8"
            buffer += chunk
            if len(buffer) < self._run_bytes and not is_last:
                continue
            end = self._last_end(buffer, max(0, searched - _LONGEST_TAG))
            if is_last and (tag := self._end_tag(buffer, self._root.encode(), end, last=True)) is not None:
                end = tag[0]  # records of rarer names come before it
            if end and self._mark.search(buffer, 0, end):
                is_empty = False
                yield bytes(memoryview(buffer)[:end])
            del buffer[:end]
            if next(self._marks(buffer, len(buffer)), None) is not None:
                is_closed = False  # a record has begun
            else:
                is_closed = self._is_closed(buffer, is_closed)
                del buffer[:-_LONGEST_TAG]
            searched = len(buffer)
            if searched > MAX_RECORD_BYTES:
                raise Unusable(f"holds a record of more than {MAX_RECORD_BYTES >> 20} MiB")
        if failure is None and not is_closed:
            failure = Unusable(f"cut off: it ends before </{self._root}>")
        if failure is None and is_empty:
            failure = Unusable(f"an empty <{self._root}>: it holds no articles")
        if failure is not None:
            raise failure

    def _is_closed(self, buffer: bytearray, before: bool) -> bool:
        """Whether the root is closed behind these bytes, in which no record is, if it was so `before` them."""
        begins = buffer.rfind(b"<" + self._root.encode())
        ends = buffer.rfind(b"</" + self._root.encode())
        return before if begins < 0 and ends < 0 else ends > begins

    def _last_end(self, buffer: bytearray, start: int) -> int:
        """Where the last whole record ends; 0 where none does."""
        for name in self._names:
            if (tag := self._end_tag(buffer, name, start, last=True)) is not None:
                return tag[1]  # records of rarer names behind it come with the next run
        return 0

    def _end_tag(
        self, buffer: bytearray, name: bytes, start: int, *, last: bool = False
    ) -> tuple[int, int] | None:
        """Where the first, or last, end tag of this name from `start` on begins and ends."""
        tag, stop = b"</" + name, len(buffer)
        while True:
            place = buffer.rfind(tag, start, stop) if last else buffer.find(tag, start)
            if place < 0:
                return None
            after = place + len(tag)
            end = buffer.find(b">", after) + 1
            if end and buffer[after] in _ENDS_NAME:
                return place, end
            start, stop = (start, place + len(tag) - 1) if last else (after, stop)

    def _marks(self, data: bytes | bytearray, stop: int) -> Iterator[re.Match[bytes]]:
        """The tags of records up to `stop`, without those in comments, CDATA sections and instructions that end."""
        place = 0
        endless: set[bytes] = set()
        while mark := self._mark_or_opaque.search(data, place, stop):
            place = mark.end()
            if mark[1] is not None:
                yield mark
            elif mark[0] not in endless:
                after = after_opaque(data, mark.start())
                place = after or place
                if not after:
                    endless.add(bytes(mark[0]))  # nor does any behind it: not to be looked for again

    @property
    def utf8(self) -> bool:
        """Whether the file says that it is in UTF-8, or says nothing; known with the first run."""
        return (self._encoding or "utf-8").lower() in ("utf-8", "utf8")

    def split(self, run: bytes) -> Iterator[bytes]:
        """The records of a run, one after another; one without end tag ends where the next begins."""
        start: int | None = None
        for mark in self._marks(run, len(run)):
            if start is not None:
                yield run[start : run.find(b">", mark.end()) + 1 if mark[1] else mark.start()]
            start = None if mark[1] else mark.start()
        if start is not None:
            yield run[start:]

    def parse(self, records: bytes) -> list[Element]:
        """The elements of records end to end. Raises Unusable where any is broken."""
        return list(parse_xml(b"".join((self._before, records, self._after)), self._encoding))
