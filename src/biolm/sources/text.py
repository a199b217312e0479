"""An element of JATS or PubMed XML as text that reads like the page.

One rule for each element, in the tables at the end; elements in none of them are transparent: they add no
space and lose none. Comments and processing instructions are skipped, the text after them is kept.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from biolm.sources.characters import clean
from biolm.sources.citations import (
    CLOSE,
    GONE,
    OPEN,
    PICTURE,
    POINTED,
    RAISED,
    is_citation_only,
    without_citations,
)
from biolm.sources.mathml import math_text
from biolm.sources.options import TextOptions
from biolm.sources.scripts import subscript, superscript
from biolm.sources.tex import tex_text
from biolm.sources.xml import Element, local_name

Rule = Callable[[Element, list[str], "Rules"], None]
"""Appends an element's text to the pieces before it; of those it may read the last."""


class Rules(dict[Any, Rule]):
    """Rule of each element by its tag as lxml gives it, and the options that the whole text is written by.

    Made from rules by local name; a tag with a namespace, of a comment or in no table is added when it is met.
    """

    def __init__(self, rules: Mapping[str, Rule], options: TextOptions) -> None:
        super().__init__(rules)
        self.named = rules
        self.options = options

    def __missing__(self, tag: Any) -> Rule:
        """The rule by local name; nothing of comments and instructions; `inside` for what has none."""
        rule = self.named.get(tag.rpartition("}")[2], inside) if isinstance(tag, str) else _left_out
        if len(self) < _MOST_TAGS:
            self[tag] = rule
        return rule


FORMULA_CHOICE = ("math", "textual-form", "tex-math")
"""Which child of `alternatives` is read, the best first; the others would say the same again."""
CITED = frozenset({"bibr", "ref"})
"""xref types that point into the reference list."""
FOOTNOTES = frozenset({"fn", "table-fn", "author-notes", "corresp", "aff"})
"""xref types whose text is a mark ("*", "†"); kept where it is a word."""
HEADLESS = frozenset({"abstract", "summary"})
"""Headings of an abstract, or of its only section, that say nothing."""
BOILERPLATE = re.compile(
    r"(?:electronic )?supplementary (?:material|information)s?|supporting information", re.I
)
"""Headings of sections that are no part of an abstract."""
DOWNLOAD = re.compile(r"\W*click here (?:for|to) [\w ]*(?:additional|data|file|view)[\w ]*\W*", re.I)
_ADDRESS = re.compile(
    r"\b(?:(?:https?|ftp)://|www\.)(?:[^\s()\[\]<>]|\([^\s()]*\))*(?:[^\s()\[\]<>.,;:]|\([^\s()]*\))",
    re.IGNORECASE,
)
"""A bare web address; brackets in it are in pairs."""
_NAMED_ADDRESS = re.compile(r"\s*(?:[a-z]+://|mailto:)?[\w.@-]+\.[a-z]{2,}(?:[/:?#]\S*)?\s*", re.IGNORECASE)
"""What a link says where that is no more than its address."""
_MOST_TAGS = 4096
_LONGEST_NOTE = 200
_UNLINKED = re.compile(r"[^\W\d_)\]][.,;]\d{1,3}\s?")
"""A raised number behind the end of a clause, as a citation or footnote without a link is set; before a letter it
is an isotope."""
_BEHIND_WORD = re.compile(r"[^\W_]$|(?<!\bref)(?<!\brefs)[.)\]”\"]$")
_CITED_NUMBER = re.compile(r"\s*\d{1,3}[a-z]?\s*")
_NOTE_MARKS = "*∗†‡§¶# "
"""Raised signs that begin a note, and belong to nothing before them."""
_SAYS = re.compile(r"[^\s\x00-\x1f]")
_WORD = re.compile(r"[^\W\d_]{3}")


def text_of(element: Element | None, rule: Rule | None = None, rules: Rules | None = None) -> str:
    """The text inside an element, cleaned (see `characters.clean`); empty for None.

    `rule`: the element's own, `inside` where left out. `rules`: those of what is in it, `RULES` where left out.
    """
    if element is None:
        return ""
    out: list[str] = []
    rules = RULES if rules is None else rules
    (rule or inside)(element, out, rules)
    return finished("".join(out), rules)


def finished(text: str, rules: Rules | None = None) -> str:
    """The last steps of every text: without citations that are marked in it, and cleaned."""
    rules = RULES if rules is None else rules
    if rules.options.addresses == "drop" and "." in text:
        text = _ADDRESS.sub(GONE, text)
    return clean(without_citations(text), normalize=rules.options.characters == "normalize")


