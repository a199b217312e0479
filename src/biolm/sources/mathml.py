"""MathML as one line of text: "(β_ai, λ) = (5, 0.1)", "NH4+", "x^2/(a + b)".

White space of the file's layout is no part of a formula; spaces are set by what the operators are.
"""

import re
from collections.abc import Callable, Iterable

from biolm.sources.scripts import superscript
from biolm.sources.xml import Element, local_name

_SPACED = frozenset("=≠<>≤≥≦≧≪≫≈≃≅∼~≡∝→←↔⇒⇔↦∈∉⊂⊆∪∩∧∨×÷±∓:≔") | {":=", "<=", ">=", "=="}
_SIGNS = frozenset("+−-–*±∓")
_LISTING = frozenset(",;")
_OPENING = frozenset("([{⟨⌈⌊")
_PLAIN = {"∕": "/", "∣": "|", "-": "−"}
"""Operators as the rest of the text has them: MathML sets a hyphen as a minus."""
_INVISIBLE = frozenset("\u2061\u2062\u2063\u2064\u200b")
ACCENTS = {
    "˙": "\u0307", ".": "\u0307", "·": "\u0307", "^": "\u0302", "ˆ": "\u0302", "̂": "\u0302", "~": "\u0303",
    "˜": "\u0303", "∼": "\u0303", "¯": "\u0304", "‾": "\u0304", "―": "\u0304", "_": "\u0304", "−": "\u0304",
    "→": "\u20d7", "⃗": "\u20d7", "¨": "\u0308", "ˇ": "\u030c", "´": "\u0301", "`": "\u0300",
}  # fmt: skip
_ONE_TERM = re.compile(r"[+−–-]?[^\W_]+(?:\.\d+)?[′*†]*|[^\w\s]|\(.*\)")
_CHARGE = re.compile(r"[0-9]*[+−–-]|[•·˙⋅] ?[+−–-]")
_COUNT = re.compile(r"\d+(?:[^\W\d_]{3,})?")
"""What stands plainly below a letter: "2", "2max"."""
_MARK = re.compile(r"[′″*∗⋆†‡°]+")
_SEAM = 40
"""Characters before a seam that are looked at: more than any name of a function has."""
_DEGREES = ("∘", "°")
_FUNCTIONS = frozenset([
    "log", "ln", "lg", "exp", "sin", "cos", "tan", "cot", "arg",
    "max", "min", "lim", "sup", "inf", "det", "gcd", "var", "cov",
])  # fmt: skip


def math_text(element: Element) -> str:
    """A `math` element, or any element inside one, as text; white space may be left at its ends."""
    return _FORMS.get(local_name(element), _row)(element)


def _children(element: Element) -> list[Element]:
    return [child for child in element if local_name(child)]


def _token(element: Element) -> str:
    return " ".join("".join(element.itertext()).split())


def _operator(element: Element) -> str:
    text = _token(element)
    return _PLAIN.get(text, text)


def _words(element: Element) -> str:
    return re.sub(r"\s+", " ", "".join(element.itertext()))


def _row(element: Element) -> str:
    begin = element.text.strip() if element.text else ""
    return one_line([(local_name(child) == "mo", math_text(child)) for child in _children(element)], begin)


def one_line(pieces: Iterable[tuple[bool, str]], begin: str = "") -> str:
    """The pieces of a row, each with whether it is an operator, spaced by what the operators are."""
    line, waiting = begin, ""
    after_operator = not line
    for is_operator, piece in pieces:
        if is_operator:
            if piece in _INVISIBLE or not piece:
                continue
            is_prefix = after_operator and piece in _SIGNS
            line += waiting
            waiting = ""
            if piece in _LISTING:
                line, waiting = line.rstrip() + piece, " "
            elif (piece in _SPACED or piece in _SIGNS) and not is_prefix:
                line, waiting = line.rstrip(), f" {piece} "
            else:
                line += piece
            after_operator = piece in _SPACED or piece in _SIGNS or piece in _OPENING or piece in _LISTING
            continue
        if _are_words(f"{line[-_SEAM:]}{waiting}", piece):
            line += " "
        line += waiting + piece
        waiting = ""
        after_operator = after_operator and not piece.strip()
    return line + waiting.strip()


