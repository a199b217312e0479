"""What no rule reads, cut out of an article's bytes before they are parsed.

Body text, references and tables are four fifths of the bytes of a JATS article, and parsing is most of the time of
reading one. A cut is made only where it is certain not
to change what is read: comments, CDATA sections and instructions are told from tags, and tags have to match. What
does not parse when cut is parsed whole. Tags are known as the article's root writes them: a figure with a prefix in an
article without one, which no schema allows, is passed over. Of what is cut only the tags that are looked for are
checked: an article that is broken between its figures is read as if it were not.
"""

import re
from functools import cache

from biolm.sources.jats import FIGURES, OTHER_ARTICLES, SUPPLEMENTS
from biolm.sources.xml import after_opaque

_ENDS = b" \t\r\n/>"
"""What stands behind a tag's name."""
_SLASH = ord("/")
_ARTICLES = frozenset(name.encode() for name in OTHER_ARTICLES)


@cache
def _tags(supplementary: bool) -> re.Pattern[bytes]:
    """A search for tags of figures and of articles up to the end of their names, and for stretches without tags."""
    names = sorted((*FIGURES, *OTHER_ARTICLES, *(SUPPLEMENTS if supplementary else ())), reverse=True)
    # Flat, without groups: three times as fast. Of <article> with its end, since references are full of titles.
    either = "|".join((*names, r"article(?=[\s/>])")).encode()
    return re.compile(rb"<(?:%b|/(?:%b)|[!?])" % (either, either))


def cut_article(data: bytes, *, supplementary: bool = False) -> bytes:
    """An article's front and figures, with the tags of articles inside it; the same object where that is not certain.

    `supplementary`: with supplementary material and media, too.
    """
    place = data.find(b"</front>") + len(b"</front>")
    if place < len(b"</front>"):
        return data
    search = _tags(supplementary).search
    pieces = [data[:place]]
    open_tags: list[bytes] = []
    outermost, first = -1, 0  # the figure that is open: how many tags are open around it, and where it begins
    while mark := search(data, place):
        tag, start, place = mark[0], mark.start(), mark.end()
        if len(tag) == 2:
            place = after_opaque(data, start)
            if not place:
                return data
            continue
        if data[place : place + 1] not in _ENDS:
            continue
        end = data.find(b">", place)
        if end < 0 or data.count(b'"', place, end) % 2 or data.count(b"'", place, end) % 2:
            return data  # it has no end, or this ">" lies in a value
        place = end + 1
        closing = tag[1] == _SLASH
        name = tag[1 + closing :]
        if name == b"article":
            if closing and not open_tags and not data[place:].strip():
                pieces.append(data[start:place])
                return b"".join(pieces)
            return data
        if closing and (not open_tags or open_tags.pop() != name):
            return data
        if not closing and data[place - 2] == _SLASH:
            continue
        if outermost < 0 and name in _ARTICLES:
            pieces.append(data[start:place])
        elif outermost < 0:
            outermost, first = len(open_tags), start
        elif closing and outermost == len(open_tags):
            pieces.append(data[first:place])
            outermost = -1
        if not closing:
            open_tags.append(name)
    return data
