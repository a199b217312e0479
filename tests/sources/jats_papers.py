"""Small papers for the tests: JATS and PubMed XML around the part that a test is about."""

from lxml import etree

from biolm.records import Article
from biolm.sources.jats import parse_article
from biolm.sources.pubmed import parse_record
from biolm.sources.text import text_of
from biolm.sources.xml import parse_xml

SPACES = (
    'xmlns:xlink="http://www.w3.org/1999/xlink" xmlns:mml="http://www.w3.org/1998/Math/MathML" '
    'xmlns:ali="http://www.niso.org/schemas/ali/1.0/"'
)


def jats(
    meta: str = "", body: str = "", *, attributes: str = "", journal: str = "", after: str = ""
) -> bytes:
    """A JATS article with `meta` in its article-meta."""
    return (
        f"<article {SPACES} {attributes}><front><journal-meta>{journal}</journal-meta>"
        f"<article-meta>{meta}</article-meta></front><body>{body}</body>{after}</article>"
    ).encode()


def article(meta: str = "", body: str = "", **parts: str) -> Article:
    return parse_article(parse_xml(jats(meta, body, **parts)), "paper.xml")


def pubmed(article: str = "", *, citation: str = "", data: str = "", pmid: str = "7") -> str:
    """A PubmedArticle."""
    return (
        f'<PubmedArticle><MedlineCitation><PMID Version="1">{pmid}</PMID><Article>{article}</Article>{citation}'
        f"</MedlineCitation><PubmedData>{data}</PubmedData></PubmedArticle>"
    )


def pubmed_set(*records: str) -> bytes:
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE PubmedArticleSet PUBLIC "-//NLM//DTD PubMedArticle, '
        '1st January 2019//EN" "https://dtd.nlm.nih.gov/ncbi/pubmed/out/pubmed_190101.dtd">\n'
        f"<PubmedArticleSet>\n{chr(10).join(records)}\n</PubmedArticleSet>\n"
    ).encode()


def record(article: str = "", **parts: str) -> Article:
    return parse_record(parse_xml(pubmed(article, **parts).encode()), "pubmed.xml.gz#7")


def text(xml: str) -> str:
    """The text of a paragraph with this inside."""
    return text_of(etree.fromstring(f"<p {SPACES}>{xml}</p>"))


def formula(xml: str) -> str:
    """The text of a paragraph with this MathML, written without prefix, inside."""
    return text(f'<math xmlns="http://www.w3.org/1998/Math/MathML">{xml}</math>')
