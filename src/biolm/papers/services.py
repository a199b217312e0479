"""The services that distribute the life-science literature: where they are, and on what terms.

The layouts were last read on LAYOUT_READ (shared notes of the project, and what others wrote about them); biolm
itself has only been run against a local replica of them.
"""

from dataclasses import dataclass
from urllib.parse import urlsplit

from biolm.errors import ConfigError

LAYOUT_READ = "2026-11-26"
"""The day on which the descriptions of the layouts were last compared with this code."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """One place that papers, or lists of them, come from."""

    name: str
    """The word for it on the command line."""
    title: str
    endpoint: str
    """Where it is, without a slash at the end; `--endpoint` names another server of the same layout."""
    holds: str
    """What it has, and how it gives it."""
    licence: str
    """Under what licences its texts are."""
    terms: str
    """What its users undertake."""
    attribution: str
    """What goes into the store, and into the card of a corpus."""
    per_second: float | None = None
    """Requests a second that it allows; None where it states no limit."""


PMC = Service(
    name="pmc",
    title="PMC Cloud Service (PMC Article Datasets)",
    endpoint="https://pmc-oa-opendata.s3.amazonaws.com",
    holds="full texts of PMC's open-access articles and author manuscripts as JATS, one object each; daily changes",
    licence="each article its own: CC0, CC BY and other Creative Commons; TDM (text mining only) for manuscripts",
    terms="acknowledge NLM; keep copies current or say that they are not; pass on only what its licence allows",
    attribution="Full texts: PMC Article Datasets (PMC Open Access Subset and Author Manuscripts), U.S. National "
    "Library of Medicine, from the PMC Cloud Service; each article stays under its own licence.",
)
EUTILS = Service(
    name="eutils",
    title="NCBI E-utilities (ESearch)",
    endpoint="https://eutils.ncbi.nlm.nih.gov/entrez/eutils",
    holds="the answers to `--query` and `--published`; no papers",
    licence="none needed: lists of ids",
    terms="at most 3 requests a second, 10 with a key ($NCBI_API_KEY); say who you are (--contact)",
    attribution="",
    per_second=3.0,
)
EUROPE_PMC = Service(
    name="europepmc",
    title="Europe PMC open-access bundles",
    endpoint="https://europepmc.org/ftp/oa",
    holds="the open-access full texts as JATS, thousands of articles in each file; renewed weekly",
    licence="each article its own Creative Commons or similar licence",
    terms="acknowledge Europe PMC; pass on only what each article's licence allows",
    attribution="Full texts: Europe PMC open-access subset, EMBL-EBI; each article stays under its own licence.",
)
PUBMED = Service(
    name="pubmed",
    title="PubMed baseline and update files",
    endpoint="https://ftp.ncbi.nlm.nih.gov/pubmed",
    holds="citations and abstracts of all of PubMed as XML, 30,000 a file; a baseline each year, updates each day",
    licence="most abstracts are the copyright of their publishers or authors",
    terms="acknowledge NLM; keep copies current or say that they are not; passing abstracts on is at your own risk",
    attribution="Abstracts: PubMed, U.S. National Library of Medicine. Abstracts may be the copyright of their "
    "publishers or authors; NLM gives no right to pass them on.",
)
SERVICES = {service.name: service for service in (PMC, EUTILS, EUROPE_PMC, PUBMED)}
OWN = "a folder, or an address such as s3://bucket/prefix"
"""What `--source` takes besides the names of services."""


def given_endpoints(words: tuple[str, ...], source: str = PMC.name) -> dict[str, str]:
    """The services that words "URL" (for `source`) or "SERVICE=URL" place elsewhere. Raises ConfigError for others."""
    found = endpoints(words, source)
    return {
        name: found[name]
        for word in words
        for name in [
            word.partition("=")[0] if "=" in word and "://" not in word.partition("=")[0] else source
        ]
    }


def endpoints(given: tuple[str, ...], source: str = PMC.name) -> dict[str, str]:
    """Where each service is, given words "URL" (for `source`) or "SERVICE=URL". Raises ConfigError for others."""
    found = {name: service.endpoint for name, service in SERVICES.items()}
    for word in given:
        name, mark, url = word.partition("=")
        if not mark or "://" in name:
            name, url = source, word
        if name not in found:
            raise ConfigError(
                f"--endpoint {word}: {name} has no endpoint; name one of {', '.join(SERVICES)}, as pmc=URL"
            )
        if not _is_address(url):
            raise ConfigError(f"--endpoint {word}: give an address that begins with http:// or https://")
        if "@" in urlsplit(url).netloc:
            raise ConfigError(
                f"--endpoint for {name} has a password in it, which would stand in the store; give it without"
            )
        found[name] = url.rstrip("/")
    return found


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 80) > 0
    except ValueError:  # a port or an IPv6 address that is none
        return False
