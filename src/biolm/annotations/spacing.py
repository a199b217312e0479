"""Words back into text: which of the gaps between split words were spaces.

Corpora in CoNLL layout were split at every punctuation mark, and do not say where a space stood. The rules below are
the typography of an abstract as PubMed prints it; each has its reason. They were chosen on the training part of
NCBI-disease, whose raw text is known, and `docs/annotations.md` has what they reach on the rest.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

_GAP = "\x1f"
"""Stands for a gap where the rules look at the words; written `_` in the rules themselves."""


@dataclass(frozen=True, slots=True)
class SpacingRule:
    """Gaps that a pattern finds: those in its groups where it has some, else those in all that it matches."""

    reason: str
    pattern: re.Pattern[str]
    is_space: bool
    """What such a gap is. A later rule overrules an earlier one."""


def _glue(reason: str, pattern: str) -> SpacingRule:
    return SpacingRule(reason, re.compile(pattern.replace("_", _GAP)), is_space=False)


def _keep(reason: str, pattern: str) -> SpacingRule:
    return SpacingRule(reason, re.compile(pattern.replace("_", _GAP)), is_space=True)


_PREPOSITION = r"(?:of|to|and|or|than|between|at|from|by|in|is|was|are|were|with|as)"
_BEFORE_MINUS = rf"(?:{_PREPOSITION[3:-1]}|CI)"
_BEFORE_QUOTE = r"(?:[a-z]*[a-rt-z]|[,:])"
_SHORT = r"(?:s|t|re|ve|ll|d|m)"
_QUOTED = rf"(?!{_SHORT}_)[^'\d]*_'_"
_LOCANT = r"(?:\d{1,2}|N|O|α|β)(?:_?['′])?"
_QUANTITY = r"(?:fold|years?|yr|days?|weeks?|wk|months?|hours?|hr|min|minutes?|points?|bp|kb|mg|ml|dose|week)"
_ION = r"(?:Na|K|H|Li|Rb|Cs|Ag|NH4|Ca|Mg|Zn|Cu|Fe|Mn|Co|Ni|Ca2|Mg2|Zn2|Cu2|Fe2|Fe3|Mn2|Co2|NAD|NADP|CD\d+)"

RULES: tuple[SpacingRule, ...] = (
    _glue("a mark that closes stands at the word before it", r"_(?=[.,;:?!%)\]}”’»…°′])"),
    _glue("a bracket or quote that opens stands at the word behind it", r"(?<=[(\[{“‘«])_"),
    _glue("hyphen and slash join what they stand between", r"_(?=[-‐‑–—/]_)|(?<=_[-‐‑–—/])_"),
    _glue("so does an underscore", r"_(?=\x5f_)|(?<=_\x5f)_"),
    _glue("signs that stand at their number or name", r"(?<=_[~∼$#@])_|_(?=[*®™]_)|(?<=_°)_(?=[CFK]_)"),
    _keep("a hyphen that hangs: 'intra- or extracellular', '2- to 5-fold'",
          r"(?<=_[-‐‑–])_(?=(?:and|or|to|nor|vs|versus|but)_(?![-‐‑–/]_))"),
    _keep("a minus, not a hyphen, behind '=', ',' or a preposition: 'r = -0.7', 'from -56'",
          rf"(?<=_[=<>≤≥,:±])_(?=[-–−]_\d)|(?<=_){_BEFORE_MINUS}(_)(?=[-–−]_\d)"),
    _glue("... and then it stands at its number", r"(?<=_−)_(?=\d)|(?<=[(\[=]_\+)_(?=\d)"),
    _glue("decimals and versions: '0.5', '17p11.2', 'EC 1.1.1.49'", r"(?<=\d)_[.·]_(?=\d)"),
    _glue("decimals without a zero: 'P = .05'", r"(?<=_[=<>≤≥~(\[]_\.)_(?=\d)"),
    _keep("... which are no ends of sentences", r"(?<=_[=<>≤≥])_(?=\._\d)"),
    _glue("'e.g.', 'i.p.'", r"(?<=_[a-z]_\.)_(?=[a-z]_\.)"),
    _glue("thousands: '10,000'", r"(?<=_)[1-9]\d{0,2}_,(_)(?=\d{3}_)|(?<=_,_\d{3}_,)_(?=\d{3}_)"),
    _glue("places in a molecule: '4,5-bisphosphate', 'N,N-dimethyl', \"2',4'-dihydroxy\"",
          rf"(?<=[_(]){_LOCANT}_,(_)(?=(?:{_LOCANT}_,_){{0,12}}{_LOCANT}_-_(?!{_QUANTITY}_)[a-z(]{{3}})"),
    _glue("'1,25(OH)2D3'", r"(?:(?<=_)\d{1,2}_,(_))?\d{1,2}(_)\(_OH_\)(_)(?:\d{1,2}(_)(?=D))?"),
    _glue("ratios and times: '1:1'", r"(?<=\d)_:_(?=\d)"),
    _glue("'gene(s)', '[14C]glucose'", r"_(?=\(_s_\))|(?<=_)\[_\d{1,3}[A-Z][a-z]?_\](_)(?=[a-z])"),
    _glue("quotes alternate: the first of two stands at the word behind it, the second at the one before",
          r'(?<=_)(?:"|``)(_)(?:[^"]*?)(_)(?:"|\'\')(?=_)'),
    _glue("an apostrophe or prime stands at the word before it: \"Wilms' tumour\", \"5' end\"", r"_(?='_)"),
    _keep("... unless it opens a quote, which another ends", rf"(?<=_){_BEFORE_QUOTE}(_)(?='_{_QUOTED})"),
    _glue("... and then it stands at the next word", rf"(?<=_){_BEFORE_QUOTE}_'(_)(?={_QUOTED})"),
    _glue("\"Knudson's\", \"don't\", also split as \"'s\" and \"n't\"",
          rf"(?<=_['’])_(?={_SHORT}_)|_(?='{_SHORT}_)|_(?=n['’]t_)"),
    _glue("arrows: 'A-->T'", r"(?<=[-=])_(?=>_)|(?<=-_>)_"),
    _keep("'+/-' and '-/-' are words: '5 +/- 2', 'Bax-/- mice'", r"(?<=_/_[-+])_(?![.,;:?!%)\]}/_-])"),
    _glue("... at the gene's name: 'Six5+/- mice'", r"(?<=_)\w{0,9}[A-Z]\w{0,9}(_)\+_/_[-+]_(?!\d)"),
    _glue("ions and cells: 'Na+', 'Ca2+', 'CD4+'", rf"(?<=_){_ION}(_)(?=\+_(?!\d))"),
)  # fmt: skip


def join_words(words: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """The text that words of one sentence stood in, and (start, end) of each: `text[start:end]` is the word.

    What cannot be told from the words is a space. Raises ValueError for an empty word.
    """
    if not all(words):
        raise ValueError("an empty word has no place in a text")
    line = _GAP.join(["", *(word.replace(_GAP, "_") for word in words), ""])
    gap_of = {start: number for number, start in enumerate(accumulate(len(word) + 1 for word in words))}
    is_space = [True] * len(words)
    for rule in RULES:
        for match in rule.pattern.finditer(line):
            groups = range(1, match.re.groups + 1)
            for group in [group for group in groups if match[group] is not None] or [0]:
                for place in range(*match.span(group)):
                    if line[place] == _GAP and place in gap_of:
                        is_space[gap_of[place]] = rule.is_space
    return _joined(words, is_space)


def spaced_words(words: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """The same with a space in every gap. Raises ValueError for an empty word."""
    if not all(words):
        raise ValueError("an empty word has no place in a text")
    return _joined(words, [True] * len(words))


def _joined(words: Sequence[str], is_space: Sequence[bool]) -> tuple[str, list[tuple[int, int]]]:
    pieces, spans, place = [], [], 0
    for number, word in enumerate(words):
        spans.append((place, place + len(word)))
        pieces.append(word)
        place += len(word)
        if is_space[number] and number + 1 < len(words):
            pieces.append(" ")
            place += 1
    return "".join(pieces), spans
