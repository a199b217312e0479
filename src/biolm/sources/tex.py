"""A formula that exists only as TeX, as one line of text: "α_i = a/(b + c)", "NH4+", "10^−5".

Symbols are those of HTML's entities (`\\alpha`, `\\leq`, `\\times` have the same names there) and the table below;
scripts and spaces follow the rules of MathML (`mathml.py`). A command that is in neither table reads as its name.
"""

import re
from html.entities import html5

from biolm.sources.mathml import ACCENTS, accented, in_script, lowered, one_line, raised

_BEGIN, _END = "\\begin{document}", "\\end{document}"
_TOKEN = re.compile(
    r"\\(?P<name>[A-Za-z]+)\*?\s*|\\(?P<mark>.)|(?P<number>\d+(?:\.\d+)?)|(?P<letters>[A-Za-z]+)|\S",
    re.DOTALL,
)
_LAYOUT = re.compile(
    r"\\(?:kern|raise|lower|hskip|vskip)\s*-?(?:[\d.]+\s*[a-z]{2}|\\nulldelimiterspace)|\\raisebox\s*\{[^{}]*\}|"
    r"\\(?:left|right|[bB]igg?[lr]?)\s*\.|\\begin\{(?:array|tabular)\}\s*(?:\{(?:[^{}]|\{[^{}]*\})*\})?"
)
"""Lengths, invisible brackets and columns."""
_PLAIN_GROUP = re.compile(r"\s*\{([^{}]*)\}")
_DEPTH = 40
"""Groups inside groups that are read as such; what is deeper reads as if it had no braces."""
SYMBOLS = {
    "epsilon": "ϵ", "varepsilon": "ε", "phi": "ϕ", "varphi": "φ", "vdots": "⋮", "ddots": "⋱", "cdotp": "·",
    "to": "→", "gets": "←", "infty": "∞", "partial": "∂", "ldots": "…", "cdots": "⋯", "dots": "…", "cdot": "·",
    "circ": "∘", "star": "⋆", "mid": "|", "vert": "|", "Vert": "‖", "lVert": "‖", "rVert": "‖", "lvert": "|",
    "rvert": "|", "exists": "∃", "AA": "Å", "degree": "°", "textdegree": "°", "celsius": "°C", "dag": "†",
    "S": "§", "P": "¶", "Re": "Re", "Im": "Im", "Pr": "Pr", "backslash": "\\", "lbrack": "[", "rbrack": "]",
    "lt": "<", "gt": ">", "le": "≤", "ge": "≥", "neq": "≠", "mu": "μ", "ast": "∗", "prime": "′",
    "textmu": "μ", "colon": ":",
}  # fmt: skip
_ACCENTED = {
    "hat": "^", "widehat": "^", "tilde": "~", "widetilde": "~", "bar": "¯", "overline": "¯", "vec": "→",
    "overrightarrow": "→", "dot": "˙", "ddot": "¨", "check": "ˇ", "acute": "´", "grave": "`",
}  # fmt: skip
FRACTIONS = frozenset({"frac", "dfrac", "tfrac", "cfrac", "nicefrac", "sfrac"})
WORDS = frozenset({"text", "textrm", "textit", "textbf", "textsf", "mbox", "hbox", "textnormal", "textup"})
"""Commands whose argument is set as words: its spaces count."""
TRANSPARENT = frozenset([
    "varvec", "mathrm", "mathbf", "mathit", "mathsf", "mathcal", "mathbb", "mathfrak", "mathscr", "mathtt",
    "mathnormal", "boldsymbol", "bm", "rm", "bf", "it", "sf", "cal", "operatorname", "mathop", "mathbin",
    "mathrel", "mathord", "mathstrut", "ensuremath", "emph", "underline", "underbrace", "overbrace", "left",
    "right", "big", "Big", "bigg", "Bigg", "bigl", "bigr", "Bigl", "Bigr", "biggl", "biggr", "displaystyle",
    "textstyle", "scriptstyle", "limits", "nolimits", "nonumber", "rmfamily", "bfseries", "boldmath",
    "unboldmath", "mathversion", "footnotesize", "small", "large", "normalsize", "upshape", "hfill",
    "centering", "noindent", "protect", "relax",
])  # fmt: skip
"""Commands that say how, not what: they leave what follows as it is."""
DROPPED = frozenset(
    {
        "label",
        "tag",
        "hspace",
        "vspace",
        "color",
        "fontencoding",
        "fontfamily",
        "selectfont",
        "phantom",
        "hphantom",
        "vphantom",
        "usepackage",
    }
)
"""Commands that take their argument with them."""
SPACES = frozenset({"quad", "qquad", "enspace", "thinspace", "space", "newline", "hskip"})
_TABLES = ("array", "matrix", "tabular")

Atom = tuple[bool, str]
"""A piece of a formula, and whether it is an operator."""


