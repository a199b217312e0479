"""What is taken out of JATS and PubMed records."""

import pytest

from biolm.records import Article
from biolm.sources.jats import parse_article
from biolm.sources.licence import spdx_licence
from biolm.sources.pubmed import parse_record
from biolm.sources.xml import parse_xml


def jats(meta: str = "", body: str = "", back: str = "", journal: str = "", root: str = "") -> Article:
    data = (
        f"<article {root} xmlns:xlink='http://www.w3.org/1999/xlink'><front><journal-meta>{journal}</journal-meta>"
        f"<article-meta>{meta}</article-meta></front><body>{body}</body><back>{back}</back></article>"
    )
    return parse_article(parse_xml(data.encode()), "test.xml")


def main_abstract(meta: str) -> str:
    return jats(meta).abstracts[0].text


def test_ids_are_normalized():
    article = jats(
        '<article-id pub-id-type="pmcid">1234</article-id><article-id pub-id-type="pmid">77</article-id>'
        '<article-id pub-id-type="doi">https://doi.org/10.1371/Journal.PCBI.1</article-id>'
    )
    assert (article.pmcid, article.pmid, article.doi) == ("PMC1234", "77", "10.1371/journal.pcbi.1")
    assert jats('<article-id pub-id-type="pmc">PMC9</article-id>').pmcid == "PMC9"


def test_an_article_without_ids_is_known_by_its_content():
    one, other = jats("<abstract><p>One.</p></abstract>"), jats("<abstract><p>Other.</p></abstract>")
    assert len(one.content_hash) == 64
    assert one.content_hash == jats("<abstract><p>One.</p></abstract>").content_hash
    assert one.content_hash != other.content_hash


def test_a_default_namespace_and_old_roots_are_read():
    data = (
        b'<article xmlns="http://jats.nlm.nih.gov"><front><article-meta><abstract><p>Text.</p></abstract>'
        b"</article-meta></front><body><fig><caption><p>Legend.</p></caption></fig></body></article>"
    )
    article = parse_article(parse_xml(data), "x")
    assert article.abstracts[0].text == "Text."
    assert article.figures[0].caption == "Legend."


def test_a_structured_abstract_keeps_its_headings_with_a_colon():
    text = main_abstract(
        "<abstract><title>Abstract</title><sec><title>Background</title><p>Deficiency.</p></sec>"
        "<sec><title>Results:</title><p>Found.</p><p>More.</p></sec></abstract>"
    )
    assert text == "Background: Deficiency. Results: Found. More."


def test_an_abstracts_own_heading_goes_unless_it_says_something():
    assert main_abstract("<abstract><title>ABSTRACT</title><p>Text.</p></abstract>") == "Text."
    assert main_abstract("<abstract><title>Summary</title><p>Text.</p></abstract>") == "Text."
    key = "<abstract><title>Main conclusion</title><p>Text.</p></abstract>"
    assert main_abstract(key) == "Main conclusion: Text."


def test_a_boilerplate_section_goes_and_paragraphs_beside_it_stay():
    text = main_abstract(
        "<abstract><p>The finding.</p><sec><title>Electronic supplementary material</title>"
        "<p>The online version contains…</p></sec></abstract>"
    )
    assert text == "The finding."


def test_the_main_abstract_is_found_whatever_its_place():
    article = jats(
        '<abstract abstract-type="precis"><p>Short.</p></abstract><abstract><p>The real one.</p></abstract>'
        '<abstract abstract-type="graphical"><p><fig><caption><p>Drawing.</p></caption></fig></p></abstract>'
        '<trans-abstract xml:lang="de"><p>Der echte.</p></trans-abstract>'
    )
    assert [(a.kind, a.text) for a in article.abstracts] == [
        (None, "The real one."),
        ("precis", "Short."),
        ("translation", "Der echte."),
    ]
    assert article.abstracts[2].language == "de"
    assert article.figures == ()