def _are_words(line: str, piece: str) -> bool:
    """Whether a name such as "log", "log10" or "max" stands at the seam; single letters are joined."""
    before = re.search(r"([^\W\d_]+)(_?\d+|_[^\W\d_])?$", line)
    after = re.match(r"[^\W\d_]+", piece)
    if before is None or after is None:
        return False
    return before[1] in _FUNCTIONS or (before[2] is None and len(before[1]) > 2 and len(after[0]) > 1)


def in_script(text: str, mark: str = "") -> str:
    """A part of a formula behind a mark; in brackets where it is more than one term."""
    if not text:
        return ""
    return f"{mark}{text}" if _ONE_TERM.fullmatch(text) else f"{mark}({text})"


def raised(base: str, text: str) -> str:
    """A superscript as it stands behind its base."""
    if text in _DEGREES:
        return "°"
    if not base.strip() or _CHARGE.fullmatch(text) or _MARK.fullmatch(text):
        return text
    return superscript(base, text) if text in {"st", "nd", "rd", "th"} else in_script(text, "^")


def lowered(base: str, text: str) -> str:
    """A subscript as it stands behind its base."""
    if not base.strip() or (_COUNT.fullmatch(text) and not base[-1].isdigit()):
        return text
    return in_script(text, "_")


def _parts(element: Element, count: int) -> list[str]:
    texts = [math_text(child).strip() for child in _children(element)[:count]]
    return texts + [""] * (count - len(texts))


def _msup(element: Element) -> str:
    base, above = _parts(element, 2)
    return base + raised(base, above)


def _msub(element: Element) -> str:
    base, below = _parts(element, 2)
    return base + lowered(base, below)


def _msubsup(element: Element) -> str:
    base, below, above = _parts(element, 3)
    return base + lowered(base, below) + raised(base, above)


def _mover(element: Element) -> str:
    base, above = _parts(element, 2)
    accent = ACCENTS.get(above)
    if accent is not None:
        return accented(base, accent)
    return base + in_script(above, "^")


def accented(base: str, accent: str) -> str:
    """With the combining accent over the first letter, where "V̇O2" has it."""
    return base[:1] + accent + base[1:]


def _munder(element: Element) -> str:
    base, below = _parts(element, 2)
    return base + in_script(below, "_")


def _munderover(element: Element) -> str:
    base, below, above = _parts(element, 3)
    return base + in_script(below, "_") + in_script(above, "^")


def _mfrac(element: Element) -> str:
    over, under = _parts(element, 2)
    return f"{in_script(over)}/{in_script(under)}"


def _msqrt(element: Element) -> str:
    return in_script(_row(element).strip(), "√")


def _mroot(element: Element) -> str:
    base, degree = _parts(element, 2)
    return degree + in_script(base, "√")


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
        line += raised(base, text) if place % 2 else lowered(base, text)
    return line


def _semantics(element: Element) -> str:
    children = _children(element)
    return math_text(children[0]) if children else ""


def _nothing(element: Element) -> str:
    return ""


def _space(element: Element) -> str:
    return " "


_FORMS: dict[str, Callable[[Element], str]] = {
    "mi": _token, "mn": _token, "mo": _operator, "ms": _token, "mtext": _words, "mspace": _space,
    "msup": _msup, "msub": _msub, "msubsup": _msubsup, "mmultiscripts": _mmultiscripts,
    "mover": _mover, "munder": _munder, "munderover": _munderover,
    "mfrac": _mfrac, "msqrt": _msqrt, "mroot": _mroot, "mfenced": _mfenced, "mtable": _mtable,
    "semantics": _semantics, "annotation": _nothing, "annotation-xml": _nothing, "mphantom": _nothing,
    "none": _nothing, "mprescripts": _nothing, "maligngroup": _nothing, "malignmark": _nothing,
}  # fmt: skip
