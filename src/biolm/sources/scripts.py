"""How superscripts and subscripts read on one line.

A superscript gets a "^" where leaving it out would change a value: a number above a letter, digit or
closing bracket (10^6, m^2, s^−1, (x + y)^2), and anything above a lone 10 (10^n). It is written plainly
where readers write it plainly: charges (Ca2+, SO42−, Cl−), isotopes, which stand before their symbol
(90Sr, [3H], δ13C), ordinals (1st), residue numbers (His706), genotypes and marks (p53−/−, CD8hi, TM).

A subscript is written plainly (CO2, IC50), with a "_" only between two digits, which would fuse.
"""

import re

_NUMBER = re.compile(r"[+−‐–-]?\d+(?:[.,/·–−-]\d+)*%?")
_CHARGE = re.compile(r"\d*[+−–-]+|\+\d+")
_COUNTED = re.compile(r"\d|[+−‐–-]\w")
_ORDINAL = re.compile(r"st|nd|rd|th")
_LONE_TEN = re.compile(r"(?:^|[^\d.,])10$")
_RESIDUE = re.compile(
    r"(?<![A-Za-z])(?:Ala|Arg|Asn|Asp|Cys|Gln|Glu|Gly|His|Ile|Leu|Lys|Met|Phe|Pro|Ser|Thr|Trp|Tyr|Val)$"
)
_BASE = re.compile(r"[^\W_δΔ∆]|[)\]}′'%°|]")


def superscript(before: str, text: str) -> str:
    """What to append to `before`, the text so far, for a superscript `text`.

    >>> superscript("2 × 10", "−5"), superscript("Ca", "2+"), superscript("with ", "90")
    ('^−5', '2+', '90')
    """
    content = text.strip()
    base = before[-1:]
    if not content or not _BASE.fullmatch(base):
        return text
    if _RESIDUE.search(before[-4:]):
        return text
    if _LONE_TEN.search(before[-4:]):
        raised = not _ORDINAL.fullmatch(content)
    elif base.isdigit():
        raised = not _CHARGE.fullmatch(content) and _COUNTED.match(content) is not None
    else:
        raised = _NUMBER.fullmatch(content) is not None and not _CHARGE.fullmatch(content)
    return f"^{text.lstrip()}" if raised else text


def subscript(before: str, text: str) -> str:
    """What to append to `before`, the text so far, for a subscript `text`.

    >>> subscript("CO", "2"), subscript("x1", "2")
    ('2', '_2')
    """
    return f"_{text}" if before[-1:].isdigit() and text[:1].isdigit() else text
