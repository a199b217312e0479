"""EMBO SourceData XML: figure legends with tags, as text and the places of tags and panels in it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from biolm.sources.xml import Element, Unusable, local_name, parse_xml, words_of

TAG, PANEL, FIGURE = "sd-tag", "sd-panel", "fig"
_BLOCKS = frozenset({"p", "br", PANEL})
"""Elements that words never go across; all others (b, i, sup, graphic, sd-pretag, ...) leave no trace."""


@dataclass(frozen=True, slots=True)
class Marked:
    """An element with text, by its characters in the figure's."""

    name: str
    """Of the element: "sd-tag" or "sd-panel"."""
    start: int
    end: int
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class FigureText:
    """A figure's panels as one text, in which every run of white space is one space."""

    id: str
    """"DOI/Figure 1"."""
    text: str
    marked: tuple[Marked, ...]
    empty_tags: int
    """Tags without text, which are left out."""


def read_sourcedata_xml(data: bytes) -> list[FigureText]:
    """The figures with text of an article, or of all articles of a collection.

    Raises Unusable where it is broken, or has no panel.
    """
    root = parse_xml(data)
    if next(_named(root, PANEL), None) is None:
        raise Unusable(f"no <{PANEL}> in it, so no SourceData", "give SourceData XML")
    articles = list(_named(root, "article")) or [root]
    found = []
    for article in articles:
        doi = article.get("doi", "").strip()
        for number, figure in enumerate(_named(article, FIGURE), 1):
            label = next((words_of(child) for child in figure if local_name(child) == "label"), "")
            name = label or figure.get("id", "").strip() or str(number)
            text = _figure_text(figure, f"{doi}/{name}" if doi else name)
            if text.text:
                found.append(text)
    return found


def _named(element: Element, name: str) -> Iterator[Element]:
    return (inner for inner in element.iter() if inner is not element and local_name(inner) == name)


def _figure_text(figure: Element, name: str) -> FigureText:
    writer = _Writer()
    for panel in _named(figure, PANEL):
        if not any(local_name(outer) == PANEL for outer in panel.iterancestors()):
            writer.add(panel)
    text = "".join(writer.characters)
    marked = []
    for element, start, end in writer.marked:
        inside = text[start:end]
        start += len(inside) - len(inside.lstrip(" "))
        end = start + len(inside.strip(" "))
        if end > start:
            marked.append(Marked(local_name(element), start, end, dict(element.attrib)))
    empty = sum(local_name(element) == TAG for element, _, _ in writer.marked) - sum(
        mark.name == TAG for mark in marked
    )
    return FigureText(name, text.rstrip(" "), tuple(marked), empty)


@dataclass(slots=True)
class _Writer:
    """A text that grows by an element at a time."""

    characters: list[str] = field(default_factory=list)
    marked: list[tuple[Any, int, int]] = field(default_factory=list)

    def add(self, element: Element) -> None:
        """All text in an element, and where the tags in it stand."""
        name = local_name(element)
        if not name:
            return  # a comment
        self._write(" " if name in _BLOCKS else "")
        start = len(self.characters)
        self._write(element.text)
        for child in element:
            self.add(child)
            self._write(child.tail)
        if name in (TAG, PANEL):
            self.marked.append((element, start, len(self.characters)))
        self._write(" " if name in _BLOCKS else "")

    def _write(self, text: str | None) -> None:
        for character in text or "":
            if not character.isspace():
                self.characters.append(character)
            elif self.characters and self.characters[-1] != " ":
                self.characters.append(" ")