def test_the_only_abstract_is_the_main_one_though_it_carries_a_type():
    article = jats('<abstract abstract-type="executive-summary"><p>All there is.</p></abstract>')
    assert [(a.kind, a.text) for a in article.abstracts] == [(None, "All there is.")]


def test_a_graphical_abstract_alone_is_not_a_main_one():
    article = jats('<abstract abstract-type="graphical"><p>See the picture.</p></abstract>')
    assert [a.kind for a in article.abstracts] == ["graphical"]


def test_figures_keep_label_title_and_caption_apart():
    (figure,) = jats(
        body="<p>As in<fig id='f1'><object-id>10.1/x.g001</object-id><label>Figure 1</label><caption>"
        "<title>Growth.</title><p>(A) Frequency.</p><p>(B) Mass.</p></caption><alt-text>Fig. 1</alt-text>"
        "<graphic/><attrib>Source: FAOSTAT.</attrib><permissions>Copyright</permissions></fig> shown.</p>"
    ).figures
    assert (figure.label, figure.title, figure.caption) == ("Figure 1", "Growth.", "(A) Frequency. (B) Mass.")


def test_figures_are_found_once_wherever_they_stand_and_not_in_other_articles():
    def figure(name: str) -> str:
        return f"<fig><caption><p>{name}</p></caption></fig>"

    data = (
        "<article><front><article-meta/></front>"
        f"<body><sec>{figure('in a section')}<p>{figure('in a paragraph')}</p></sec>"
        f"<fig-group><caption><p>the group</p></caption>{figure('in a group')}</fig-group>"
        f"<boxed-text>{figure('in a box')}</boxed-text></body>"
        f"<back><app-group><app>{figure('in an appendix')}</app></app-group></back>"
        f"<floats-group>{figure('floating')}</floats-group>"
        f"<sub-article><body>{figure('of the reviewers')}</body></sub-article>"
        f"<response><body>{figure('of the authors')}</body></response></article>"
    )
    found = parse_article(parse_xml(data.encode()), "x").figures
    assert [f.caption for f in found] == [
        *("in a section", "in a paragraph", "the group", "in a group", "in a box"),
        *("in an appendix", "floating"),
    ]


def test_a_figure_without_words_and_a_supplement_are_no_legends():
    article = jats(
        body="<fig><label>Image 1</label><graphic/></fig><fig><label>Figure 2</label><caption><p>Real.</p></caption>"
        "<supplementary-material><caption><p>Click here for additional data file.</p></caption>"
        "</supplementary-material></fig>"
    )
    assert [(f.label, f.caption) for f in article.figures] == [("Figure 2", "Real.")]


def test_year_is_the_earliest_of_publication():
    dates = (
        '<pub-date pub-type="pmc-release"><year>2001</year></pub-date>'
        '<pub-date pub-type="ppub"><year>2011</year></pub-date><pub-date date-type="pub"><year>2010</year></pub-date>'
    )
    assert jats(dates).year == 2010
    assert jats("").year is None


def test_journal_and_language():
    grouped = "<journal-title-group><journal-title>J. Tests</journal-title></journal-title-group>"
    assert jats(journal=grouped, root="xml:lang='fr'").journal == "J. Tests"
    assert jats(journal="<journal-title>Old</journal-title>").journal == "Old"
    assert jats(root="xml:lang='fr'").language == "fr"


