"""What flows from the sources to the corpus."""

from dataclasses import dataclass
from typing import Literal

Section = Literal["abstract", "figure_legend", "supplementary_legend"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Abstract:
    """One abstract of an article, as text that reads like the page."""

    text: str
    """Blocks separated by one space; a structured abstract keeps its headings: "Background: ... Results: ..."."""
    kind: str | None = None
    """The source's own type ("graphical", "summary", "plain-language-summary"); None for the main abstract."""
    language: str | None = None
    """BCP 47 or ISO 639 code as the source gives it; None where it gives none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure's legend, its three parts kept apart."""

    label: str = ""
    """"Figure 1", "Fig. 2a", "EV1"."""
    title: str = ""
    """The caption's title."""
    caption: str = ""
    """The caption's paragraphs, one space between them; without the title."""
    supplementary: bool = False
    """Whether it is the legend of supplementary material or media (a table, a film), not of a figure."""
    rights: str | None = None
    """What the figure itself says of its rights (`attrib`, `permissions`): the article's licence may not cover it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Article:
    """One paper as a source gives it, whatever its format."""

    source: str
    """Where it was read: file, and member inside an archive ("bulk.tar.gz/PMC1.xml")."""
    pmid: str | None = None
    """Digits only."""
    pmcid: str | None = None
    """"PMC" and digits."""
    doi: str | None = None
    """Lower case, without resolver."""
    title: str = ""
    abstracts: tuple[Abstract, ...] = ()
    """The main abstract first, where there is one."""
    figures: tuple[Figure, ...] = ()
    """In document order."""
    journal: str | None = None
    year: int | None = None
    licence: str = "unknown"
    """SPDX id ("CC-BY-4.0"), "CC-BY" where no version is stated, or "unknown"."""
    language: str | None = None
    content_hash: str = ""
    """SHA-256 of the record's XML, the identity of an article without ids; may be empty where it has any."""
    form: Literal["jats", "pubmed"] = "jats"
    """What it was written in: the whole paper, or PubMed's record of it."""
    version: int = 0
    """Of the PMID or PMCID; the highest replaces the others. 0 where none is stated."""
    revised: int = 0
    """Day of the last revision as 20261123; 0 where none is stated."""
    manuscript: bool = False
    """Whether it is the author's manuscript, beside which there may be the published article."""
    retracted: bool = False
    """Whether the record itself, or the list that came with it, says that the paper is retracted."""
    withdrawn: bool = False
    """Whether the paper store that it comes from says that it must not be used any more."""
    retracts: tuple[str, ...] = ()
    """Papers that this notice retracts, as "pmid:1", "pmcid:PMC1" or "doi:10.1/x"."""
    types: tuple[str, ...] = ()
    """Article type of JATS ("research-article"), publication types of PubMed ("journal-article"), with hyphens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A file, archive member or record that gave no article."""

    source: str
    reason: str
    """One line for a person."""
    transient: bool = False
    """Whether a connection or a disk failed, so that it may be read another time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """PMIDs that a PubMed file withdraws from every file before it (`DeleteCitation`)."""

    source: str
    pmids: tuple[str, ...]
