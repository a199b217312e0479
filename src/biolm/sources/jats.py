"""A JATS (or NLM) article element as an `Article`."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache

from biolm.licences import UNKNOWN, licence_of_code, spdx_licence
from biolm.records import Article, Figure
from biolm.sources.abstracts import XML_LANG, abstracts_of
from biolm.sources.ids import content_hash, earliest_year, plain_doi, plain_pmcid, plain_pmid
from biolm.sources.options import TextOptions
from biolm.sources.text import rules_for, text_of, untitled
from biolm.sources.xml import PAPERS, Element, Unusable, local_name, words_of

OTHER_ARTICLES = ("sub-article", "response")
"""Articles inside the article: reviews, replies, translations. None of theirs is the article's."""
FIGURES = ("fig", "fig-group")
SUPPLEMENTS = ("supplementary-material", "media")
FILE_NOTE = re.compile(
    r"\s*\((?:[A-Z0-9]{2,5}|(?:Adobe|MS|Microsoft|Word|Excel|PDF|PowerPoint|MPEG|QuickTime)[\w ]{0,20})"
    r"(?:[;,]? ?[\d.,]+ ?(?:bytes|[kKMG]i?[bB]))?\)\.?$"
)
"""What a supplement's caption ends with: the format and size of its file."""
ONLY_A_FILE = re.compile(
    r"(?:(?:electronic )?(?:suppl\w*|supporting|additional|extended)[ .])?"
    r"(?:materials?|files?|information|data|data ?sets?|appendix|tables?|fig(?:ure|\.)?s?|movies?|videos?|audio|notes?|"
    r"methods?|text|source data|peer review file|review process file|reporting summary|transparent reporting form)?"
    r"(?: and (?:tables?|figures?|methods?))?(?-i:[\s\d.:,A-Z–-]{0,12})\W*",
    re.IGNORECASE,
)
"""A supplement's caption that says no more than that it is one: "Supplementary material 1"."""
NOT_PUBLISHED = frozenset(
    {
        "pmc-release",
        "nihms-submitted",
        "received",
        "accepted",
        "rev-recd",
        "rev-request",
        "retracted",
        "corrected",
        "correction",
        "preprint",
        "resubmitted",
    }
)
"""Types of `pub-date` that are not those of publication."""
RELATED = "related-article-type"
"""How an article is related to this one: "retraction-forward" is this one's retraction."""
XLINK_HREF = "{http://www.w3.org/1999/xlink}href"


CHANGED = frozenset({"corrected", "correction", "updated", "update", "retracted"})
"""Types of dates on which a published article was changed."""
NOTICES = frozenset({"retraction", "correction", "expression-of-concern"})
"""Types of articles about another: "Retracted: On cells" is the title of a notice too, which itself stands."""
RETRACTED = re.compile(r"\W*(?:retracted|withdrawn)(?: article| paper)?\s*:", re.IGNORECASE)
"""How the title of a retracted paper begins."""
Parts = defaultdict[str, list[Element]]
"""Elements by name, in their order."""
_DEFAULT = TextOptions()
_VERSION = re.compile(r"\.([0-9]{1,4})$")
_ARTICLE_VERSION = re.compile(r"[vV]?(?:[0-9]{1,4}\.)?([0-9]{1,4})")


