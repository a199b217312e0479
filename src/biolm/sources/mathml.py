"""MathML as a line of text that reads like the page: "(β_ai, λ, μ) = (5, 5, 0.1)"."""

import re
from typing import Any

from biolm.sources.xml import local_name

SPACED = frozenset("=≠<>≤≥≪≫≈≅∼≃≡∝±∓×→←↔⇒∈∉⊂⊆∪∩∧∨")
"""Operators with a space on both sides."""
COMBINING = {
    "˙": "\u0307",
    "¨": "\u0308",
    "^": "\u0302",
    "ˆ": "\u0302",
    "~": "\u0303",
    "˜": "\u0303",
    "¯": "\u0304",
}
COMBINING |= {"‾": "\u0304", "→": "\u20d7", "ˇ": "\u030c", "´": "\u0301", "`": "\u0300", "̂": "\u0302"}
"""Accents over one letter as combining marks."""
_SPACE = re.compile(r"\s+")


def math_text(element: Any) -> str:
    """The text of a `math` element; white space of its layout is dropped, formulas get their own."""
    return _SPACE.sub(" ", _row(element)).strip()


def _row(element: Any) -> str:
    return "".join(_text(child) for child in element if local_name(child))


def _text(element: Any) -> str:
    name = local_name(element)
    if name in ("mi", "mn", "ms"):
        return _own(element)
    if name == "mtext":
        return "".join(element.itertext()).replace("\xa0", " ")
    if name == "mo":
        return _operator(_own(element))
    if name == "mspace":
        return " "
    parts = [_text(child) for child in element if local_name(child)]
    if name in ("annotation", "annotation-xml"):
        return ""
    if name == "semantics":
        return parts[0] if parts else ""
    if name in ("msub", "munder") and len(parts) == 2:
        return parts[0] + _lower(parts[1])
    if name == "msup" and len(parts) == 2:
        return parts[0] + _upper(parts[1])
    if name in ("msubsup", "munderover") and len(parts) == 3:
        return parts[0] + _lower(parts[1]) + _upper(parts[2])
    if name == "mover" and len(parts) == 2:
        mark = COMBINING.get(parts[1].strip())
        return parts[0] + (mark if mark and parts[0] else _upper(parts[1]))
    if name == "mfrac" and len(parts) == 2:
        return f"{_grouped(parts[0])}/{_grouped(parts[1])}"
    if name == "msqrt":
        return f"√({''.join(parts)})"
    if name == "mroot" and len(parts) == 2:
        return f"({parts[0]})^(1/{parts[1].strip()})"
    if name == "mfenced":
        between = element.get("separators", ",").strip()[:1]
        joined = f"{between} ".join(parts) if between else "".join(parts)
        return f"{element.get('open', '(')}{joined}{element.get('close', ')')}"
    if name in ("mtr", "mlabeledtr", "mtd"):
        return "".join(parts) + " "
    return "".join(parts)


def _own(element: Any) -> str:
    return _SPACE.sub("", "".join(element.itertext()))


def _operator(operator: str) -> str:
    if operator in SPACED:
        return f" {operator} "
    return f"{operator} " if operator in (",", ";") else operator


def _lower(text: str) -> str:
    text = text.strip()
    return text if text.isdigit() else f"_{_grouped(text)}" if text else ""


def _upper(text: str) -> str:
    text = text.strip()
    if text.rstrip("+−-").isdigit() and text[-1:] in "+−-":
        return text  # an ion's charge
    return text if text in ("+", "−", "-", "′", "″", "*", "∗") else f"^{_grouped(text)}" if text else ""


def _grouped(text: str) -> str:
    text = text.strip()
    return text if len(text) == 1 or text.replace(".", "").replace("−", "").isalnum() else f"({text})"
