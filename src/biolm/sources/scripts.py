"""How superscripts and subscripts read on one line.

A superscript gets a "^" where leaving it out would change a value: a number above a letter, digit or closing
bracket (10^6, m^2, s^−1, (x + y)^2), and anything but a mark above a lone 10 or e (10^n, e^−kt). It is
written plainly where readers write it plainly: charges (Ca2+, SO42−, Cl−), isotopes, which stand before their symbol
(90Sr, [3H], δ13C), ordinals (1st), numbers of residues and fragments (His706, pSer15, S90, TaPDS500: two digits above a
lone capital and three above any letter are no power), genotypes and marks (p53−/−, CD8hi). A raised o before
C or F is a degree sign, a raised TM behind a word is ™.

A subscript is written plainly (CO2, IC50), with a "_" only between two digits, which would fuse.
"""

import re

_NUMBER = re.compile(r"[+−‐–-]?\s?\d+(?:[.,/·–−-]\d+)*%?")
_CHARGE = re.compile(r"\d*[+−–-]+|\+\d+|[•·˙⋅][+−–-]")
_COUNTED = re.compile(r"\d|[+−‐–-]\s?[\w(]")
_ORDINAL = re.compile(r"st|nd|rd|th")
_LONE_BASE = re.compile(r"(?:^|[^\d.,])10$|(?:^|[^\w.-])e$")
_EXPONENT = re.compile(r"[+−‐–-]?\s?[\w(]")
_NEGATIVE = re.compile(r"[−‐–-]\s?\d+")
_RESIDUE = re.compile(
    r"(?<![A-Za-z])p?(?:Ala|Arg|Asn|Asp|Cys|Gln|Glu|Gly|His|Ile|Leu|Lys|Met|Phe|Pro|Ser|Thr|Trp|Tyr|Val)$"
)
_NAMED = re.compile(r"(?:[^\W\d_] \d{3,}|(?<![^\W_])(?:p[STY]|[A-Z]) \d{2})$")
"""A letter, a space, the digits above it: in 2,003 articles, 6 of 6 pairs above a lone capital are residues."""
_BASE = re.compile(r"[^\W_δΔ∆]|[)\]}′'%°|]")
_DEGREE = frozenset("oO0∘°º˚ο")
_SCALE = re.compile(r"\s*[CF](?![a-z])")


def superscript(before: str, text: str, after: str = "") -> str:
    """What to append to `before`, the text so far, for a superscript `text`; `after`: the text behind it.

    >>> superscript("2 × 10", "−5"), superscript("Ca", "2+"), superscript("with ", "90")
    ('^−5', '2+', '90')
    """
    content = text.strip().rstrip(".,;")
    if content in _DEGREE and _SCALE.match(after) and before.rstrip()[-1:].isdigit():
        return text.replace(content, "°")
    if content == "∘":
        return text.replace(content, "°")
    base = before[-1:]
    if content == "TM" and base.isalnum():
        return text.replace(content, "™")
    if base == " " and _NEGATIVE.fullmatch(content):  # "kg <sup>−1</sup>", "10 <sup>−3</sup>"
        base = before.rstrip()[-1:]
        raised = base.isalnum()
    elif not content or not _BASE.fullmatch(base) or _RESIDUE.search(before):
        return text
    elif _LONE_BASE.search(before):
        raised = not _ORDINAL.fullmatch(content) and _EXPONENT.match(content) is not None
    elif base.isdigit():
        raised = not _CHARGE.fullmatch(content) and _COUNTED.match(content) is not None
    elif _NAMED.search(f"{before} {content}"):
        raised = False
    else:
        raised = _NUMBER.fullmatch(content) is not None and not _CHARGE.fullmatch(content)
    if not raised:
        return text
    sign, number = text.lstrip()[:1], text.lstrip()[1:]
    return f"^{sign}{number if sign.isalnum() else number.lstrip()}"


def subscript(before: str, text: str) -> str:
    """What to append to `before`, the text so far, for a subscript `text`.

    >>> subscript("CO", "2"), subscript("x1", "2")
    ('2', '_2')
    """
    return f"_{text}" if before[-1:].isdigit() and text[:1].isdigit() else text