def inside(element: Element, out: list[str], rules: Rules) -> None:
    """The rule of transparent elements: their text, and their children's by the rules."""
    if text := element.text:
        out.append(text)
    for child in element:
        rules[child.tag](child, out, rules)
        if tail := child.tail:
            out.append(tail)


def untitled(element: Element, out: list[str], rules: Rules) -> None:
    """What is inside, but for the title."""
    if text := element.text:
        out.append(text)
    for child in element:
        if local_name(child) != "title":
            rules[child.tag](child, out, rules)
        if tail := child.tail:
            out.append(tail)


def raw_text(element: Element, rules: Rules) -> str:
    """The text inside an element, citations still marked in it."""
    if not len(element):
        return element.text or ""
    out: list[str] = []
    inside(element, out, rules)
    return "".join(out)


def _last(out: list[str]) -> str:
    """The last characters so far, as many as the rules of scripts look at."""
    last = out[-1][-8:] if out else ""
    return last if len(last) == 8 else "".join(out[-4:])[-8:]


def _block(element: Element, out: list[str], rules: Rules) -> None:
    """A space on both sides."""
    out.append(" ")
    inside(element, out, rules)
    out.append(" ")


def _left_out(element: Element, out: list[str], rules: Rules) -> None:
    """Nothing of it."""


def _picture(element: Element, out: list[str], rules: Rules) -> None:
    """Nothing, and no empty brackets around it."""
    out.append(PICTURE)


def paragraph(element: Element, out: list[str], rules: Rules) -> None:
    """A block; but nothing where it only says where to download."""
    begins = len(out)
    out.append(" ")
    inside(element, out, rules)
    out.append(" ")
    said = sum(map(len, out[begins:]))
    if said < _LONGEST_NOTE and DOWNLOAD.fullmatch("".join(out[begins:])):
        del out[begins:]


def section(element: Element, out: list[str], rules: Rules) -> None:
    """ "Background: text"; without a heading that says nothing; nothing where it is boilerplate, or heads no words."""
    title = next((child for child in element if local_name(child) == "title"), None)
    heading = text_of(title, rules=rules)
    plain = heading.rstrip(":. ").lower()
    if BOILERPLATE.fullmatch(plain):
        return
    said: list[str] = []
    untitled(element, said, rules)
    if not any(map(_SAYS.search, said)):
        return
    out.append(" ")
    if heading and plain not in HEADLESS:
        out += (with_colon(heading), " ")
    out += said
    out.append(" ")


def with_colon(heading: str) -> str:
    """A heading as it stands before its text: "Results" as "Results:", "Results." as it is."""
    return heading if not heading or heading[-1] in ":.?!–—" else f"{heading}:"


def _superscript(element: Element, out: list[str], rules: Rules) -> None:
    raw, before, after = raw_text(element, rules), _last(out), element.tail or ""
    if is_citation_only(raw):
        out.append(f"{OPEN}{RAISED}{raw}{CLOSE}" if OPEN in raw else raw)
        return
    ends = after or element.getnext() is None
    unlinked = ends and _UNLINKED.fullmatch(f"{before[-2:]}{raw}{after[:1]}")
    if ends and not after[:1].isalnum() and raw.strip(_NOTE_MARKS) and _is_set_off(element, out):
        del out[-1]
        before = _last(out)
    if rules.options.citations == "drop":
        out.append(f"{OPEN}{RAISED}{raw}{CLOSE}" if unlinked else superscript(before, raw, after))
    elif unlinked or _is_cited(element):
        out.append(f"^{raw.lstrip()}" if before[-1:].strip(" ([") else raw)
    else:
        out.append(superscript(before, raw, after))


def _is_cited(raised: Element) -> bool:
    """Whether a superscript holds a citation, or is one's number."""
    return any(
        local_name(one) == "xref" and one.get("ref-type") in CITED for one in (raised.getparent(), *raised)
    )


def _is_set_off(script: Element, out: list[str]) -> bool:
    """Whether only a line break of the file stands between a script and the element that it belongs to."""
    base = script.getprevious()
    white = base.tail if base is not None else None
    return bool(
        white
        and "\n" in white
        and white.isspace()
        and out[-1:] == [white]
        and "".join(out[-4:-1])[-1:].isalnum()
    )


def _subscript(element: Element, out: list[str], rules: Rules) -> None:
    if _is_set_off(element, out):
        del out[-1]
    out.append(subscript(_last(out), raw_text(element, rules)))


def _small_capitals(element: Element, out: list[str], rules: Rules) -> None:
    out.append(raw_text(element, rules).upper())


