"""Parts of a paper that no rule reads, cut out of its bytes before they are parsed.

Reference lists and tables are half the bytes of a JATS article, authors, headings and references more than half
of a PubMed record; parsing is most of the time of reading. A region is cut only where the cut is certain not to
change what is read: it holds no figure, no legend, and no comment, CDATA section or instruction begins or ends in it.
What does not parse when cut is parsed whole.
"""

JATS_CUT = (b"ref-list", b"table-wrap")
JATS_NEEDED = (b"<fig", b"<supplementary-material", b"<media", b"<boxed-text")
PUBMED_CUT = (b"AuthorList", b"ReferenceList", b"MeshHeadingList", b"History")
"""The lists that are long; to look for the others costs more than to parse them."""
_OPAQUE = (b"<!--", b"-->", b"<![CDATA[", b"]]>")
_SLASH = ord("/")
_ENDS_NAME = (b" ", b"\t", b"\r", b"\n", b">")


def cut_article(data: bytes) -> bytes:
    """An article without reference lists and tables; the same object where nothing is cut."""
    front = data.find(b"</front>")
    return data if front < 0 else _cut(data, front, JATS_CUT, JATS_NEEDED)


def cut_records(data: bytes) -> bytes:
    """PubMed records without the lists that are not read; the same object where nothing is cut.

    Where an end tag is missing, what is cut may reach into the next record: then there are fewer afterwards.
    """
    return _cut(data, 0, PUBMED_CUT, ())


def _cut(data: bytes, begin: int, names: tuple[bytes, ...], needed: tuple[bytes, ...]) -> bytes:
    kept = (*needed, *(_OPAQUE if _has_opaque(data) else ()))
    instructions = data.find(b"<?", begin) >= 0
    regions: list[tuple[int, int]] = []
    for name in names:
        tag, close = b"<" + name, b"</" + name + b">"
        start = data.find(tag, begin)
        while start >= 0:
            after = start + len(tag)
            following = data.find(tag, after)
            if data[after : after + 1] in _ENDS_NAME:
                opened = data.find(b">", after)
                end = data.find(close, opened) + len(close)
                if opened < 0 or end < len(close):
                    break
                if data[opened - 1] != _SLASH:
                    if 0 <= following < end:
                        end = _end_of_nested(data, opened, tag, close)
                        if end < 0:
                            break
                        following = data.find(tag, end)
                    if (not kept or all(data.find(mark, start, end) < 0 for mark in kept)) and not (
                        instructions and _splits_instruction(data, start, end)
                    ):
                        regions.append((start, end))
            start = following
    if not regions:
        return data
    pieces, done = [], 0
    for start, end in sorted(regions):
        if start >= done:  # else it lies inside the one before
            pieces.append(data[done:start])
            done = end
        else:
            done = max(done, end)
    pieces.append(data[done:])
    return b"".join(pieces)


def _has_opaque(data: bytes) -> bool:
    """Whether a comment or CDATA section may begin in it; "!" is rare, so the search is as fast as memory."""
    place = data.find(b"!")
    while place >= 0:
        if data[place + 1 : place + 3] == b"--" or data[place + 1 : place + 2] == b"[":
            return True
        place = data.find(b"!", place + 1)
    return False


def _splits_instruction(data: bytes, start: int, end: int) -> bool:
    """Whether a processing instruction may begin before the region, or end behind it."""
    closes, opens = data.find(b"?>", start, end), data.find(b"<?", start, end)
    if closes < 0 or opens < 0:
        return closes != opens
    return closes < opens or data.rfind(b"?>", start, end) < data.rfind(b"<?", start, end)


def _end_of_nested(data: bytes, opened: int, tag: bytes, close: bytes) -> int:
    """Where an element with others of its name in it ends, from the end of its start tag on; −1 where it never does."""
    depth, position = 1, opened
    while depth:
        end = data.find(close, position)
        if end < 0:
            return -1
        depth -= 1
        inner = data.find(tag, position, end)
        while inner >= 0:
            after = inner + len(tag)
            if data[after : after + 1] in _ENDS_NAME:
                depth += data[data.find(b">", after) - 1] != _SLASH
            inner = data.find(tag, after, end)
        position = end + len(close)
    return position
