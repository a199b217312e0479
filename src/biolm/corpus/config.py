"""What decides what a corpus holds: the settings of extraction, filters, deduplication and split."""

import dataclasses
import re
from dataclasses import dataclass, field
from typing import Any

from biolm.corpus.split import Shares
from biolm.errors import ConfigError
from biolm.licences import LicenceFilter
from biolm.sources.options import TextOptions

NOTICES = (
    *("correction", "erratum", "addendum", "retraction", "partial-retraction", "expression-of-concern"),
    *(
        "published-erratum",
        "retraction-notice",
        "retraction-of-publication",
        "corrected-and-republished-article",
    ),
)
"""Article types whose abstracts are about another paper ("This corrects the article ...")."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExtractConfig:
    """What a shard's extract depends on, besides its papers; another setting needs another extract."""

    text: TextOptions = field(default_factory=TextOptions)
    """How the text is written out."""
    detect_language: bool = True
    """Whether each passage's language is detected."""
    near_duplicates: bool = True
    """Whether each passage gets the signature that finds its near duplicates."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CorpusConfig:
    """How articles become a corpus."""

    min_chars: int = 80
    """Shorter passages are dropped: "Figure 1" and "No abstract available" teach nothing. At least 1."""
    max_chars: int | None = None
    """Longer passages are dropped; None keeps all: how much of one a model reads is decided later."""
    min_letters: float = 0.5
    """Passages with a smaller share of letters among their characters other than spaces are dropped."""
    languages: tuple[str, ...] | None = ("en",)
    """Codes of the languages to keep; None keeps all. Passages that state none are kept."""
    detect_language: bool = True
    """Whether a detector looks at each passage too, whatever its paper states."""
    licence: LicenceFilter = "any"
    """"commercial" keeps licences that allow commercial use, "by" CC BY, CC0 and the public domain."""
    retracted: bool = False
    """Whether retracted papers are kept."""
    abstracts: tuple[str, ...] = ()
    """Types of abstract to keep beside the main one ("graphical", "plain-language-summary"); "all" for all."""
    article_types: tuple[str, ...] | None = None
    """The only article types to keep ("research-article"); None for all but the next."""
    without_types: tuple[str, ...] = NOTICES
    """Article types to drop."""
    near_duplicates: float | None = 0.8
    """Jaccard similarity from which two passages count as one; None looks for exact duplicates only."""
    hold_out: tuple[str, ...] = ()
    """Ids of papers that must not enter: "pmid:1", "pmcid:PMC1", "doi:10.1/x"."""
    hold_out_texts: tuple[str, ...] = ()
    """Files of texts that must not occur in any passage, as "name sha256"; `build_corpus` fills it in."""
    shares: Shares = field(default_factory=Shares)
    """How much of the papers each split gets."""
    seed: int = 0
    """Chooses which papers each split gets."""
    passages_per_file: int = 200_000
    """A Parquet file ends before the article that would exceed this many passages (about 110 MB)."""
    text: TextOptions = field(default_factory=TextOptions)
    """How the text is written out."""

    def __post_init__(self) -> None:
        if self.min_chars < 1:
            raise ConfigError(f"the minimum is {self.min_chars} characters; give 1 or more")
        if self.max_chars is not None and self.max_chars < self.min_chars:
            raise ConfigError(
                f"the maximum of {self.max_chars} characters is below the minimum of {self.min_chars}"
            )
        if not 0 <= self.min_letters <= 1:
            raise ConfigError(f"the share of letters is {self.min_letters}; give a number from 0 to 1")
        if self.near_duplicates is not None and not 0.5 <= self.near_duplicates <= 1:
            raise ConfigError(
                f"the similarity of near duplicates is {self.near_duplicates}; give a number from 0.5 to 1"
            )
        if self.languages is not None and not self.languages:
            raise ConfigError("no language to keep; give codes such as en, or none to keep all")
        for code in self.languages or ():
            if code.lower() in ("any", "all") or not re.fullmatch(r"[A-Za-z]{2,3}(?:[-_]\w+)*", code):
                raise ConfigError(f"{code!r} is no language; give codes such as en, or none to keep all")
        if self.passages_per_file < 1:
            raise ConfigError(f"a file of {self.passages_per_file} passages is impossible; give 1 or more")

    def extraction(self) -> ExtractConfig:
        """The part that the extracts depend on."""
        return ExtractConfig(
            text=self.text,
            detect_language=self.detect_language and self.languages is not None,
            near_duplicates=self.near_duplicates is not None,
        )

    def settings(self) -> dict[str, Any]:
        """The settings as the manifest records them."""
        facts = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in ((f.name, getattr(self, f.name)) for f in dataclasses.fields(self))
        }
        del facts["shares"], facts["text"]
        return facts | {"split": str(self.shares), "text": dataclasses.asdict(self.text)}


def config_of(settings: dict[str, Any]) -> CorpusConfig:
    """The configuration that a manifest of format 2 records; what it does not name has its default.

    Raises ConfigError for a setting that this biolm does not have.
    """
    from biolm.corpus.split import parse_shares

    known = CorpusConfig().settings()
    unknown = [name for name in settings if name not in known]
    unknown += [f"text.{name}" for name in settings["text"] if name not in known["text"]]
    if unknown:
        raise ConfigError(
            f"the corpus was built with the setting {unknown[0]}, which this biolm does not have; "
            "take the biolm that made it, or build a corpus from all papers"
        )
    facts: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()
    }
    shares, text = parse_shares(facts.pop("split")), TextOptions(**facts.pop("text"))
    return CorpusConfig(**facts, shares=shares, text=text)