def _cross_reference(element: Element, out: list[str], rules: Rules) -> None:
    kind, options = element.get("ref-type"), rules.options
    if (options.citations if kind in CITED else options.cross_references) == "keep" and kind not in FOOTNOTES:
        number = kind in CITED and not len(element) and _CITED_NUMBER.fullmatch(element.text or "")
        if number and _BEHIND_WORD.search(_last(out)):  # which the page raises
            out.append("^")
        inside(element, out, rules)
        return
    raw = raw_text(element, rules)
    if kind in CITED:
        raised = [child for child in element if local_name(child) == "sup"]
        mark = RAISED if raised and not (element.text or "").strip() else ""
        out.append(f"{OPEN}{mark}{raw}{CLOSE}")
    elif kind not in FOOTNOTES:
        out.append(f"{OPEN}{POINTED}{raw}{CLOSE}")
    else:
        out.append(raw if _WORD.search(raw) else GONE)


def _link(element: Element, out: list[str], rules: Rules) -> None:
    raw = raw_text(element, rules)
    is_address = rules.options.addresses == "drop" and _NAMED_ADDRESS.fullmatch(raw)
    out.append(GONE if is_address else raw)


def _named_content(element: Element, out: list[str], rules: Rules) -> None:
    if element.get("content-type") != "attribution":
        inside(element, out, rules)


def _formula(element: Element, out: list[str], rules: Rules) -> None:
    """One of a formula's forms: of `alternatives`, and of MathML beside TeX without them."""
    children = {local_name(child): child for child in reversed(element)}
    forms = [children[name] for name in FORMULA_CHOICE if name in children]
    if forms and (len(forms) > 1 or local_name(element) == "alternatives"):
        rules[forms[0].tag](forms[0], out, rules)
    else:
        inside(element, out, rules)


def _display_formula(element: Element, out: list[str], rules: Rules) -> None:
    out.append(" ")
    _formula(element, out, rules)
    out.append(" ")


def _math(element: Element, out: list[str], rules: Rules) -> None:
    out.append(math_text(element))


def _tex(element: Element, out: list[str], rules: Rules) -> None:
    out.append(tex_text("".join(element.itertext())))


def _list(element: Element, out: list[str], rules: Rules) -> None:
    """Items separated; labels that only the list's type implies are written out."""
    kind = element.get("list-type", "")
    number = 0
    out.append(" ")
    for child in element:
        name = local_name(child)
        if name == "list-item":
            number += 1
            if not any(local_name(part) == "label" for part in child):
                out.append(_implied_label(kind, number))
        if name:
            rules[child.tag](child, out, rules)
    out.append(" ")


def _implied_label(kind: str, number: int) -> str:
    letter = chr(ord("a") + (number - 1) % 26)
    label = {"alpha-upper": letter.upper(), "alpha-lower": letter, "order": f"{number}."}.get(kind)
    return f" {label} " if label else ""


BLOCKS = [
    "title", "list-item", "def-list", "def-item", "def", "term", "disp-quote", "disp-formula-group",
    "verse-group", "verse-line", "speech", "boxed-text", "statement", "caption", "break", "label",
    "subtitle", "AbstractText", "preformat", "license-p",
]  # fmt: skip
LEFT_OUT = [
    "alt-text", "long-desc", "object-id", "permissions", "attrib", "copyright-statement",
    "supplementary-material", "fig", "fig-group", "table-wrap", "table-wrap-group", "fn", "fn-group",
    "index-term", "rp", "rt", "def-head", "term-head", "sub-article", "response",
]  # fmt: skip
"""Not part of the text around them (ruby keeps its base)."""
PICTURES = [
    "graphic", "media", "inline-graphic", "inline-media", "private-char", "chem-struct",
]  # fmt: skip
_TABLE: dict[str, Rule] = {
    **dict.fromkeys(BLOCKS, _block),
    **dict.fromkeys(LEFT_OUT, _left_out),
    **dict.fromkeys(PICTURES, _picture),
    "p": paragraph,
    "sec": section,
    "sup": _superscript,
    "sub": _subscript,
    "sc": _small_capitals,
    "xref": _cross_reference,
    "ext-link": _link,
    "uri": _link,
    "email": _link,
    "named-content": _named_content,
    "alternatives": _formula,
    "inline-formula": _formula,
    "disp-formula": _display_formula,
    "math": _math,
    "tex-math": _tex,
    "textual-form": inside,
    "list": _list,
}
"""How each element reads; an element that is not here is transparent."""


@lru_cache
def rules_for(options: TextOptions) -> Rules:
    """The rules that write text by these options."""
    return Rules(_TABLE, options)


RULES = rules_for(TextOptions())
