"""Any bytes give articles, Unreadable or InputError, and nothing else."""

import gzip
import io
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jats_papers import jats, pubmed, pubmed_set
from test_sources_read import tar_of

from biolm.errors import InputError
from biolm.records import Article, Unreadable
from biolm.sources import read_source
from biolm.sources.xml import Unusable, parse_xml

PAPER = jats(
    '<article-id pub-id-type="doi">10.1371/x</article-id><abstract><sec><title>Aim</title><p>10<sup>6</sup> &amp; '
    '<xref ref-type="bibr">[1]</xref></p></sec></abstract><permissions><license license-type="CC BY"/></permissions>',
    "<fig><label>1</label><caption><title>T</title><p><mml:math><mml:mi>x</mml:mi></mml:math></p></caption></fig>",
)


def zip_bytes() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.xml", PAPER)
        archive.writestr("b.xml.gz", gzip.compress(PAPER, mtime=0))
    return packed.getvalue()


DOCUMENTS = {
    "jats.xml": PAPER,
    "jats.xml.gz": gzip.compress(PAPER, mtime=0),
    "bundle.xml": b"<articles>" + PAPER + PAPER + b"</articles>",
    "pubmed.xml": pubmed_set(pubmed("<ArticleTitle>[A].</ArticleTitle>"), pubmed("<Language>ger</Language>")),
    "bulk.tar": tar_of({"a.xml": PAPER, "b.xml": PAPER}),
    "bulk.tar.gz": gzip.compress(tar_of({"a.xml": PAPER, "b.xml": PAPER}), mtime=0),
    "wheel.zip": zip_bytes(),
}


def outcome(name: str, data: bytes) -> list[Article | Unreadable] | InputError:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(data)
        try:
            named: list[Article | Unreadable] | InputError = list(read_source(path))
        except InputError as error:
            assert "\n" not in str(error)  # noqa: PT017
            named = error
        if not name.endswith(".zip"):
            list(read_source(path.parent))  # inside a folder, nothing raises
    return named


@pytest.mark.parametrize("name", DOCUMENTS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_truncation_never_escapes(name: str, data: st.DataObject):
    whole = DOCUMENTS[name]
    cut = data.draw(st.integers(0, len(whole) - 1))
    found = outcome(name, whole[:cut])
    if name in ("jats.xml", "jats.xml.gz", "bulk.tar.gz", "wheel.zip"):
        assert isinstance(found, InputError)


@pytest.mark.parametrize("name", DOCUMENTS)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_corruption_never_escapes(name: str, data: st.DataObject):
    whole = bytearray(DOCUMENTS[name])
    for place, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), min_size=1, max_size=6)
    ):
        whole[place] = value
    outcome(name, bytes(whole))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(DOCUMENTS)), st.binary(max_size=200))
def test_noise_never_escapes(name: str, noise: bytes):
    assert isinstance(outcome(name, noise), InputError)


def with_doctype(subset: str, text: str) -> bytes:
    return (f"<!DOCTYPE article [{subset}]>").encode() + PAPER.replace(b"10<sup>6</sup>", text.encode())


def test_entities_that_multiply_are_never_expanded():
    doubling = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    with pytest.raises(Unusable, match="entity"):
        parse_xml(with_doctype(f'<!ENTITY l0 "lol">{doubling}', "&l11;"))


def test_no_file_and_no_address_is_ever_read(tmp_path: Path):
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    for target in (secret.as_uri(), "http://localhost:9/x"):
        with pytest.raises(Unusable):
            parse_xml(with_doctype(f'<!ENTITY x SYSTEM "{target}">', "&x;"))
        parse_xml(f'<!DOCTYPE article SYSTEM "{target}"><article/>'.encode())
        parse_xml(f'<!DOCTYPE article [<!ENTITY % p SYSTEM "{target}"> %p;]><article/>'.encode())


def test_named_entities_are_known_without_a_dtd():
    xml = "<p>a&nbsp;b &alpha;&rsquo;s &lt;&amp;&gt; <![CDATA[&nbsp;]]></p>"
    for doctype in ("", '<!DOCTYPE p SYSTEM "journalpublishing.dtd">'):
        assert parse_xml((doctype + xml).encode()).text == "a\xa0b α’s <&> &nbsp;"
    with pytest.raises(Unusable):
        parse_xml(b"<p>&notanentity;</p>")
    with pytest.raises(Unusable, match="&notanentity; is not known"):
        parse_xml(b'<!DOCTYPE p SYSTEM "x.dtd"><p>&notanentity;</p>')


def test_control_bytes_and_bare_ampersands_are_repaired():
    assert parse_xml(b"<p>Johnson & Johnson\x19s &amp; R&D</p>").text == "Johnson & Johnsons & R&D"


@pytest.mark.parametrize("tag", ["sup", "list", "sec", "xref ref-type='bibr'", "mml:mrow"])
def test_deep_nesting_is_an_article_or_unusable(tag: str):
    for depth in (100, 230, 5000):
        deep = f"<{tag}>" * depth + "x" + f"</{tag.split()[0]}>" * depth
        found = outcome(
            "a.xml", PAPER.replace(b"10<sup>6</sup>", f"<mml:math>{deep}</mml:math>{deep}".encode())
        )
        assert depth < 200 or isinstance(found, InputError | list)


def test_many_citations_take_linear_time():
    cited = '<xref ref-type="bibr">1</xref>,' * 20_000
    found = outcome("a.xml", PAPER.replace(b"10<sup>6</sup>", f"[<sup>{cited} x</sup> [{cited} y".encode()))
    assert isinstance(found, list)


def test_latin_1_and_utf_16_are_read():
    for encoding in ("iso-8859-1", "utf-16"):
        xml = f"<?xml version='1.0' encoding='{encoding}'?>{PAPER.decode().replace('Aim', 'Zélé')}"
        found = outcome("a.xml", xml.encode(encoding))
        assert isinstance(found, list)
        assert isinstance(found[0], Article)
        assert found[0].abstracts[0].text.startswith("Zélé: ")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-16-le"])
def test_bundles_in_utf_16_are_read(encoding: str):
    papers = PAPER.decode().replace("Aim", "Zélé &alpha;") * 2
    declared = f"<?xml version='1.0' encoding='utf-16'?>\n<articles>{papers}</articles>"
    found = outcome("bundle.xml", declared.encode(encoding))
    assert isinstance(found, list)
    assert [one.abstracts[0].text[:7] for one in found if isinstance(one, Article)] == ["Zélé α:"] * 2
    cut = outcome("bundle.xml", declared.encode(encoding)[:-1])
    assert isinstance(cut, InputError)
