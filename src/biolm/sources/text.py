"""An element of JATS or PubMed XML as text that reads like the page.

One rule for each element, in the tables below; elements in none of them are transparent: they add no space
and lose none. Comments and processing instructions are skipped, the text after them is kept.
"""

import re
from collections.abc import Callable
from typing import Any

from biolm.sources.characters import clean
from biolm.sources.mathml import math_text
from biolm.sources.xml import local_name

BLOCKS = frozenset(
    [
        "p",
        "title",
        "sec",
        "list",
        "list-item",
        "def-list",
        "def-item",
        "def",
        "term",
        "disp-quote",
        "disp-formula",
        "disp-formula-group",
        "verse-group",
        "verse-line",
        "speech",
        "boxed-text",
        "statement",
        "caption",
        "break",
        "label",
        "subtitle",
        "AbstractText",
        "preformat",
    ]
)
"""Bounded by a space on both sides."""
LEFT_OUT = frozenset(
    [
        "alt-text",
        "long-desc",
        "object-id",
        "permissions",
        "attrib",
        "copyright-statement",
        "graphic",
        "media",
        "inline-graphic",
        "supplementary-material",
        "inline-supplementary-material",
        "fig",
        "fig-group",
        "table-wrap",
        "table-wrap-group",
        "fn",
        "fn-group",
        "index-term",
        "private-char",
        "rp",
        "rt",
        "def-head",
        "term-head",
        "sub-article",
        "response",
    ]
)
"""Not part of the text around them (ruby keeps its base)."""
FORMULA_CHOICE = ("math", "textual-form", "tex-math")
"""Which child of `alternatives` is read, the best first; others would say the same again."""
CITATIONS = frozenset({"bibr", "ref"})
"""xref types that point into the reference list."""

# A citation is carried through the walk between these two, which XML text cannot hold as such: private use.
_OPEN, _CLOSE = "\ue0f0", "\ue0f1"
_CITED = rf"{_OPEN}[^{_CLOSE}]*{_CLOSE}"
_SEPARATOR = r"\s*(?:[,;–—−-]|and|&)?\s*"
_NUMBERS = rf"{_OPEN}\s*\d{{1,3}}[a-z]?(?:\s*[,–—−-]\s*\d{{1,3}})*\s*{_CLOSE}"
_BRACKETED = re.compile(rf"\s*[\[(]\s*{_NUMBERS}(?:{_SEPARATOR}{_NUMBERS})*\s*[\])]")
_ONLY_CITATIONS = re.compile(rf"(?:[\s,;–—−\[\]()-]|{_CITED})+")
_NAMED_BEFORE = re.compile(r"\b(?:refs?|references?)\.?\s*$", re.IGNORECASE)

_EXPONENT = re.compile(r"[+−–-]?\d[\d.,–−-]*")
_CHARGE = re.compile(r"\d*[+−–-]")
_ORDINAL = re.compile(r"st|nd|rd|th", re.IGNORECASE)
_LONE_TEN = re.compile(r"(?:^|[^\d.,])10$")
_TEX_BODY = re.compile(r"\\begin\{document\}(.*?)\\end\{document\}", re.DOTALL)


def text_of(element: Any) -> str:
    """The element's text, cleaned (see `characters.clean`). Empty for None."""
    if element is None:
        return ""
    out: list[str] = []
    _inside(element, out)
    return finish("".join(out))


def finish(raw: str) -> str:
    """Numeric citations in brackets removed with their bracket, other citations kept; then cleaned."""
    if _OPEN in raw:
        raw = _BRACKETED.sub("", raw).replace(_OPEN, "").replace(_CLOSE, "")
    return clean(raw)


def _inside(element: Any, out: list[str]) -> None:
    if element.text:
        out.append(element.text)
    for child in element:
        _child(child, out)
        if child.tail:
            out.append(child.tail)


def _child(child: Any, out: list[str]) -> None:
    name = local_name(child)
    if not name or name in LEFT_OUT:
        return
    special = SPECIAL.get(name)
    if special is not None:
        special(child, out)
    elif name in BLOCKS:
        out.append(" ")
        _inside(child, out)
        out.append(" ")
    else:
        _inside(child, out)


