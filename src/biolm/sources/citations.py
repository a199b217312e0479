"""Citations of the reference list, taken out of a text with the brackets and commas that only they need.

Dropped: a superscript of nothing but citations; a bracket of nothing but citations ("[1, 3–5]", "(Smith
2010; Wu 2011)", "(see Wu 2011)"); a short number set directly behind a word, which the page raises.
Kept: a citation that is a word of its sentence ("in ref. 4", "data from [5]", "as Wu et al. 2011 found"), and
one in a bracket with other words ("(measured by Wu 2011)").

The walk over the elements puts marks around a citation and where a picture was; `without_citations` then
sees the whole line.
"""

import re

OPEN, CLOSE, GONE, RAISED = "\x01", "\x02", "\x03", "\x04"
"""Begin and end of a citation; something left out; first in a citation that the page raises. XML can hold
none of these characters."""

_SPACES = re.compile(r"\s+")
_CITED = rf"{OPEN}[^{OPEN}{CLOSE}]*{CLOSE}"
_BETWEEN = rf"(?:[\s,;–—−‐-]|and\b|&|{GONE})*"
_LEAD = r"(?:\s*(?:see(?: also)?|e\.g\.|cf\.|reviewed (?:in|by)),?\s)?\s*"
_RAISED = re.compile(rf"{OPEN}{RAISED}([^{CLOSE}]*){CLOSE}")
_ONLY = re.compile(rf"(?:[\s,;–—−‐\[\]()-]++|{_CITED})++")
_NAMED = re.compile(rf"\b(?:refs?|references?|numbers?)\.?,?\s*{OPEN}?$", re.IGNORECASE)
_GOVERNED = re.compile(r"\b(?:of|from|in|by|to|with|than|see|and)\s$", re.IGNORECASE)
_OWN_BRACKETS = re.compile(rf"{OPEN}\s*(?:\[[^][{CLOSE}]*\]|\([^(){CLOSE}]*\))\s*{CLOSE}")
_BRACKETS = re.compile(rf"[\[(]{_LEAD}{_CITED}(?:{_BETWEEN}{_CITED})*[\s,;]*[\])]")
_NUMBER = rf"{OPEN}\s*\d{{1,3}}[a-z]?\s*{CLOSE}"
_BEHIND = re.compile(
    rf"(?<=[^\W_])[.,;:)\]”\"]?(?:[,–-]?{_NUMBER})+|(?<=[.,;:)\]]){_NUMBER}(?:[,–-]?{_NUMBER})*"
)
_SEVERAL = re.compile(rf"{GONE}(?:[\s,;–—−‐-]*{GONE})+")
_POINTER = (
    r"(?:(?:supplementary|suppl?\.?|additional)\s+)?"
    r"(?:fig(?:ure|\.)?s?\.?|tables?|files?|videos?|movies?|materials?)\s*"
)
_EMPTY_BRACKETS = re.compile(rf"[\[(]{_LEAD}(?:{_POINTER})?{GONE}[\s,;]*[\])]", re.IGNORECASE)
_LAST_IN_BRACKETS = re.compile(rf"\s*[,;]?\s*{GONE}\s*(?=[\])])")
_FIRST_IN_BRACKETS = re.compile(rf"(?<=[\[(])\s*{GONE}\s*[,;]?\s*")
_GONE_WITH_SPACE = re.compile(rf"(?<=\.){GONE}\.|\s+{GONE}(?=[\s.,;:)\]]|$)|{GONE}")


def is_citation_only(raw: str) -> bool:
    """Whether a marked text holds citations and nothing but what separates them."""
    return OPEN in raw and _ONLY.fullmatch(raw) is not None


def without_citations(raw: str) -> str:
    """A marked text without its citations, and without marks."""
    if OPEN in raw:
        raw = _outermost(_SPACES.sub(" ", raw))
        raw = _RAISED.sub(_drop_raised, raw)
        raw = _OWN_BRACKETS.sub(_drop_brackets, raw)
        raw = _BRACKETS.sub(_drop_brackets, raw)
        raw = _BEHIND.sub(_drop_behind, raw)
        raw = raw.replace(OPEN, "").replace(CLOSE, "")
    if GONE in raw:
        raw = _SPACES.sub(" ", raw)
        raw = _SEVERAL.sub(GONE, raw)
        raw = _EMPTY_BRACKETS.sub(GONE, raw)
        raw = _SEVERAL.sub(GONE, raw)
        raw = _FIRST_IN_BRACKETS.sub("", _LAST_IN_BRACKETS.sub("", raw))
        raw = _GONE_WITH_SPACE.sub("", raw)
    return raw


def _outermost(raw: str) -> str:
    """Citations inside citations, and raised ones inside raised ones, marked once."""
    out: list[str] = []
    depth = 0
    for piece in re.split(f"([{OPEN}{CLOSE}])", raw):
        if piece == CLOSE:
            depth -= 1
        if piece not in (OPEN, CLOSE):
            out.append(piece if out and out[-1] == OPEN else piece.replace(RAISED, ""))
        elif depth == 0:
            out.append(piece)
        if piece == OPEN:
            depth += 1
    return "".join(out)


def _drop_raised(match: re.Match[str]) -> str:
    return match[1] if _named(match) else GONE


def _drop_brackets(match: re.Match[str]) -> str:
    governed = _GOVERNED.search(match.string, max(0, match.start() - 10), match.start())
    return match[0] if governed or _named(match) else GONE


def _drop_behind(match: re.Match[str]) -> str:
    return match[0] if _named(match) else match[0].partition(OPEN)[0].rstrip("–-") + GONE


def _named(match: re.Match[str]) -> bool:
    """Whether "ref." or the like stands before it, so that the number is a word of the sentence."""
    return _NAMED.search(match.string, max(0, match.start() - 20), match.start() + 1) is not None
