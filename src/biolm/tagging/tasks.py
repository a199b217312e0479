"""What a tagger is for: which mentions it looks for, in which texts, and what is hidden from it.

The four tasks of EMBO/sd-nlp and its successors (SourceData: figure legends of the life sciences) are ready-made. For
roles, every mention of the task's entity types is hidden behind mask tokens, so that a model must tell a role from the
experiment and not from the name. What is hidden follows from types of entities alone: of what a role may
be, the input shows nothing, neither at training nor at use.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from biolm.errors import InputError
from biolm.mentions import UNIT, Document, Mention, in_order

PANEL = "PANEL"
"""The type of a panel's whole text in SourceData documents."""
PANEL_START = "PANEL_START"
ROLES = {"intervention": "CONTROLLED_VAR", "assayed": "MEASURED_VAR"}
"""SourceData's roles that are looked for, and their labels; other roles (component, reporter, ...) are none."""
ENTITIES = (
    "SMALL_MOLECULE",
    "GENEPROD",
    "SUBCELLULAR",
    "CELL_TYPE",
    "TISSUE",
    "ORGANISM",
    "EXP_ASSAY",
    "DISEASE",
    "CELL_LINE",
)
"""SourceData's nine types of entities."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is looked for."""

    name: str
    types: tuple[str, ...]
    """Of mentions to find; empty: all that the training documents have."""
    hidden: tuple[str, ...] = ()
    """Types of entities whose mentions are masked in the input; what is found are roles of these mentions."""
    starts_only: bool = False
    """Whether only where something begins is marked, by one unit."""
    per_panel: bool = False
    """Whether a document with panels is one example for each of them."""


TASKS: dict[str, Task] = {
    "any": Task("any", ()),
    "NER": Task("NER", ENTITIES, per_panel=True),
    "PANELIZATION": Task("PANELIZATION", (PANEL_START,), starts_only=True),
    "GENEPROD_ROLES": Task("GENEPROD_ROLES", tuple(ROLES.values()), ("GENEPROD",), per_panel=True),
    "SMALL_MOL_ROLES": Task("SMALL_MOL_ROLES", tuple(ROLES.values()), ("SMALL_MOLECULE",), per_panel=True),
}


@dataclass(frozen=True, slots=True)
class Example:
    """A document as a task sees it."""

    document: Document
    """With the mentions to be found, and no others."""
    entities: tuple[Mention, ...] = ()
    """Mentions that the input hides; each may have one of the task's roles."""


def examples(
    documents: Iterable[Document], task: Task, lost: Counter[str] | None = None
) -> Iterator[Example]:
    """Documents with what a task looks for in them, one for each panel where the task says so; each has its own id.

    `lost` is given the number of mentions that are in no panel, or in two ("across panels").
    """
    ids: set[str] = set()
    for document in documents:
        for part in _panels(document, task, lost) if task.per_panel else [document]:
            part = replace(part, id=_unused(part.id, ids))
            if task.starts_only:
                yield Example(replace(part, mentions=_starts(part)))
            elif task.hidden:
                entities = entities_of(part.mentions, task)
                yield Example(replace(part, mentions=tuple(_roles(part.mentions, task))), entities)
            else:
                wanted = [
                    each
                    for each in part.mentions
                    if (each.type in task.types if task.types else each.type != PANEL)
                ]
                yield Example(replace(part, mentions=tuple(wanted)))


def entities_of(mentions: Iterable[Mention], task: Task) -> tuple[Mention, ...]:
    """The mentions that a task of roles hides: by their types alone, without what else is known of them."""
    return tuple(Mention(each.start, each.end, each.type) for each in mentions if each.type in task.hidden)


def types_of(documents: Sequence[Document]) -> tuple[str, ...]:
    """The types of mentions in documents, by name."""
    return tuple(sorted({mention.type for document in documents for mention in document.mentions}))


def task_of(name: str) -> Task:
    """A task by its name. Raises InputError."""
    found = TASKS.get(name if name == "any" else name.upper())
    if found is None:
        raise InputError(f"there is no task {name!r}; give one of {', '.join(TASKS)}")
    return found


def cut_parts(document: Document, bounds: Sequence[tuple[int, int]], names: Sequence[str]) -> list[Document]:
    """Stretches of a document as documents of their own, each with the mentions that lie in it."""
    found = []
    for (start, end), name in zip(bounds, names, strict=True):
        own = [each.moved(-start) for each in document.mentions if start <= each.start and each.end <= end]
        found.append(Document(f"{document.id}#{name}", document.text[start:end], in_order(own)))
    return found


def _unused(name: str, ids: set[str]) -> str:
    """The name, or with a number behind it where another document has it."""
    found, number = name, 1
    while found in ids:
        number += 1
        found = f"{name}~{number}"
    ids.add(found)
    return found


def _panels(document: Document, task: Task, lost: Counter[str] | None) -> list[Document]:
    panels = [mention for mention in document.mentions if mention.type == PANEL]
    if not panels:
        return [document]
    others = replace(document, mentions=tuple(each for each in document.mentions if each.type != PANEL))
    names = [_name(panel.attributes, number) for number, panel in enumerate(panels, 1)]
    found = cut_parts(others, [(panel.start, panel.end) for panel in panels], names)
    if lost is not None:
        wanted = task.hidden or task.types
        before = sum(each.type in wanted for each in others.mentions)
        lost["across panels"] += before - sum(each.type in wanted for part in found for each in part.mentions)
    return found


def _name(attributes: Mapping[str, str], number: int) -> str:
    return attributes.get("panel_id") or str(number)


def _starts(document: Document) -> tuple[Mention, ...]:
    """Where panels begin: the first word or symbol of each that has one."""
    firsts = [
        UNIT.search(document.text, each.start, each.end)
        for each in document.mentions
        if each.type in (PANEL, PANEL_START)
    ]
    return tuple(Mention(found.start(), found.end(), PANEL_START) for found in firsts if found)


def _roles(mentions: Iterable[Mention], task: Task) -> Iterator[Mention]:
    for entity in mentions:
        role = ROLES.get(entity.attributes.get("role", ""))
        if role is not None and entity.type in task.hidden:
            yield Mention(entity.start, entity.end, role)
