"""A PubMed record that is read by its bytes gives what its elements give, or is left to them."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jats_papers import pubmed_set

from biolm.records import Abstract, Article, Deletion, Unreadable
from biolm.sources import read_source
from biolm.sources.options import TextOptions
from biolm.sources.pubmed_plain import plain_article, plain_records
from biolm.sources.xml import Unusable, parse_xml

RECORD = """<PubmedArticle>
  <MedlineCitation Status="MEDLINE" Owner="NLM">
    <PMID Version="2">17</PMID>
    <DateCompleted><Year>2000</Year><Month>04</Month><Day>25</Day></DateCompleted>
    <DateRevised><Year>2021</Year><Month>06</Month><Day>07</Day></DateRevised>
    <Article PubModel="Print">
      <Journal><ISSN IssnType="Print">0960-9822</ISSN>
        <JournalIssue CitedMedium="Print"><Volume>10</Volume><Issue>4</Issue>
          <PubDate><Year>2000</Year><Month>Feb</Month><Day>24</Day></PubDate></JournalIssue>
        <Title>Cells &amp; genes</Title><ISOAbbreviation>Cells Genes</ISOAbbreviation></Journal>
      <ArticleTitle>[A <i>title</i> of 10<sup>6</sup>.]</ArticleTitle>
      <Pagination><StartPage>1</StartPage><MedlinePgn>1-9</MedlinePgn></Pagination>
      <ELocationID EIdType="doi" ValidYN="Y">10.1000/elsewhere</ELocationID>
      <Abstract>
        <AbstractText Label="AIM" NlmCategory="OBJECTIVE">To &lt;see&gt;  α&amp;β.</AbstractText>
        <AbstractText>Seen &alpha; &#946;.</AbstractText>
        <CopyrightInformation>© Us</CopyrightInformation></Abstract>
      <AuthorList CompleteYN="Y"><Author ValidYN="Y"><LastName>Doe</LastName></Author></AuthorList>
      <Language>eng</Language><Language>fre</Language>
      <GrantList CompleteYN="Y"><Grant><GrantID>1</GrantID></Grant></GrantList>
      <PublicationTypeList><PublicationType UI="D016428">Journal Article</PublicationType>
        <PublicationType UI="D1">Retracted Publication</PublicationType></PublicationTypeList>
      <VernacularTitle>Ein Titel</VernacularTitle>
      <ArticleDate DateType="Electronic"><Year>1999</Year><Month>12</Month><Day>31</Day></ArticleDate>
    </Article>
    <MedlineJournalInfo><Country>England</Country><MedlineTA>Cells</MedlineTA></MedlineJournalInfo>
    <MeshHeadingList><MeshHeading><DescriptorName UI="D1">Cells</DescriptorName></MeshHeading></MeshHeadingList>
  </MedlineCitation>
  <PubmedData>
    <History><PubMedPubDate PubStatus="pubmed"><Year>2000</Year></PubMedPubDate></History>
    <PublicationStatus>ppublish</PublicationStatus>
    <ArticleIdList><ArticleId IdType="pubmed">17</ArticleId><ArticleId IdType="doi">10.1000/A&lt;1&gt;</ArticleId>
      <ArticleId IdType="pmc">PMC12</ArticleId></ArticleIdList>
    <ReferenceList><Reference><Citation>Ref</Citation>
      <ArticleIdList><ArticleId IdType="pubmed">99</ArticleId></ArticleIdList></Reference></ReferenceList>
  </PubmedData>