def parse_article(root: Element, source: str, options: TextOptions = _DEFAULT) -> Article:
    """Read one article. `root`: its lxml element; `source`: where it was read. Missing parts stay empty.

    Raises Unusable where it has no `front`: other formats have an `article` too.
    """
    front = _first(root, "front")
    if front is None:
        raise Unusable("an <article> without <front>, so no JATS", PAPERS)
    meta = _first(front, "article-meta")
    meta = front if meta is None else meta  # a few old NLM files
    about = _parts(meta)
    language = root.get(XML_LANG)
    ids = [(element.get("pub-id-type"), words_of(element)) for element in about["article-id"]]
    pmid = _id(ids, plain_pmid, "pmid")
    pmcid = _id(ids, plain_pmcid, "pmcid", "pmc", "pmcid-ver")  # pmc-aiid counts deposits, not papers
    doi = _id(ids, plain_doi, "doi")
    title = _title(about["title-group"])
    kind = "-".join((root.get("article-type") or "").lower().split())
    said = _custom_meta(about["custom-meta-group"])
    related = about["related-article"]
    return Article(
        source=source,
        pmid=pmid,
        pmcid=pmcid,
        doi=doi,
        title=title,
        abstracts=abstracts_of(_children(meta, "abstract", "trans-abstract"), language, options),
        figures=tuple(_figures(root, options)),
        journal=_journal(_first(front, "journal-meta")),
        year=_year(about["pub-date"]),
        licence=_licence(about, said.get("pmc-license-ref", "")),
        language=language,
        content_hash="" if pmid or pmcid or doi else content_hash(root),
        version=_version(ids, about["article-version"]),
        manuscript=said.get("pmc-prop-manuscript") == "yes" or any(of == "manuscript" for of, _ in ids),
        retracted=kind not in NOTICES
        and (
            RETRACTED.match(title) is not None
            or any(one.get(RELATED) == "retraction-forward" for one in related)
        ),
        revised=_revised(about),
        retracts=tuple(_retracts(related)),
        types=(kind,) if kind else (),
    )


def _parts(element: Element | None) -> Parts:
    """The children of an element by their names."""
    parts: Parts = defaultdict(list)
    for child in () if element is None else element:
        parts[local_name(child)].append(child)
    return parts


def _version(ids: Sequence[tuple[str | None, str]], versions: Iterable[Element]) -> int:
    """The version in "PMC123.2", else in a preprint's article-version ("1.2", "2"); 0 where none is stated."""
    stated = [_VERSION.search(text) for kind, text in ids if kind == "pmcid-ver"]
    stated += [_ARTICLE_VERSION.fullmatch(words_of(element)) for element in versions]
    return next((int(found[1]) for found in stated if found), 0)


def _revised(about: Parts) -> int:
    """The latest day on which the published article was changed, as 20261123; 0 where none is stated."""
    dates = [
        *about["pub-date"],
        *(date for history in about["history"][:1] for date in _children(history, "date")),
    ]
    days = (
        [words_of(_first(date, name)) for name in ("year", "month", "day")]
        for date in dates
        if (date.get("date-type") or date.get("pub-type")) in CHANGED
    )
    numbers = ([int(part) if re.fullmatch("[0-9]{1,4}", part) else 0 for part in day] for day in days)
    return max((10_000 * year + 100 * month + day for year, month, day in numbers if year), default=0)


def _custom_meta(groups: Iterable[Element]) -> dict[str, str]:
    """What PMC says of the article beside what its publisher does, by name."""
    return {
        words_of(_first(element, "meta-name")): words_of(_first(element, "meta-value"))
        for group in groups
        for element in _children(group, "custom-meta")
    }


def _retracts(related: Iterable[Element]) -> Iterator[str]:
    """The papers that this one is the retraction notice of."""
    for element in related:
        if element.get(RELATED) == "retracted-article":
            if found := _address(element):
                yield found
            else:  # its ids inside it
                inner = (_address(child) for child in element.iter("{*}pub-id", "{*}ext-link"))
                yield from next(([address] for address in inner if address), [])


def _address(element: Element) -> str | None:
    """The paper that a link or id names, as "pmid:1", "pmcid:PMC1" or "doi:10.1/x"."""
    kind = element.get("ext-link-type") or element.get("pub-id-type") or ""
    text = element.get(XLINK_HREF) or (words_of(element) if local_name(element) == "pub-id" else "")
    if doi := plain_doi(text):
        return f"doi:{doi}"
    if kind in ("pmc", "pmcid") or text.upper().startswith("PMC"):
        pmcid = plain_pmcid(text)
        return f"pmcid:{pmcid}" if pmcid else None
    pmid = plain_pmid(text) if kind in ("pubmed", "pmid") else None
    return f"pmid:{pmid}" if pmid else None


def _children(element: Element | None, *names: str) -> Iterator[Element]:
    return iter(()) if element is None else element.iterchildren(*_any_space(names))


def _first(element: Element | None, *path: str) -> Element | None:
    for name in path:
        element = next(_children(element, name), None)
    return element


