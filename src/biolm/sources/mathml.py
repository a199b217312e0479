"""MathML as one line of text: "(β_ai, λ) = (5, 0.1)", "NH4+", "x^2/(a + b)".

White space of the file's layout is no part of a formula; spaces are set by what the operators are.
"""

import re
from collections.abc import Callable

from biolm.sources.scripts import superscript
from biolm.sources.xml import Element, local_name

_SPACED = frozenset("=≠<>≤≥≦≧≪≫≈≃≅∼~≡∝→←↔⇒⇔↦∈∉⊂⊆∪∩∧∨×÷±∓:≔") | {":=", "<=", ">=", "=="}
_SIGNS = frozenset("+−-–*±∓")
_LISTING = frozenset(",;")
_OPENING = frozenset("([{⟨⌈⌊")
_INVISIBLE = frozenset("\u2061\u2062\u2063\u2064\u200b")
_ACCENTS = {
    "˙": "\u0307", ".": "\u0307", "·": "\u0307", "^": "\u0302", "ˆ": "\u0302", "̂": "\u0302", "~": "\u0303",
    "˜": "\u0303", "∼": "\u0303", "¯": "\u0304", "‾": "\u0304", "―": "\u0304", "_": "\u0304", "−": "\u0304",
    "→": "\u20d7", "⃗": "\u20d7", "¨": "\u0308", "ˇ": "\u030c", "´": "\u0301", "`": "\u0300",
}  # fmt: skip
_ONE_TERM = re.compile(r"[+−–-]?[^\W_]+(?:\.\d+)?[′*†]*|[^\w\s]|\(.*\)")
_CHARGE = re.compile(r"[0-9]*[+−–-]")
_MARK = re.compile(r"[′″*†‡∘°]+")


def math_text(element: Element) -> str:
    """A `math` element, or any element inside one, as text; white space may be left at its ends."""
    return _FORMS.get(local_name(element), _row)(element)


def _children(element: Element) -> list[Element]:
    return [child for child in element if local_name(child)]


def _token(element: Element) -> str:
    return " ".join("".join(element.itertext()).split())


def _words(element: Element) -> str:
    return re.sub(r"\s+", " ", "".join(element.itertext()))


def _row(element: Element) -> str:
    line = element.text.strip() if element.text else ""
    children = _children(element)
    after_operator = not line
    for place, child in enumerate(children):
        name = local_name(child)
        piece = math_text(child)
        if name == "mo":
            if piece in _INVISIBLE or not piece:
                continue
            is_last = place == len(children) - 1
            is_prefix = after_operator and piece in _SIGNS
            if piece in _LISTING:
                line = line.rstrip() + piece + ("" if is_last else " ")
            elif (piece in _SPACED or piece in _SIGNS) and not is_last and not is_prefix:
                line = f"{line.rstrip()} {piece} "
            else:
                line += piece
            after_operator = piece in _SPACED or piece in _SIGNS or piece in _OPENING or piece in _LISTING
            continue
        if _are_words(line, piece):
            line += " "
        line += piece
        after_operator = after_operator and not piece.strip()
    return line


def _are_words(line: str, piece: str) -> bool:
    """Whether a name such as "log" or "max" stands at the seam; single letters are joined."""
    before = re.search(r"[^\W\d_]+$", line)
    after = re.match(r"[^\W\d_]+", piece)
    return before is not None and after is not None and (len(before[0]) > 2 and len(after[0]) > 1)


def _script(mark: str, base: str, text: str) -> str:
    if not text:
        return ""
    return f"{mark}{text}" if _ONE_TERM.fullmatch(text) else f"{mark}({text})"


def _sup(base: str, text: str) -> str:
    if not base.strip() or _CHARGE.fullmatch(text) or _MARK.fullmatch(text):
        return text
    return superscript(base, text) if text in {"st", "nd", "rd", "th"} else _script("^", base, text)


def _sub(base: str, text: str) -> str:
    if not base.strip() or (text.isdigit() and not base[-1].isdigit()):
        return text
    return _script("_", base, text)


def _parts(element: Element, count: int) -> list[str]:
    texts = [math_text(child).strip() for child in _children(element)[:count]]
    return texts + [""] * (count - len(texts))


def _msup(element: Element) -> str:
    base, above = _parts(element, 2)
    return base + _sup(base, above)


def _msub(element: Element) -> str:
    base, below = _parts(element, 2)
    return base + _sub(base, below)


def _msubsup(element: Element) -> str:
    base, below, above = _parts(element, 3)
    return base + _sub(base, below) + _sup(base, above)


def _mover(element: Element) -> str:
    base, above = _parts(element, 2)
    accent = _ACCENTS.get(above)
    if accent is not None:  # over the first letter, where "V̇O2" has it
        return base[:1] + accent + base[1:]
    return base + _script("^", base, above)


def _munder(element: Element) -> str:
    base, below = _parts(element, 2)
    return base + _script("_", base, below)


def _munderover(element: Element) -> str:
    base, below, above = _parts(element, 3)
    return base + _script("_", base, below) + _script("^", base, above)


def _mfrac(element: Element) -> str:
    over, under = _parts(element, 2)
    return _script("", "", over) + "/" + _script("", "", under)


def _msqrt(element: Element) -> str:
    return _script("√", "", _row(element).strip())


def _mroot(element: Element) -> str:
    base, degree = _parts(element, 2)
    return degree + _script("√", "", base)


def _mfenced(element: Element) -> str:
    separator = element.get("separators", ",").strip()[:1]
    inner = f"{separator} ".join(math_text(child).strip() for child in _children(element))
    return element.get("open", "(") + inner + element.get("close", ")")


def _mtable(element: Element) -> str:
    rows = [", ".join(cell for cell in map(math_text, _children(row)) if cell) for row in _children(element)]
    return "; ".join(row for row in rows if row)


def _mmultiscripts(element: Element) -> str:
    children = _children(element)
    names = [local_name(child) for child in children]
    split = names.index("mprescripts") if "mprescripts" in names else len(children)
    after, before = children[1:split], children[split + 1 :]
    base = math_text(children[0]).strip() if children else ""
    texts = [math_text(child).strip() for child in after]
    line = "".join(math_text(child).strip() for child in before) + base
    for place, text in enumerate(texts):
        line += _sup(base, text) if place % 2 else _sub(base, text)
    return line


def _semantics(element: Element) -> str:
    children = _children(element)
    return math_text(children[0]) if children else ""


def _nothing(element: Element) -> str:
    return ""


def _space(element: Element) -> str:
    return " "


_FORMS: dict[str, Callable[[Element], str]] = {
    "mi": _token, "mn": _token, "mo": _token, "ms": _token, "mtext": _words, "mspace": _space,
    "msup": _msup, "msub": _msub, "msubsup": _msubsup, "mmultiscripts": _mmultiscripts,
    "mover": _mover, "munder": _munder, "munderover": _munderover,
    "mfrac": _mfrac, "msqrt": _msqrt, "mroot": _mroot, "mfenced": _mfenced, "mtable": _mtable,
    "semantics": _semantics, "annotation": _nothing, "annotation-xml": _nothing, "mphantom": _nothing,
    "none": _nothing, "mprescripts": _nothing, "maligngroup": _nothing, "malignmark": _nothing,
}  # fmt: skip
