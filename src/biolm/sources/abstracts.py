"""The abstracts of a JATS article: which one is the main one, and what is no part of any."""

import re
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache

from biolm.records import Abstract
from biolm.sources.options import TextOptions
from biolm.sources.text import Rules, paragraph, raw_text, rules_for, section, text_of, with_colon
from biolm.sources.xml import Element, local_name

XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_DEFAULT = TextOptions()
BESIDE = frozenset(
    {
        "graphical",
        "teaser",
        "toc",
        "precis",
        "author-highlights",
        "highlights",
        "key-points",
        "key-messages",
        "web-summary",
        "lay-summary",
        "plain-language-summary",
        "editor",
        "editors-summary",
        "translation",
    }
)
"""Types that never stand for the main abstract, not even where they are the only one."""
MAIN = frozenset({"normal", "main", "structured", "section", "sections", "abstract", "research"})
"""Types that say of the main abstract what it is."""
HEADED = {
    "graphical abstract": "graphical",
    "highlights": "author-highlights",
    "key points": "key-points",
    "author summary": "summary",
    "plain language summary": "plain-language-summary",
    "lay summary": "lay-summary",
}
"""Headings that tell the type of an abstract whose type is not given."""
RUN_IN = ("bold", "italic", "underline", "sc")
"""How a heading is set that runs in."""
_RUN_IN = re.compile(
    r"(?:background|context|introduction|importance|significance|rationale|aims?|purpose|objectives?|hypothesis|"
    r"(?:patients|subjects|materials?|design|setting|participants)?(?: and |, |/| / )?methods?|design|setting|"
    r"(?:main )?(?:results?|findings|outcomes?)|observations?|interpretation|discussion|conclusions?|keywords?)",
    re.IGNORECASE,
)
_IMPRINT = re.compile(
    r"\s+(?:[A-Z][^.©]{2,60}\. [0-9]+:[0-9]+[–-][0-9]+, [0-9]{4}\.?\s*)?"
    r"(?:Copyright )?©\s*(?:19|20)[0-9]{2}[^©]{0,200}$"
)


def abstracts_of(
    elements: Iterable[Element], article_language: str | None, options: TextOptions = _DEFAULT
) -> tuple[Abstract, ...]:
    """The abstracts with text, the main one first where there is one, the others in their order.

    Main is the longest of those without type, or with one that means no more than "abstract", in the
    article's language before any other; where there is none, the longest of a type that can stand for it
    ("executive-summary"). A `trans-abstract` never is.
    """
    rules = _abstract_rules(options)
    found = [abstract for element in elements if (abstract := _abstract(element, rules)).text]
    plain = [abstract for abstract in found if abstract.kind is None]
    own = [abstract for abstract in plain if abstract.language in (None, article_language)]
    standing = [abstract for abstract in found if abstract.kind not in BESIDE]
    main = max(own or plain or standing, key=lambda abstract: len(abstract.text), default=None)
    others = tuple(replace(other, kind=other.kind or "other") for other in found if other is not main)
    return (replace(main, kind=None), *others) if main else others


def without_imprint(text: str) -> str:
    """An abstract without the line that some journals end it with: their own citation, "© 2018 The Authors."."""
    return _IMPRINT.sub("", text) if "©" in text else text


def _abstract(element: Element, rules: Rules) -> Abstract:
    kind = element.get("abstract-type")
    kind = kind.lower() if kind else None
    if local_name(element) == "trans-abstract":
        kind = "translation"
    elif kind is None or kind in MAIN:
        heading = text_of(next((child for child in element if local_name(child) == "title"), None))
        kind = HEADED.get(heading.rstrip(":. ").lower())
    text = without_imprint(text_of(element, section, rules))
    return Abstract(text=text, kind=kind, language=element.get(XML_LANG))


def _abstract_paragraph(element: Element, out: list[str], rules: Rules) -> None:
    """A heading in bold or italics that runs in reads as a section's does."""
    first = element[0] if len(element) else None
    if first is not None and local_name(first) in RUN_IN and not (element.text or "").strip():
        heading, tail = text_of(first), (first.tail or "").lstrip()
        if _RUN_IN.fullmatch(heading) and tail[:1] not in ":.–—-":
            out += (" ", with_colon(heading), " ")
            out.append(raw_text(element, rules).lstrip()[len(raw_text(first, rules).strip()) :])
            return
    paragraph(element, out, rules)


@lru_cache
def _abstract_rules(options: TextOptions) -> Rules:
    return Rules({**rules_for(options), "p": _abstract_paragraph}, options)
