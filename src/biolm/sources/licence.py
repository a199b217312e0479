"""What a paper's licence element says, as an SPDX id."""

import re
from collections.abc import Iterable

UNKNOWN = "unknown"
_URL = re.compile(
    r"creativecommons\.org/licen[cs]es?/(by(?:-nc)?(?:-nd|-sa)?)(?:/(\d(?:\.\d)?))?", re.IGNORECASE
)
_CC0 = re.compile(r"creativecommons\.org/publicdomain/zero/1\.0", re.IGNORECASE)
_ATTRIBUTION = re.compile(
    r"creative\s+commons\s+attribution((?:[\s,–-]+(?:non-?\s?commercial|no-?\s?deriv\w*|share-?\s?alike))*)"
    r"(?:[^.]{0,40}?(\d\.\d))?",
    re.IGNORECASE,
)
_CODE = re.compile(r"\bcc[\s-]?(by(?:-nc)?(?:-nd|-sa)?)(?:\s+(\d\.\d))?\b", re.IGNORECASE)


def spdx_licence(urls: Iterable[str], kind: str, text: str) -> str:
    """SPDX id ("CC-BY-4.0", "CC0-1.0"), "CC-BY" where no version is stated, or "unknown".

    `urls` of the element, the most binding first; `kind`: its license-type; `text`: its words. A CC BY
    address goes before a CC0 one, which usually is about the data ("applies to the data").
    """
    urls = list(urls)
    for source in (*urls, text):
        found = _URL.search(source)
        if found:
            return _spdx(found[1], found[2])
    if any(_CC0.search(source) for source in (*urls, text)):
        return "CC0-1.0"
    found = _ATTRIBUTION.search(text)
    if found:
        words = found[1].lower().replace("-", "").replace(" ", "")
        parts = [("noncommercial", "nc"), ("noderiv", "nd"), ("sharealike", "sa")]
        return _spdx("-".join(["by", *(code for word, code in parts if word in words)]), found[2])
    found = _CODE.search(kind) or _CODE.search(text)
    if found:
        return _spdx(found[1], found[2])
    return "CC-BY" if kind.lower() == "creativecommonsby" else UNKNOWN


def _spdx(code: str, version: str | None) -> str:
    if not version:
        return f"CC-{code.upper()}"
    return f"CC-{code.upper()}-{version if '.' in version else version + '.0'}"
