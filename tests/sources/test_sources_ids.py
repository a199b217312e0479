"""Which version of a paper it is, whether it was retracted, and what it retracts."""

import pytest
from jats_papers import article, pubmed_set, record

from biolm.records import Deletion
from biolm.sources import read_source
from biolm.sources.pubmed import parse_record
from biolm.sources.xml import parse_xml


def related(kind: str, inner: str = "", **attributes: str) -> str:
    written = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
    return f'<related-article related-article-type="{kind}"{written}>{inner}</related-article>'


def titled(title: str) -> str:
    return f"<title-group><article-title>{title}</article-title></title-group>"


def custom(name: str, value: str) -> str:
    meta = f"<custom-meta><meta-name>{name}</meta-name><meta-value>{value}</meta-value></custom-meta>"
    return f"<custom-meta-group>{meta}</custom-meta-group>"


def test_version_and_manuscript_are_what_pmc_says():
    assert article('<article-id pub-id-type="pmcid-ver">PMC42.3</article-id>').version == 3
    assert article('<article-id pub-id-type="pmcid">PMC42</article-id>').version == 0
    assert article('<article-id pub-id-type="manuscript">NIHMS1</article-id>').manuscript
    assert article(custom("pmc-prop-manuscript", "yes")).manuscript
    assert not article(custom("pmc-prop-manuscript", "no")).manuscript


def test_the_last_change_after_publication_is_the_revision():
    date = '<date date-type="{}"><day>7</day><month>3</month><year>{}</year></date>'.format
    history = date("received", 2022) + date("corrected", 2020) + date("updated", 2019)
    assert article(f"<history>{history}</history>").revised == 20200307
    assert article("<pub-date pub-type='retracted'><year>2021</year></pub-date>").revised == 20210000
    assert article("<pub-date pub-type='epub'><year>2021</year></pub-date>").revised == 0


def test_pmcs_licence_code_counts_where_the_paper_states_none():
    assert article(custom("pmc-license-ref", "CC BY-NC")).licence == "CC-BY-NC"
    assert article(custom("pmc-license-ref", "TDM")).licence == "LicenseRef-TDM"
    stated = '<permissions><license license-type="CC BY"/></permissions>'
    assert article(stated + custom("pmc-license-ref", "TDM")).licence == "CC-BY"


@pytest.mark.parametrize(
    ("meta", "attributes", "retracted"),
    [
        (titled("RETRACTED ARTICLE: On cells"), "", True),
        (titled("Retracted: On cells"), 'article-type="research-article"', True),
        (titled("WITHDRAWN: On cells"), "", True),
        (titled("Retracted: On cells"), 'article-type="retraction"', False),
        (titled("Retracted papers: a survey"), "", False),
        (related("retraction-forward"), "", True),
        (related("retraction-forward"), 'article-type="retraction"', False),
        (related("retracted-article"), "", False),
        (related("correction-forward"), "", False),
    ],
)
def test_a_retracted_paper_is_marked_and_its_notice_is_not(meta: str, attributes: str, retracted: bool):
    assert article(meta, attributes=attributes).retracted is retracted


@pytest.mark.parametrize(
    ("link", "names"),
    [
        ({"ext_link_type": "doi", "xlink:href": "https://doi.org/10.1371/X"}, ("doi:10.1371/x",)),
        ({"ext_link_type": "pubmed", "xlink:href": "123"}, ("pmid:123",)),
        ({"ext_link_type": "pmc", "xlink:href": "123"}, ("pmcid:PMC123",)),
        ({"ext_link_type": "pmc", "xlink:href": "PMC123"}, ("pmcid:PMC123",)),
        ({"xlink:href": "10.1371/X"}, ("doi:10.1371/x",)),
        ({"xlink:href": "123"}, ()),
        ({"inner": '<pub-id pub-id-type="pmid">9</pub-id>'}, ("pmid:9",)),
    ],
)
def test_a_notice_names_what_it_retracts(link: dict[str, str], names: tuple[str, ...]):
    assert (
        article(related("retracted-article", **link), attributes='article-type="retraction"').retracts
        == names
    )


def test_types_are_lower_case_with_hyphens():
    assert article(attributes='article-type="Research Article"').types == ("research-article",)
    types = "<PublicationType>Journal Article</PublicationType><PublicationType>Review</PublicationType>"
    found = record(f"<PublicationTypeList>{types}</PublicationTypeList>")
    assert (found.types, found.form, article().form) == (("journal-article", "review"), "pubmed", "jats")


def test_pubmed_says_version_revision_and_retraction():
    comments = (
        '<CommentsCorrectionsList><CommentsCorrections RefType="{}"><RefSource>x</RefSource><PMID>5</PMID>'
        "</CommentsCorrections></CommentsCorrectionsList>"
    ).format
    revised = "<DateRevised><Year>2021</Year><Month>03</Month><Day>7</Day></DateRevised>"
    found = record(citation=comments("RetractionIn") + revised)
    assert (found.version, found.revised, found.retracted, found.retracts) == (1, 20210307, True, ())
    found = record(citation=comments("RetractionOf"))
    assert (found.revised, found.retracted, found.retracts) == (0, False, ("pmid:5",))
    assert not record(citation=comments("Cites")).retracted
    marked = (
        "<PublicationTypeList><PublicationType>Retracted Publication</PublicationType></PublicationTypeList>"
    )
    assert record(marked).retracted
    notice = marked.replace("Retracted Publication", "Retraction of Publication")
    assert not record(notice).retracted


def test_withdrawn_pmids_are_given_where_they_stand(tmp_path):
    path = tmp_path / "pubmed21n1298.xml"
    path.write_bytes(pubmed_set("<DeleteCitation><PMID>5</PMID><PMID Version='1'>6</PMID></DeleteCitation>"))
    assert list(read_source(path)) == [Deletion(source="pubmed21n1298.xml", pmids=("5", "6"))]


def test_a_chapter_of_a_book_is_an_article(tmp_path):
    book = (
        "<PubmedBookArticle><BookDocument><PMID Version='1'>8</PMID><Book><PubDate><Year>1993</Year></PubDate></Book>"
        "<ArticleTitle>Gene</ArticleTitle><Abstract><AbstractText>Text.</AbstractText></Abstract></BookDocument>"
        "<PubmedBookData><ArticleIdList><ArticleId IdType='doi'>10.1371/b</ArticleId></ArticleIdList></PubmedBookData>"
        "</PubmedBookArticle>"
    )
    path = tmp_path / "books.xml"
    path.write_bytes(pubmed_set(book, book.replace(">8<", ">9<")))
    found = [(one.pmid, one.doi, one.year, one.title) for one in read_source(path)]
    assert found == [("8", "10.1371/b", 1993, "Gene"), ("9", "10.1371/b", 1993, "Gene")]


def test_a_whole_book_has_its_own_title_and_its_types_without_a_list():
    book = parse_xml(
        b"<PubmedBookArticle><BookDocument><PMID>8</PMID><Book><BookTitle>Genes &amp; <i>cells</i></BookTitle></Book>"
        b"<PublicationType UI='D1'>Review</PublicationType><PublicationType>Study Guide</PublicationType>"
        b"<Abstract><AbstractText>Text.</AbstractText></Abstract></BookDocument></PubmedBookArticle>"
    )
    found = parse_record(book, "a.xml#8")
    assert (found.title, found.types) == ("Genes & cells", ("review", "study-guide"))
