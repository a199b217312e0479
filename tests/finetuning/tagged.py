"""Documents that a tiny model can learn: some words are always genes, others always tissues."""

from biolm.mentions import Document, Mention
from biolm.tagging.units import UNIT
from conftest import sentences

GENES = ("p53", "IL", "STAT3", "kinase")
TISSUES = ("neurons", "membrane")


def tagged(text: str, name: str) -> Document:
    """A text with its genes and tissues."""
    mentions = tuple(
        Mention(*found.span(), "GENE" if found[0] in GENES else "TISSUE")
        for found in UNIT.finditer(text)
        if found[0] in (*GENES, *TISSUES)
    )
    return Document(name, text, mentions)


def documents(count: int, *, seed: int = 0, longest: int = 25) -> list[Document]:
    """So many of them."""
    return [
        tagged(text, f"d{seed}-{number}")
        for number, text in enumerate(sentences(count, seed=seed, longest=longest))
    ]