def tex_text(source: str) -> str:
    """A formula's TeX, with or without the document set around it, as text.

    >>> tex_text(r"$\\frac{\\alpha_{i}}{b+c} \\times 10^{-5}$")
    'α_i/(b + c) × 10^−5'
    """
    _, begun, body = source.partition(_BEGIN)
    body, ended, _ = body.partition(_END)
    source = body if begun and ended else source.partition("\\documentclass")[0]
    return " ".join(_Reader(_LAYOUT.sub(_without_layout, source)).group(0).split())


def _without_layout(found: re.Match[str]) -> str:
    return r"\begin{array}" if found[0].startswith(r"\begin") else " "


class _Reader:
    """Reads a formula from left to right, one group inside another."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.place = 0
        self.tables: list[bool] = []

    def group(self, depth: int, closing: str = "") -> str:
        """What comes up to a closing token or the end, as text."""
        atoms: list[Atom] = []
        while (found := self._token()) is not None:
            if found[0] == closing:
                break
            self._read(found, atoms, depth)
        return one_line(atoms)

    def _token(self) -> re.Match[str] | None:
        found = _TOKEN.search(self.source, self.place)
        if found:
            self.place = found.end()
        return found

    def _read(self, found: re.Match[str], atoms: list[Atom], depth: int) -> None:
        piece = found[0]
        if found["name"]:
            self._command(found["name"], atoms, depth)
        elif found["mark"]:
            mark = found["mark"]
            text = "; " if mark == "\\" else " " if mark in ",;: \n\t>" else "" if mark in "!/()[]" else mark
            atoms.append((False, "‖" if mark == "|" else text))
        elif piece == "{":
            if depth < _DEPTH:
                atoms.append((False, self.group(depth + 1, "}")))
        elif piece in "^_":
            script = self._argument(depth)
            base = atoms.pop()[1] if atoms else ""
            atoms.append((False, base + (raised if piece == "^" else lowered)(base, script)))
        elif piece == "&":
            atoms.append((False, ", " if self.tables and self.tables[-1] else ""))
        elif piece in "~'":
            atoms.append((False, "′" if piece == "'" else " "))
        elif piece not in "$}%":
            atoms.append((not piece[-1].isalnum(), "−" if piece == "-" else piece))

    def _command(self, name: str, atoms: list[Atom], depth: int) -> None:
        if name in WORDS:
            atoms.append((False, self._words()))
        elif name in FRACTIONS:
            over, under = self._argument(depth), self._argument(depth)
            atoms.append((False, f"{in_script(over)}/{in_script(under)}"))
        elif name in ("overset", "stackrel", "underset"):
            script, base = self._argument(depth), self._argument(depth)
            accent = ACCENTS.get(script) if name != "underset" else None
            mark = "_" if name == "underset" else "^"
            text = accented(base, accent) if accent else base + in_script(script, mark)
            atoms.append((False, text))
        elif name == "sqrt":
            degree = self._optional(depth)
            atoms.append((False, f"{degree}√{in_script(self._argument(depth))}"))
        elif name in _ACCENTED:
            atoms.append((False, accented(self._argument(depth), ACCENTS[_ACCENTED[name]])))
        elif name in DROPPED:
            self._argument(depth)
        elif name in ("begin", "end"):
            kind = self._words()
            if name == "end":
                del self.tables[-1:]
                return
            self.tables.append(any(table in kind for table in _TABLES))
        elif name in SPACES:
            atoms.append((False, " "))
        elif name not in TRANSPARENT:
            symbol = _symbol(name)
            atoms.append((not symbol.isalnum(), symbol))

    def _argument(self, depth: int) -> str:
        """The next group, command or character, as text."""
        found = self._token()
        if found is None or found[0] == "}":
            self.place -= found is not None
            return ""
        if found[0] == "{":
            return self.group(depth + 1, "}").strip() if depth < _DEPTH else ""
        if found["number"] or found["letters"]:
            self.place = found.start() + 1
            return found[0][0]
        atoms: list[Atom] = []
        if depth < _DEPTH:
            self._read(found, atoms, depth + 1)
            while not atoms and found["name"] in TRANSPARENT and depth < _DEPTH:
                return self._argument(depth + 1)
        return one_line(atoms).strip()

    def _optional(self, depth: int) -> str:
        if self.source[self.place : self.place + 1] != "[" or depth >= _DEPTH:
            return ""
        self.place += 1
        return self.group(depth + 1, "]")

    def _words(self) -> str:
        """The next group as it is written, without commands."""
        found = _PLAIN_GROUP.match(self.source, self.place)
        if found is None:
            return ""
        self.place = found.end()
        return re.sub(r"[$\\~]+", " ", found[1]).replace("--", "–")


def _symbol(name: str) -> str:
    """A command's character; a name that is none, such as "log", is itself."""
    for plain in (name, *(name.removeprefix(prefix) for prefix in ("up", "var", "text"))):
        if symbol := SYMBOLS.get(plain) or html5.get(f"{plain};"):
            return symbol
    return name