def _superscript(element: Any, out: list[str]) -> None:
    """A "^" where a value would change without it: 10^6, m^2, 10^n; not Ca2+, 19th, 90Sr, CD8hi. No citations."""
    inner: list[str] = []
    _inside(element, inner)
    raw = "".join(inner)
    before = "".join(out[-8:])
    if _OPEN in raw and _ONLY_CITATIONS.fullmatch(raw):
        if _NAMED_BEFORE.search(before):
            out.append(raw.replace(_OPEN, "").replace(_CLOSE, ""))
        return
    text = raw.strip()
    last = before[-1:]
    of_ten = bool(_LONE_TEN.search(before)) and text.isalpha() and not _ORDINAL.fullmatch(text)
    if (
        text
        and (of_ten or _EXPONENT.fullmatch(text))
        and not _CHARGE.fullmatch(text)
        and (last.isalnum() or last in ")]")
    ):
        out.append("^" + raw.lstrip())
    else:
        out.append(raw)


def _subscript(element: Any, out: list[str]) -> None:
    """CO2, IC50; a "_" only between two digits, which would fuse."""
    inner: list[str] = []
    _inside(element, inner)
    raw = "".join(inner)
    fused = "".join(out[-8:])[-1:].isdigit() and raw[:1].isdigit()
    out.append(f"_{raw}" if fused else raw)


def _small_capitals(element: Any, out: list[str]) -> None:
    inner: list[str] = []
    _inside(element, inner)
    out.append("".join(inner).upper())


def _cross_reference(element: Any, out: list[str]) -> None:
    if element.get("ref-type") in CITATIONS:
        inner: list[str] = []
        _inside(element, inner)
        out.append(f"{_OPEN}{''.join(inner)}{_CLOSE}")
    else:
        _inside(element, out)


def _alternatives(element: Any, out: list[str]) -> None:
    by_name = {local_name(child): child for child in reversed(element)}
    for name in FORMULA_CHOICE:
        if name in by_name:
            _child(by_name[name], out)
            return


def _formula(element: Any, out: list[str]) -> None:
    """MathML where there is any beside TeX, though no `alternatives` says that they are the same."""
    names = [local_name(child) for child in element]
    if "math" in names and "tex-math" in names:
        _alternatives(element, out)
    else:
        _inside(element, out)


def _display_formula(element: Any, out: list[str]) -> None:
    out.append(" ")
    _formula(element, out)
    out.append(" ")


def _math(element: Any, out: list[str]) -> None:
    out.append(math_text(element))


def _tex(element: Any, out: list[str]) -> None:
    source = "".join(element.itertext())
    body = _TEX_BODY.search(source)
    if body:
        out.append(body[1].strip().strip("$").strip())
    elif "\\documentclass" not in source:
        out.append(source.strip().strip("$").strip())


def _list(element: Any, out: list[str]) -> None:
    """Items separated; labels that only the list's type implies are written out."""
    kind = element.get("list-type", "")
    number = 0
    for item in element:
        name = local_name(item)
        out.append(" ")
        if name == "list-item":
            number += 1
            has_label = any(local_name(child) == "label" for child in item)
            out.append("" if has_label else _implied_label(kind, number))
        if name:
            _child(item, out)
    out.append(" ")


def _implied_label(kind: str, number: int) -> str:
    letter = chr(ord("a") + (number - 1) % 26)
    labels = {"alpha-upper": letter.upper(), "alpha-lower": letter, "order": f"{number}."}
    return labels[kind] + " " if kind in labels else ""


SPECIAL: dict[str, Callable[[Any, list[str]], None]] = {
    "sup": _superscript,
    "sub": _subscript,
    "sc": _small_capitals,
    "xref": _cross_reference,
    "alternatives": _alternatives,
    "inline-formula": _formula,
    "disp-formula": _display_formula,
    "math": _math,
    "tex-math": _tex,
    "list": _list,
}
"""Elements with a rule of their own."""
