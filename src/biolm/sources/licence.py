"""What a paper's licence element says, as an SPDX id.

An address decides before words, words before the `license-type`. Ported licences (".../by/2.0/uk/") count
as the unported one, except those for intergovernmental organisations, which SPDX lists.
"""

import re
from collections.abc import Iterable

UNKNOWN = "unknown"
TEXT_MINING = "LicenseRef-TDM"
"""Author manuscripts in PMC: for text and data mining only."""
_URL = re.compile(
    r"creativecommons\.org/licen[cs]es?/(by(?:-(?:nc|nd|sa))*)\b(?:/(\d(?:\.\d)?))?(?:/(igo)\b)?",
    re.IGNORECASE,
)
_PUBLIC_DOMAIN = re.compile(
    r"creativecommons\.org/(?:publicdomain/(zero|mark)|(licenses/publicdomain))", re.IGNORECASE
)
_WORDS = re.compile(
    r"creative\s+commons\s+attribution((?:[\s,–/-]+(?:non-?\s?commercial|no-?\s?deriv\w*|share-?\s?alike))*)"
    r"(?:[^.]{0,40}?(\d\.\d))?",
    re.IGNORECASE,
)
_CODE = re.compile(r"\bcc[\s-]?(by(?:-(?:nc|nd|sa))*)\b(?:[\s-]+v?(\d\.\d))?", re.IGNORECASE)
_CC0 = re.compile(r"\bcc0\b|creative\s+commons\s+(?:zero|cc0|public\s+domain\s+dedication)", re.IGNORECASE)
_ELEMENTS = {"noncommercial": "nc", "noderiv": "nd", "sharealike": "sa"}


def spdx_licence(urls: Iterable[str], kind: str, text: str) -> str:
    """SPDX id ("CC-BY-4.0", "CC0-1.0"), "CC-BY" where no version is stated, or "unknown".

    `urls`: addresses in the licence element, in its order; `text`: its words; `kind`: its license-type. A CC
    BY address goes before a CC0 one, which beside it is about the data.
    """
    addresses = [*urls, text]
    for address in addresses:
        if found := _URL.search(address):
            return _spdx(found[1], found[2], found[3])
    for address in addresses:
        if found := _PUBLIC_DOMAIN.search(address):
            return "CC0-1.0" if (found[1] or "").lower() == "zero" else "CC-PDM-1.0"
    if found := _WORDS.search(text):
        words = re.sub(r"[\s-]", "", found[1].lower())
        return _spdx("-".join(["by", *(code for word, code in _ELEMENTS.items() if word in words)]), found[2])
    if found := _CODE.search(text) or _CODE.search(kind):
        return _spdx(found[1], found[2])
    if _CC0.search(text) or _CC0.search(kind):
        return "CC0-1.0"
    return "CC-BY" if kind.lower() == "creativecommonsby" else UNKNOWN


def licence_of_code(code: str) -> str:
    """The licence of a code in PMC's lists ("CC BY-NC", "CC0"); "TDM" allows text mining and nothing else."""
    return TEXT_MINING if code.strip().upper() == "TDM" else spdx_licence([], "", code)


def _spdx(code: str, version: str | None, port: str | None = None) -> str:
    parts = code.upper().split("-")
    ordered: list[str] = [part for part in ("BY", "NC", "ND", "SA") if part in parts]
    if version:
        ordered += [version if "." in version else f"{version}.0", *(["IGO"] if port else [])]
    return "-".join(["CC", *ordered])
