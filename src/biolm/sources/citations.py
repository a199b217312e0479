"""What leaves a text with the brackets and commas that only it needs: citations, cross-references, pictures.

Dropped: a superscript of nothing but citations; a bracket of nothing but citations ("[1, 3–5]", "(Smith
2010; Wu 2011)", "(see Wu 2011)"), names before a linked year among them, or such a part of one between semicolons
("(Fig. 2; Wu 2011)" keeps Fig. 2); a short number set directly behind a word, which the page raises.
Kept: a citation that is a word of its sentence ("in ref. 4", "data from [5]", "as Wu et al. 2011 found"), one in a
bracket with other words ("(measured by Wu 2011)"), and a bracket behind a value ("= 4 [1–8]"), which is its range.
Cross-references, where they are dropped, follow the same rules.

The walk over the elements puts marks around a citation and where a picture was; `without_citations` then
sees the whole line.
"""

import re
from collections.abc import Callable

OPEN, CLOSE, GONE, RAISED, POINTED, PICTURE = "\x01", "\x02", "\x03", "\x04", "\x05", "\x06"
"""Begin and end of a citation; something left out; first in a citation that the page raises; first in a
cross-reference that goes as citations do; a picture left out. XML can hold none of these characters."""

_REACH = 3
"""A space, a sign and a space stand between a word and a mark at most, since spaces are single by then."""
_SPACES = re.compile(r"\s+")
_CITED = rf"{OPEN}[^{OPEN}{CLOSE}]*{CLOSE}"
_BETWEEN = rf"(?:[\s,;–—−‐-]|and\b|&|{GONE})*"
_LEAD = r"(?:\s*(?:see(?: also)?|e\.g\.|cf\.|reviewed (?:in|by)|shown in|available (?:at|from)|accessed)[,:]?\s)?\s*"
_LOWER = "a-zß-öø-ÿ"
_SURNAME = rf"[^\W\d_{_LOWER}](?:[^\W\d_{_LOWER}]|['’‐-])*+[{_LOWER}](?:[^\W\d_]|['’‐-])*+"
_PARTICLE = r"(?:de|del|der|den|des|dos|du|da|di|la|le|van|von|ter|ten)(?!\w)"
_BESIDE_NAME = rf"(?:{_SURNAME}|{_PARTICLE}|et al\b\.?|and\b|&|(?:[^\W\d_{_LOWER}]\.-?)+)"
_BY_NAME = (
    rf"(?-i:(?:{_PARTICLE}\s)*+{_SURNAME}(?:,?\s{_BESIDE_NAME})*+,?\s?{OPEN}\s*(?:19|20)\d\d[a-z]?\s*{CLOSE})"
)
"""Authors in front of a year that alone is linked: "Lo Presti et al., 2015"; an acronym is no author."""
_RAISED = re.compile(rf"{OPEN}{RAISED}([^{CLOSE}]*){CLOSE}")
_ONLY = re.compile(rf"(?:[\s,;–—−‐\[\]()-]++|{GONE}|{_CITED})++")
_NAMED = re.compile(rf"\b(?:refs?|references?|numbers?)\.?,?\s*{OPEN}?$", re.IGNORECASE)
_GOVERNED = re.compile(
    r"(?:\b(?:of|from|in|by|to|with|than|see|and|after|as|at|between|following|on|per|under|using|via)|"
    r"[=≈]\s?[\d.·]{1,8})\s$",
    re.IGNORECASE,
)
_OWN_BRACKETS = re.compile(rf"{OPEN}\s*(?:\[[^][{CLOSE}]*\]|\([^(){CLOSE}]*\))\s*{CLOSE}")
_POINTER = (
    r"(?:(?:supplementary|supplemental|suppl?\.?|additional|supporting|extended data)\s+)?"
    r"(?:(?:fig(?:ure|\.)?s?|tables?|tab|files?|videos?|movies?|materials?|eqs?|equations?|panels?|schemes?|"
    r"sections?|appendix|text|data|box|datasets?)\.?\s*)?"
)
_PANELS = r"\s*[A-Za-z]?(?:\s*(?:,|and|&|–|-)\s*[A-Za-z])*(?=\s*(?:[,;)\]]|$))"
_POINTS = rf"{_POINTER}{OPEN}{POINTED}[^{OPEN}{CLOSE}]*{CLOSE}{_PANELS}(?:\s+fig(?:ure)?s?\b)?"
_PART = re.compile(
    rf"{_LEAD}(?:{_POINTS}|{_BY_NAME}|{_CITED})(?:{_BETWEEN}(?:{_POINTS}|{_BY_NAME}|{_CITED}))*[\s,]*",
    re.IGNORECASE,
)
_POINTS_FIRST = re.compile(rf"{_LEAD}{_POINTS}(?:{_BETWEEN}{_POINTS})*\s*,\s*", re.IGNORECASE)
_POINTS_LAST = re.compile(rf"\s*,{_LEAD}{_POINTS}(?:{_BETWEEN}{_POINTS})*\s*$", re.IGNORECASE)
_BRACKETS = re.compile(
    rf"([\[(])((?:[^][(){OPEN}{CLOSE}]|\[[^][(){OPEN}{CLOSE}]*\])*+{_CITED}(?:[^][(){OPEN}{CLOSE}]|{_CITED})*+)([\])])"
)
_WORDED = re.compile(rf"{OPEN}[^{POINTED}]")
_PIECES = re.compile(rf"({_CITED})|;")
_NUMBER = rf"{OPEN}\s*\d{{1,3}}[a-z]?\s*{CLOSE}"
_BEHIND = re.compile(
    rf"(?<=[^\W_])[.,;:)\]”\"]?(?:[,–-]?{_NUMBER})+|"
    rf"(?<=[.,;:)\]])(?<!{CLOSE}[,;]){_NUMBER}(?:[,–-]?{_NUMBER})*"
)
_LEGEND_KEY = re.compile(rf"(^|[.;:,(\[])\s*{PICTURE}\s*[,:=]\s*")
_SEVERAL = re.compile(rf"{GONE}(?:[\s,;–—−‐-]*{GONE})+")
_EMPTY_BRACKETS = re.compile(rf"[\[(]{_LEAD}{_POINTER}{GONE}[\s,;]*[\])]", re.IGNORECASE)
_LAST_IN_BRACKETS = re.compile(rf"\s*[,;]?\s*{GONE}\s*(?=[\])])")
_FIRST_IN_BRACKETS = re.compile(rf"(?<=[\[(])\s*{GONE}\s*[,;]?\s*")
_ENDING = re.compile(
    rf"(?<=\.)\s*{GONE}\s*\.(?!\w)|\s*[,;]?\s*{GONE}(?=\s*(?:[.,;:)\]](?!\w)|$))|\s+{GONE}(?=\s)|{GONE}"
)


