"""EMBO SourceData XML: a document for each figure, with its panels and tagged entities as mentions."""

from collections import Counter
from collections.abc import Iterator, Mapping

from biolm.annotations.files import UNTYPED, checked
from biolm.errors import InputError
from biolm.mentions import Document, Mention

PANEL = "PANEL"
"""The type of the mention that a panel of a figure is."""
TYPES = {
    "molecule": "SMALL_MOLECULE",
    "gene": "GENEPROD",
    "protein": "GENEPROD",
    "geneprod": "GENEPROD",
    "subcellular": "SUBCELLULAR",
    "cell_type": "CELL_TYPE",
    "cell_line": "CELL_LINE",
    "tissue": "TISSUE",
    "organism": "ORGANISM",
    "disease": "DISEASE",
}
"""Of the attribute `entity_type`, as EMBO's soda-data has them (xml_extract.py)."""
CATEGORIES = {"assay": "EXP_ASSAY", "disease": "DISEASE"}
"""Of the attribute `category`, which comes first."""
KEPT = {"entity_type": "entity_type", "category": "category", "role": "role", "id": "id"}
KEPT |= {"ext_ids": "identifier", "ext_dbs": "ext_dbs"}
"""Attribute of a tag → that of its mention, where it is not empty."""


def read_sourcedata(data: bytes, *, where: str, counts: Counter[str] | None = None) -> Iterator[Document]:
    """The figures of SourceData XML: each tag is a mention, also within another, and each panel one of type PANEL.

    Raises InputError where it is broken, or no SourceData.
    """
    from biolm.sources.sourcedata_xml import TAG, read_sourcedata_xml
    from biolm.sources.xml import Unusable

    counts = Counter() if counts is None else counts
    try:
        figures = read_sourcedata_xml(data)
    except Unusable as error:
        raise InputError(f"{where}: {error.reason}; {error.remedy}") from None
    for figure in figures:
        counts["tags without text left out"] += figure.empty_tags
        mentions = []
        for mark in figure.marked:
            if mark.name == TAG:
                attributes = {
                    KEPT[key]: mark.attributes[key] for key in KEPT if mark.attributes.get(key, "").strip()
                }
                mentions.append(
                    Mention(mark.start, mark.end, type_of(mark.attributes), attributes=attributes)
                )
            else:
                number = mark.attributes.get("panel_id", "")
                mentions.append(
                    Mention(mark.start, mark.end, PANEL, attributes={"panel_id": number} if number else {})
                )
        yield checked(Document(figure.id, figure.text, tuple(mentions)), where)


def type_of(attributes: Mapping[str, str]) -> str:
    """One of the nine types of SourceData's entity recognition, or what else the tag says in capitals, or UNTYPED."""
    category = attributes.get("category", "").strip().lower()
    entity = attributes.get("entity_type", "").strip().lower()
    if category in CATEGORIES:
        return CATEGORIES[category]
    if entity:
        return TYPES.get(entity, entity.upper())
    return category.upper() if category not in ("", "entity") else UNTYPED
