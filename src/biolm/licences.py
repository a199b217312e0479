"""What a paper's licence allows, and what a licence element or a code says, as an SPDX id.

An address decides before words, words before the `license-type`. Ported licences (".../by/2.0/uk/") count
as the unported one, except those for intergovernmental organisations, which SPDX lists.
"""

import re
from collections.abc import Iterable
from typing import Literal

LicenceFilter = Literal["any", "commercial", "by"]
COMMERCIAL = ("CC0", "CC-PDM", "CC-BY", "CC-BY-SA", "CC-BY-ND")
"""Licences, less their version, of PMC's commercial-use group; the first three make the filter "by"."""
_NOT_COMMERCIAL = ("CC-BY-NC", "CC-BY-NC-SA", "CC-BY-NC-ND", "LicenseRef-TDM")
_LESS = (*COMMERCIAL, *_NOT_COMMERCIAL)
"""Licences, less their version, from the one that allows most to the one that allows least."""
UNKNOWN = "unknown"
TEXT_MINING = "LicenseRef-TDM"
"""Author manuscripts in PMC: for text and data mining only."""
_URL = re.compile(
    r"creativecommons\.org/licen[cs]es?/([a-z–—−/-]+)(\d(?:\.\d)?)?(?:/(igo)\b)?", re.IGNORECASE
)
_PATH = re.compile(r"by((?:nc|nd|sa)*)(?:deed|legalcode)?")
"""The letters of such an address, whatever separates them."""
_PUBLIC_DOMAIN = re.compile(
    r"creativecommons\.org/(?:publicdomain/(zero|mark)|(licenses/publicdomain))", re.IGNORECASE
)
_NAMED = re.compile(
    r"creative\s+commons\s+attribution(?:[^.]|\.(?=\d)){0,60}?(?<![\w.])(\d\.\d)|creative\s+commons\s+attribution|"
    r"\bcc[\s–—−-]?by\b(?:[\s/–—−-]+(?:nc|nd|sa)\b)*(?:[\s–—−-]+v?(\d\.\d))?",
    re.IGNORECASE,
)
_RESTRICTIONS = {
    "nc": re.compile(
        r"non[\s–—−‐-]*commercial|\bby\b[\s/–—−a-z-]{0,8}?\bnc(?:nd|sa)?(?![a-z])", re.IGNORECASE
    ),
    "nd": re.compile(r"non?[\s–—−‐-]*deriv|\bby\b[\s/–—−a-z-]{0,8}?\bnd\b|\bncnd\b", re.IGNORECASE),
    "sa": re.compile(r"share[\s–—−‐-]*alike|\bby\b[\s/–—−a-z-]{0,8}?\bsa\b|\bncsa\b", re.IGNORECASE),
}
"""What else the words say, anywhere: in doubt the licence that allows less."""
_CC0 = re.compile(r"\bcc0\b|creative\s+commons\s+(?:zero|cc0|public\s+domain\s+dedication)", re.IGNORECASE)


def allows(licence: str, asked: LicenceFilter) -> bool:
    """Whether a licence, as SPDX id, passes the filter; "unknown" passes "any" only."""
    if asked == "any":
        return True
    return without_version(licence) in (COMMERCIAL[:3] if asked == "by" else COMMERCIAL)


def stricter(one: str, other: str) -> str:
    """Of what two places say of a paper's licence the one that allows less; the first where they say the same.

    What is unknown says nothing, and a licence that is not among those of PMC counts as the first.
    """
    if UNKNOWN in (one, other):
        return other if one == UNKNOWN else one
    ranks = [_LESS.index(name) if (name := without_version(word)) in _LESS else -1 for word in (one, other)]
    return other if ranks[1] > ranks[0] >= 0 else one


def without_version(licence: str) -> str:
    """A licence's SPDX id less version and port: "CC-BY" of "CC-BY-3.0-IGO"."""
    return licence.removesuffix("-IGO").rstrip("0123456789.").rstrip("-")


def spdx_licence(urls: Iterable[str], kind: str, text: str) -> str:
    """SPDX id ("CC-BY-4.0", "CC0-1.0"), "CC-BY" where no version is stated, or "unknown".

    `urls`: addresses in the licence element, in its order; `text`: its words; `kind`: its license-type. A CC
    BY address goes before a CC0 one, which beside it is about the data.
    """
    addresses = [*urls, text]
    for address in addresses:
        for found in _URL.finditer(address):
            if path := _PATH.fullmatch(re.sub("[^a-z]", "", found[1].lower())):
                return _spdx({"by", *re.findall("..", path[1])}, found[2], found[3])
    for address in addresses:
        if public := _PUBLIC_DOMAIN.search(address):
            return "CC0-1.0" if (public[1] or "").lower() == "zero" else "CC-PDM-1.0"
    for said in (text, kind):
        if named := _NAMED.search(said):
            codes = {"by", *(code for code, words in _RESTRICTIONS.items() if words.search(said))}
            return _spdx(codes, named[1] or named[2])
    if _CC0.search(text) or _CC0.search(kind):
        return "CC0-1.0"
    return "CC-BY" if kind.lower() == "creativecommonsby" else UNKNOWN


def licence_of_code(code: str) -> str:
    """The licence of a code in PMC's lists ("CC BY-NC", "CC0"); "TDM" allows text mining and nothing else."""
    return TEXT_MINING if code.strip().upper() == "TDM" else spdx_licence([], "", code)


def _spdx(codes: set[str], version: str | None, port: str | None = None) -> str:
    ordered = [code.upper() for code in ("by", "nc", "nd", "sa") if code in codes]
    if version:
        ordered += [version if "." in version else f"{version}.0", *(["IGO"] if port else [])]
    return "-".join(["CC", *ordered])