def is_citation_only(raw: str) -> bool:
    """Whether a marked text holds citations or footnote marks, and nothing but what separates them."""
    return (OPEN in raw or GONE in raw) and _ONLY.fullmatch(raw) is not None


def without_citations(raw: str) -> str:
    """A marked text without its citations, and without marks."""
    if OPEN in raw:
        raw = _outermost(_SPACES.sub(" ", raw))
        if RAISED in raw:
            raw = _RAISED.sub(_drop_raised, raw)
        raw = _OWN_BRACKETS.sub(_drop_own_brackets, raw)
        raw = _BRACKETS.sub(_drop_brackets, raw)
        if OPEN in raw:  # what lies in brackets is gone by now
            raw = _sub_at(OPEN, _BEHIND, _drop_behind, raw)
        raw = raw.replace(OPEN, "").replace(CLOSE, "").replace(POINTED, "")
    if PICTURE in raw:
        raw = _LEGEND_KEY.sub(lambda match: match[1] + " " * (match[1] not in "(["), raw)
        raw = raw.replace(PICTURE, GONE)
    if GONE in raw:
        raw = _SPACES.sub(" ", raw)
        raw = _SEVERAL.sub(GONE, raw)
        raw = _EMPTY_BRACKETS.sub(GONE, raw)
        raw = _SEVERAL.sub(GONE, raw)
        for pattern in (_LAST_IN_BRACKETS, _FIRST_IN_BRACKETS, _ENDING):
            raw = _sub_at(GONE, pattern, lambda _: "", raw)
    return raw


def _sub_at(mark: str, pattern: re.Pattern[str], write: Callable[[re.Match[str]], str], raw: str) -> str:
    """`pattern.sub`, eight times as fast, of one whose matches begin _REACH characters or less before a mark."""
    out: list[str] = []
    done, place = 0, raw.find(mark)
    while place >= 0:
        starts = range(max(done, place - _REACH), place + 1)
        found = next(filter(None, (pattern.match(raw, start) for start in starts)), None)
        if found:
            out += (raw[done : found.start()], write(found))
            done = found.end()
        place = raw.find(mark, max(done, place + 1))
    return "".join((*out, raw[done:])) if out else raw


def _outermost(raw: str) -> str:
    """Citations inside citations, and raised ones inside raised ones, marked once."""
    out: list[str] = []
    depth = 0
    for piece in re.split(f"([{OPEN}{CLOSE}])", raw):
        if piece == CLOSE:
            depth -= 1
        if piece not in (OPEN, CLOSE):
            begins = out and out[-1] == OPEN
            out.append(piece if begins else piece.replace(RAISED, "").replace(POINTED, ""))
        elif depth == 0:
            out.append(piece)
        if piece == OPEN:
            depth += 1
    return "".join(out)


def _drop_raised(match: re.Match[str]) -> str:
    return match[1] if _named(match) else GONE


def _drop_own_brackets(match: re.Match[str]) -> str:
    return match[0] if _is_word(match) else GONE


def _drop_brackets(match: re.Match[str]) -> str:
    """A bracket without those of its parts that are nothing but citations."""
    if _is_word(match):
        return match[0]
    parts = [part for part in _parts(match[2]) if not _PART.fullmatch(part)]
    if any(_WORDED.search(part) for part in parts):
        return match[0]
    if POINTED in match[2]:
        parts = [_POINTS_LAST.sub("", _POINTS_FIRST.sub("", part)) for part in parts]
    kept = ";".join(parts).strip()
    return f"{match[1]}{kept}{match[3]}" if kept else GONE


def _parts(inside: str) -> list[str]:
    """The parts of a bracket between semicolons outside citations."""
    parts, start = [], 0
    for found in _PIECES.finditer(inside):
        if found[1] is None:
            parts.append(inside[start : found.start()])
            start = found.end()
    return [*parts, inside[start:]]


def _drop_behind(match: re.Match[str]) -> str:
    return match[0] if _named(match) else match[0].partition(OPEN)[0].rstrip("–-") + GONE


def _is_word(match: re.Match[str]) -> bool:
    """Whether the sentence needs the bracket: "data from [5]", "in refs. [5]"."""
    governed = _GOVERNED.search(match.string, max(0, match.start() - 12), match.start())
    return governed is not None or _named(match)


def _named(match: re.Match[str]) -> bool:
    """Whether "ref." or the like stands before it, so that the number is a word of the sentence."""
    return _NAMED.search(match.string, max(0, match.start() - 20), match.start() + 1) is not None
