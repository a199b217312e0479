"""The dataset card of a corpus: README.md with the metadata that the Hugging Face Hub reads."""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import biolm
from biolm.corpus.reasons import MEANING

PRETTY_NAME = "Life-science passages"
_HUB_LICENCES = """
    cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0
    cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0
    cc-by-nc-sa-4.0 unknown
"""
HUB_LICENCES = frozenset(_HUB_LICENCES.split())
"""The Hub's identifiers among those that papers have (huggingface.co/docs/hub/repositories-licenses)."""
SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"),
    (1_000_000_000, "100M<n<1B"),
    (10_000_000_000, "1B<n<10B"),
)


def render_card(facts: Mapping[str, Any]) -> str:
    """The card's text from the facts of a manifest; the same facts give the same text."""
    return str(
        _template().render(
            **facts,
            metadata=_metadata(facts),
            pretty_name=PRETTY_NAME,
            meaning=MEANING,
            biolm=biolm.__version__,
        )
    )


@cache
def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(  # noqa: S701  the output is Markdown, not HTML
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters["cell"] = _cell
    environment.filters["by_decade"] = by_decade
    return environment.from_string(files("biolm.corpus").joinpath("card.md.j2").read_text("utf-8"))


def _metadata(facts: Mapping[str, Any]) -> str:
    from huggingface_hub import DatasetCardData

    data = DatasetCardData(
        pretty_name=PRETTY_NAME,
        language=hub_languages(facts["languages"]) or None,
        license=hub_licences(facts["licences"]),
        task_categories=["fill-mask"],
        size_categories=[_size_category(facts["counts"]["passages_kept"])],
        configs=[
            {
                "config_name": "default",
                "data_files": [{"split": split, "path": f"{split}-*.parquet"} for split in facts["splits"]],
            }
        ],
    )
    return data.to_yaml().strip()


def hub_licences(licences: Iterable[str]) -> list[str]:
    """The Hub's identifiers of the papers' licences; "cc" for CC-BY without version, "other" for the rest."""
    found = set()
    for licence in licences:
        name = licence.lower()
        if name not in HUB_LICENCES:
            name = "cc" if name.startswith("cc-") and not re.search(r"\d", name) else "other"
        found.add(name)
    return sorted(found)


def hub_languages(languages: Iterable[str]) -> list[str]:
    """The ISO 639 codes among the corpus's languages, without region, as the Hub lists them."""
    codes = {re.split("[-_]", language.lower())[0] for language in languages}
    return sorted(code for code in codes if re.fullmatch("[a-z]{2,3}", code))


def _size_category(passages: int) -> str:
    return next(
        (name for limit, name in SIZES if passages < limit), "n>1B" if passages >= 10**12 else "1B<n<10B"
    )


def by_decade(years: Mapping[str, int]) -> dict[str, int]:
    """Counts by decade ("2010s") out of counts by year."""
    decades: dict[str, int] = {}
    for year, count in sorted(years.items()):
        decades[f"{year[:-1]}0s"] = decades.get(f"{year[:-1]}0s", 0) + count
    return decades


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