def _id(ids: Sequence[tuple[str | None, str]], plain: Callable[[str], str | None], *kinds: str) -> str | None:
    """The first id of the first kind that gives one."""
    for kind in kinds:
        for of, text in ids:
            if of == kind and (value := plain(text)):
                return value
    return None


def _title(groups: Sequence[Element]) -> str:
    """ "Title: subtitle"."""
    parts = _parts(next(iter(groups), None))
    title, subtitle = (text_of(next(iter(parts[name]), None)) for name in ("article-title", "subtitle"))
    if title and subtitle:
        return f"{title} {subtitle}" if title[-1] in ":.?!" else f"{title}: {subtitle}"
    return title or subtitle


def _journal(meta: Element | None) -> str | None:
    """Its full title, else the abbreviated one that PubMed uses."""
    about = _parts(meta)
    groups = about["journal-title-group"][:1]
    titles = [
        *(title for group in groups for title in _children(group, "journal-title")),
        *about["journal-title"],
    ]
    short = [e for e in about["journal-id"] if e.get("journal-id-type") in ("nlm-ta", "iso-abbrev")]
    return next(filter(None, map(text_of, (*titles, *short))), None)


def _year(dates: Iterable[Element]) -> int | None:
    """The earliest year of publication, in print, online or in a collection."""
    published = (
        date for date in dates if (date.get("pub-type") or date.get("date-type")) not in NOT_PUBLISHED
    )
    return earliest_year(words_of(year) for date in published for year in _children(date, "year"))


def _figures(root: Element, options: TextOptions) -> Iterator[Figure]:
    """Every figure with a legend, in document order; a group's caption is a legend of its own."""
    names = (*FIGURES, *(SUPPLEMENTS if options.supplementary else ()))
    rules = rules_for(options)
    look_up = not options.sub_articles and next(root.iter(*_any_space(OTHER_ARTICLES)), None) is not None
    for element in root.iter(*_any_space(names)):
        if look_up and any(local_name(ancestor) in OTHER_ARTICLES for ancestor in element.iterancestors()):
            continue
        parts = _parts(element)
        if not parts["caption"]:
            continue
        caption = parts["caption"][0]
        title, text = text_of(_first(caption, "title"), rules=rules), text_of(caption, untitled, rules)
        supplementary = local_name(element) in SUPPLEMENTS
        if supplementary:
            title, text = FILE_NOTE.sub("", title), FILE_NOTE.sub("", text)
        if (title or text) and not (supplementary and ONLY_A_FILE.fullmatch(f"{title} {text}".strip())):
            yield Figure(
                label=text_of(parts["label"][0], rules=rules) if parts["label"] else "",
                title=title,
                caption=text,
                supplementary=supplementary,
                rights=_rights(element) if "attrib" in parts or "permissions" in parts else None,
            )


@lru_cache
def _any_space(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names as lxml matches them in any namespace."""
    return tuple(f"{{*}}{name}" for name in names)


def _rights(figure: Element) -> str | None:
    """What the figure says of its rights, outside its caption."""
    said: list[Element] = []
    for child in _children(figure, "attrib", "permissions"):
        parts = list(_children(child, "copyright-statement", "license"))
        said += parts or [child]
    return " ".join(filter(None, map(text_of, said))) or None


def _licence(about: Parts, code: str) -> str:
    """Of its permissions, else by the `code` that PMC gives it."""
    permissions = next(iter(about["permissions"]), None)
    stated = _parts(permissions)
    found = [*stated["license"], *about["license"]]
    urls: list[str] = []
    for licence in found:
        urls.append(licence.get(XLINK_HREF, ""))
        urls += [words_of(element) for element in licence.iter("{*}license_ref")]
        urls += [element.get(XLINK_HREF, "") for element in licence.iter("{*}ext-link", "{*}uri")]
    # What lies in `permissions` itself: NISO's license_ref, and older papers' words on copyright.
    urls += [words_of(element) for element in stated["license_ref"]]
    words = found or [e for e in (permissions, *about["copyright-statement"]) if e is not None]
    kind = next((licence.get("license-type") for licence in found if licence.get("license-type")), "")
    found_licence = spdx_licence(urls, kind, " ".join(map(words_of, words)))
    return licence_of_code(code) if found_licence == UNKNOWN else found_licence
