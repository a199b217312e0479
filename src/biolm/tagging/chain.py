"""Several taggers one after the other: panels of a figure legend, entities in them, roles of the entities."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from biolm.errors import ConfigError
from biolm.mentions import Document, Mention, Part, in_order
from biolm.tagging.tagger import Tagger
from biolm.tagging.tasks import PANEL, PANEL_START

LEGENDS = ("figure_legend", "supplementary_legend")
"""Parts of a document that have panels."""
ROLE, ROLE_SCORE = "role", "role_score"
"""Attributes that a mention gets from a tagger of roles."""
AT_ONCE = 128
"""Documents that are tagged together."""


@dataclass(frozen=True, slots=True)
class _Stretch:
    """A part, or a panel of one, that is tagged by itself."""

    document: int
    start: int
    text: str


class Chain:
    """Taggers of panels, entities and roles, as many of them as are given."""

    def __init__(self, taggers: Sequence[Tagger]) -> None:
        """At most one of panels and one of entities; raises ConfigError for more."""
        self.taggers = tuple(taggers)
        self._panels = [tagger for tagger in taggers if tagger.task.starts_only]
        self._roles = [tagger for tagger in taggers if tagger.task.hidden]
        self._entities = [
            tagger for tagger in taggers if not tagger.task.starts_only and not tagger.task.hidden
        ]
        for kind, found in (("panels", self._panels), ("entities", self._entities)):
            if len(found) > 1:
                raise ConfigError(f"{len(found)} of the models find {kind}; give one")

    @property
    def needs_entities(self) -> bool:
        """Whether documents must come with the entities whose roles are asked for."""
        return bool(self._roles) and not self._entities

    def tag(self, documents: Iterable[Document]) -> Iterator[Document]:
        """Each document with what the taggers find, in place of the mentions it had.

        Legends are tagged by themselves (a document without parts is one), panels too: where there is a tagger of
        panels those that it finds in legends, else those that the document has. Without a tagger of entities, a
        document's own mentions are the entities whose roles are told; all of them are kept, those across the border
        of a panel or part without a role.
        """
        waiting = iter(documents)
        while block := list(islice(waiting, AT_ONCE)):
            yield from self._block(block)

    def _block(self, documents: list[Document]) -> Iterator[Document]:
        parts = [
            (number, part) for number, document in enumerate(documents) for part in self._parts(document)
        ]
        found: list[list[Mention]] = [[] for _ in documents]
        panels = self._find_panels(documents, parts)
        stretches: list[_Stretch] = []
        for (number, part), bounds in zip(parts, panels, strict=True):
            text = documents[number].text
            if self._panels:
                found[number] += [Mention(start, end, PANEL, score) for start, end, score in bounds]
            cuts = _covering(part, [(start, end) for start, end, _ in bounds])
            stretches += [
                _Stretch(number, start, text[start:end]) for start, end in cuts if text[start:end].strip()
            ]
        entities = self._find_entities(documents, stretches)
        for tagger in self._roles:
            entities = self._with_roles(tagger, stretches, entities)
        if self._entities or self._roles:
            for stretch, mentions in zip(stretches, entities, strict=True):
                found[stretch.document] += [mention.moved(stretch.start) for mention in mentions]
        for number, document in enumerate(documents):
            found[number] += self._carried(document, found[number])
        for document, mentions in zip(documents, found, strict=True):
            yield replace(document, mentions=in_order(mentions))

    def _parts(self, document: Document) -> list[Part]:
        """The legends of a document where panels are a matter, and what lies between them; else all of it, as training
        saw it."""
        if not document.parts:
            return [Part(0, len(document.text), LEGENDS[0])]
        legends = [part for part in document.parts if part.name in LEGENDS]
        found, at = [], 0
        for part in sorted(legends, key=lambda each: each.start):
            if part.start > at:
                found.append(Part(at, part.start, ""))
            found.append(part)
            at = max(at, part.end)
        if at < len(document.text):
            found.append(Part(at, len(document.text), ""))
        return found

    def _carried(self, document: Document, found: Sequence[Mention]) -> list[Mention]:
        """What of a document's own mentions stays: panels that nobody looked for, entities that no stretch holds."""
        panels = [each for each in document.mentions if each.type == PANEL and not self._panels]
        if not self.needs_entities:
            return panels
        held = {(each.start, each.end, each.type) for each in found}
        return panels + [
            each
            for each in document.mentions
            if each.type != PANEL and (each.start, each.end, each.type) not in held
        ]

    def _find_panels(
        self, documents: Sequence[Document], parts: Sequence[tuple[int, Part]]
    ) -> list[list[tuple[int, int, float | None]]]:
        """(start, end, score) of the panels of each part, in the document's characters."""
        if not self._panels:
            return [
                [
                    (each.start, each.end, each.score)
                    for each in documents[number].mentions
                    if each.type == PANEL and part.start <= each.start and each.end <= part.end
                ]
                for number, part in parts
            ]
        legends = (
            documents[number].text[part.start : part.end] for number, part in parts if part.name in LEGENDS
        )
        told = self._panels[0].tag(legends)
        found = []
        for number, part in parts:
            own = [each for each in next(told) if each.type == PANEL_START] if part.name in LEGENDS else []
            ends = [part.start + each.start for each in own[1:]] + [part.end]
            found.append(
                [
                    (part.start + each.start, _without_space(documents[number].text, end), each.score)
                    for each, end in zip(own, ends, strict=False)
                ]
            )
        return found

    def _find_entities(
        self, documents: Sequence[Document], stretches: Sequence[_Stretch]
    ) -> list[list[Mention]]:
        """In each stretch, in its own characters."""
        if self._entities:
            return list(self._entities[0].tag(stretch.text for stretch in stretches))
        found = []
        for stretch in stretches:
            end = stretch.start + len(stretch.text)
            found.append(
                [
                    each.moved(-stretch.start)
                    for each in documents[stretch.document].mentions
                    if each.type != PANEL and stretch.start <= each.start and each.end <= end
                ]
            )
        return found

    def _with_roles(
        self, tagger: Tagger, stretches: Sequence[_Stretch], entities: Sequence[list[Mention]]
    ) -> list[list[Mention]]:
        """The entities, those of the tagger's types with the role that it finds, or none."""
        told = tagger.tag([stretch.text for stretch in stretches], entities)
        return [
            [_with_role(each, roles, tagger.task.hidden) for each in own]
            for own, roles in zip(entities, told, strict=True)
        ]


def _with_role(entity: Mention, roles: Sequence[Mention], types: Sequence[str]) -> Mention:
    if entity.type not in types:
        return entity
    plain = without_role(entity)
    for role in roles:
        if (role.start, role.end) == (entity.start, entity.end):
            score = {} if role.score is None else {ROLE_SCORE: f"{role.score:.4f}"}
            return replace(plain, attributes={**plain.attributes, ROLE: role.type, **score})
    return plain


def without_role(mention: Mention) -> Mention:
    """The mention, without what a tagger of roles, or a person, said of it."""
    own = {name: value for name, value in mention.attributes.items() if name not in (ROLE, ROLE_SCORE)}
    return replace(mention, attributes=own)


def _covering(part: Part, panels: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The panels and what of the part lies before, between and behind them."""
    found, at = [], part.start
    for start, end in sorted(panels):
        if start > at:
            found.append((at, start))
        found.append((max(start, at), end))
        at = max(at, end)
    if at < part.end or not found:
        found.append((at, part.end))
    return [(start, end) for start, end in found if start < end] or [(part.start, part.end)]


def _without_space(text: str, end: int) -> int:
    return len(text[:end].rstrip())