</PubmedArticle>"""
TOKENS = re.findall(r"<[^>]*>|[^<]+", RECORD)
SNIPPETS = [
    "<!-- x -->", "<!-- <Language>ger</Language> -->", "<?x y?>", "<?x <Language>ger</Language>?>", "<![CDATA[a]]>",
    "<![CDATA[</PubmedArticle>]]>", "<Language>ger</Language>", "<PMID>5</PMID>", "<Abstract/>", "<i>x</i>", "text",
    "<OtherAbstract Type='P' Language='spa'><AbstractText>Otro.</AbstractText></OtherAbstract>",
    "<CommentsCorrections RefType='RetractionIn'><PMID>4</PMID></CommentsCorrections>", "&nbsp;", "&#1;", "&amp;",
    "<ArticleIdList><ArticleId IdType='doi'>10.1000/other</ArticleId></ArticleIdList>", "<AuthorList></AuthorList>",
    '<PublicationType UI="a>b">Review</PublicationType>', "<PublicationType UI='a>b'>Review</PublicationType>",
    '<ArticleId IdType="doi">10.1000/second</ArticleId>', '<AbstractText Label="A>B">x</AbstractText>', "\x01", "\n\n",
    "<AuthorList>", "</AuthorList>", "<Title>", "</Abstract>", "</PubmedArticle>", "<PubmedArticle>", "<", "&", ">",
    "\udcff", "<!--", "-->",
]  # fmt: skip
EDIT = st.tuples(st.integers(0, len(TOKENS) - 1), st.sampled_from([None, *SNIPPETS]))


def edited(edits: list[tuple[int, str | None]], pmid: int) -> str:
    """The record with tokens left out (None), or with something before them."""
    tokens = list(TOKENS)
    for place, snippet in edits:
        tokens[place] = "" if snippet is None else snippet + tokens[place]
    return "".join(tokens).replace(">17<", f">{pmid}<")


def read(folder: Path, data: bytes) -> list[Article | Unreadable | Deletion]:
    path = folder / "a.xml"
    path.write_bytes(data)
    return list(read_source(path))


def encoded(*records: str) -> bytes:
    return pubmed_set(*(record.replace("\udcff", "\x00") for record in records)).replace(b"\x00", b"\xff")


def is_well_formed(data: bytes) -> bool:
    try:
        parse_xml(data)
    except Unusable:
        return False
    return b"\x01" not in data and b"\xff" not in data


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plain")


@settings(max_examples=500, deadline=None)
@given(st.lists(EDIT, max_size=4), st.lists(EDIT, max_size=2))
def test_a_record_gives_the_same_by_its_bytes_and_by_its_elements(folder: Path, first, second):
    data = encoded(edited(first, 17), edited(second, 18), edited([], 19))
    found = read(folder, data)
    if is_well_formed(data):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("biolm.sources.read.plain_records", lambda run: None)
            assert found == read(folder, data)
    elif not any("!" in (snippet or "") for _, snippet in [*first, *second]):
        assert isinstance(found[-1], Article)  # a broken record does not take its neighbours along
        assert found[-1].pmid == "19"


def test_books_and_deletions_among_records_are_read_in_their_order(tmp_path: Path):
    book = "<PubmedBookArticle><BookDocument><PMID>3</PMID></BookDocument></PubmedBookArticle>"
    deletion = "<DeleteCitation><PMID>4</PMID></DeleteCitation>"
    found = read(tmp_path, pubmed_set(RECORD, book, RECORD.replace(">17<", ">5<"), deletion))
    assert [getattr(record, "pmid", None) for record in found] == ["17", "3", "5", None]
    assert found[-1] == Deletion(source="a.xml", pmids=("4",))


def same_both_ways(folder: Path, data: bytes) -> list[Article | Unreadable | Deletion]:
    found = read(folder, data)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("biolm.sources.read.plain_records", lambda run: None)
        assert found == read(folder, data)
    return found


def numbered(number: int) -> str:
    return RECORD.replace(">17<", f">{number}<").replace("10.1000/A", f"10.1000/{number}")


@pytest.mark.parametrize(
    ("data", "titles"),
    [
        (numbered(1) + numbered(2).replace("<PubmedArticle>", "<PubmedArticle\n>") + numbered(3), 3),
        (numbered(1) + "</PubmedArticle>" + numbered(2), 2),
        (numbered(1).replace("Seen ", "</AbstractText >\n<AbstractText>Then "), 1),
        (numbered(1).replace("[A <i>title</i> of 10<sup>6</sup>.]", "(author's transl)"), 1),
        (numbered(1).replace('Label="AIM"', 'Label="A\x01IM"').replace("10.1000/1", "10.1000/\x011"), 1),
    ],
)
def test_odd_records_are_the_same_both_ways(tmp_path: Path, data: str, titles: int):
    found = same_both_ways(tmp_path, pubmed_set(data))
    assert sum(isinstance(record, Article) for record in found) == titles


def test_what_was_lost_between_two_records_does_not_make_one_of_both(tmp_path: Path):
    one, two = numbered(1), numbered(2)
    for place in range(one.index("<Language>"), one.index("</MedlineCitation>"), 7):
        damaged = one[:place] + two[two.index("</MedlineCitation>", 0) - 3 :]
        for record in read(tmp_path, pubmed_set(damaged, numbered(3))):
            assert not (isinstance(record, Article) and record.pmid == "1" and record.doi != "10.1000/1<1>")


def plain(record: str) -> Article | None:
    run = record.encode(errors="surrogateescape")
    bounds = plain_records(run)
    if bounds is None:
        return None
    ((start, end),) = bounds
    return plain_article(run, start, end, "a.xml", TextOptions(), lambda data: [parse_xml(data)])


def test_what_a_record_says_is_read():
    assert plain(RECORD) == Article(
        source="a.xml#17",
        pmid="17",
        pmcid="PMC12",
        doi="10.1000/a<1>",
        title="A title of 10^6.",
        abstracts=(Abstract(text="AIM: To <see> α&β. Seen α β.", language="en"),),
        journal="Cells & genes",
        year=1999,
        language="en",
        form="pubmed",
        version=2,
        revised=20210607,
        retracted=True,
        types=("journal-article", "retracted-publication"),
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<Abstract>.*</Abstract>", ""), ("<AuthorList.*</AuthorList>", ""), ("<DateRevised>.*</DateRevised>", ""),
        ("<ELocationID.*?</ELocationID>", ""), ("<GrantList.*</GrantList>", ""), ("<History>.*</History>", ""),
        (r"<Year>2000</Year><Month>Feb</Month><Day>24</Day>", "<MedlineDate>1998 Dec-1999 Jan</MedlineDate>"),
        (">\\s+<", "><"), ("Doe", "<?x y?>"), ("<ReferenceList>.*</ReferenceList>", ""), (' NlmCategory="\\w+"', ""),
    ],
)  # fmt: skip
def test_usual_records_are_read_by_their_bytes(before: str, after: str):
    changed = re.sub(before, after, RECORD, count=0, flags=re.DOTALL)
    assert changed != RECORD
    assert plain(changed) is not None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<Journal>", "<!-- x --><Journal>"), ("\\[A.*\\.\\]", " "), (">To ", ">T\x02o "), ("Seen", "Se\udcffen"),
        ("Seen", "<i>Seen"), ("Seen", "&unknown;"), ("<MedlineJournalInfo>", "<OtherAbstract/><MedlineJournalInfo>"),
        ("<MeshHeadingList>", "<X RefType='RetractionIn'/><MeshHeadingList>"), ('"doi">10[^<]*', '"doi">none'),
        ("</Language>", "</Language><X/>"), ("</AuthorList>", "</AuthorLists>"), (">17</PMID>", ">0</PMID>"),
        ("<PublicationStatus>", "<ReferenceList/><PublicationStatus>"), ('Label="AIM"', 'Label="A&amp;M"'),
        ("</PubmedArticle>", "</PubmedArticle>x"), ("<PubmedData>", "<PubmedArticle><PubmedData>"),
        ("</PubmedArticle>", ""), ("<AuthorList", "<?x <y>?><AuthorList"), (' UI="D1"', ' UI="D>1"'), ("D016428", 'D"'),
    ],
)  # fmt: skip
def test_unusual_records_are_left_to_their_elements(before: str, after: str):
    changed = re.sub(before, after, RECORD, count=1, flags=re.DOTALL)
    assert changed != RECORD
    assert plain(changed) is None