@pytest.mark.parametrize(
    ("urls", "kind", "text", "expected"),
    [
        (["https://creativecommons.org/licenses/by/4.0/"], "open-access", "", "CC-BY-4.0"),
        (["http://creativecommons.org/license/by/4.0"], "", "", "CC-BY-4.0"),
        (["", "http://creativecommons.org/licenses/by-nc-nd/3.0/"], "", "", "CC-BY-NC-ND-3.0"),
        (
            [
                "http://creativecommons.org/licenses/by/4.0/",
                "http://creativecommons.org/publicdomain/zero/1.0/",
            ],
            "",
            "applies to the data",
            "CC-BY-4.0",
        ),
        (["http://creativecommons.org/publicdomain/zero/1.0/"], "", "", "CC0-1.0"),
        ([], "", "(http://creativecommons.org/licenses/by/2.0)", "CC-BY-2.0"),
        ([], "", "under the Creative Commons Attribution License, which permits", "CC-BY"),
        ([], "", "Creative Commons Attribution-NonCommercial-NoDerivs 4.0 International", "CC-BY-NC-ND-4.0"),
        ([], "creativeCommonsBy", "", "CC-BY"),
        ([], "OpenAccess", "All rights reserved.", "unknown"),
    ],
)
def test_licences_become_spdx_ids(urls: list[str], kind: str, text: str, expected: str):
    assert spdx_licence(urls, kind, text) == expected


def pubmed(article: str = "", citation: str = "", data: str = "", pmid: str = "123") -> Article:
    xml = (
        f"<PubmedArticle><MedlineCitation><PMID>{pmid}</PMID><Article>{article}</Article>{citation}"
        f"</MedlineCitation><PubmedData>{data}</PubmedData></PubmedArticle>"
    )
    return parse_record(parse_xml(xml.encode()), "file.xml.gz")


def test_pubmed_ids_are_the_records_own_not_its_references():
    article = pubmed(
        data='<ArticleIdList><ArticleId IdType="doi">10.1/A</ArticleId><ArticleId IdType="pmc">PMC5</ArticleId>'
        "</ArticleIdList><ReferenceList><Reference><ArticleIdList><ArticleId IdType='doi'>10.9/other</ArticleId>"
        "</ArticleIdList></Reference></ReferenceList>"
    )
    assert (article.pmid, article.pmcid, article.source) == ("123", "PMC5", "file.xml.gz#123")
    assert article.doi is None  # a registrant's code has at least four digits


def test_pubmed_labels_become_headings_and_markup_is_not_cut():
    article = pubmed(
        "<Abstract><AbstractText Label='AIM'>PGD<sub>2</sub> levels <i>in vivo</i>.</AbstractText>"
        "<AbstractText>Plain.</AbstractText><AbstractText Label='LEVEL OF EVIDENCE: 4'/>"
        "<CopyrightInformation>© 2020</CopyrightInformation></Abstract>"
    )
    assert article.abstracts[0].text == "AIM: PGD2 levels in vivo. Plain. LEVEL OF EVIDENCE: 4"


def test_pubmeds_note_of_truncation_goes():
    article = pubmed(
        "<Abstract><AbstractText>phenomena observed.(ABSTRACT TRUNCATED AT 250 WORDS)</AbstractText></Abstract>"
    )
    assert article.abstracts[0].text == "phenomena observed."


def test_other_abstracts_are_behind_the_main_one_with_type_and_language():
    article = pubmed(
        "<Abstract><AbstractText>Main.</AbstractText></Abstract>",
        "<OtherAbstract Type='Publisher' Language='ger'><AbstractText>Deutsch.</AbstractText></OtherAbstract>",
    )
    assert [(a.kind, a.language, a.text) for a in article.abstracts] == [
        (None, "en", "Main."),
        ("publisher", "de", "Deutsch."),
    ]


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("[The pineal body].", "The pineal body."),
        ("[On cells (author's transl)].", "On cells."),
        ("Effects of [3H]thymidine.", "Effects of [3H]thymidine."),
    ],
)
def test_translated_titles_are_unwrapped(title: str, expected: str):
    assert pubmed(f"<ArticleTitle>{title}</ArticleTitle>").title == expected


def test_pubmed_year_journal_language():
    article = pubmed(
        "<Journal><Title>Cell tests</Title><JournalIssue><PubDate><MedlineDate>1976 Jan-Feb</MedlineDate></PubDate>"
        "</JournalIssue></Journal><Language>fre</Language>"
    )
    assert (article.year, article.journal, article.language) == (1976, "Cell tests", "fr")
