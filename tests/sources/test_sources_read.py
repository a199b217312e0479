import gzip
import io
import os
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jats_papers import jats, pubmed, pubmed_set

from biolm.errors import InputError
from biolm.records import Article, Unreadable
from biolm.sources import read_source
from biolm.sources.split import Records
from biolm.sources.xml import Unusable, root_of

PAPER = jats('<article-id pub-id-type="pmc">1</article-id><abstract><p>One.</p></abstract>')
PUBMED = pubmed_set(
    *(pubmed(f"<ArticleTitle>{number}</ArticleTitle>", pmid=str(number)) for number in range(1, 6))
)


def read(path: Path, members: Iterable[str] | None = None) -> list[str]:
    """The sources of what is read, those of the unreadable in brackets."""
    found = read_source(path, None if members is None else list(members))
    return [one.source if isinstance(one, Article) else f"[{one.source}: {one.reason}]" for one in found]


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def tar_of(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


def zip_of(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize("name", ["a.xml", "a.nxml", "a.xml.gz", "a.nxml.gz"])
def test_the_root_tells_the_format_not_the_name(tmp_path: Path, name: str):
    assert read(write(tmp_path / name, PAPER)) == [name]
    assert read(write(tmp_path / name, PUBMED)) == [f"{name}#{number}" for number in range(1, 6)]


def test_folder_is_read_in_order_and_its_bad_files_are_set_aside(tmp_path: Path):
    folder = tmp_path / "papers"
    write(folder / "b.xml", PAPER)
    write(folder / "a/deep/c.nxml.gz", PAPER)
    write(folder / "bad.xml", b"<article><front>")
    write(folder / "html.xml", b"<html/>")
    write(folder / "notes.txt", b"none")
    write(folder / "pack.tar.gz", tar_of({"x/PMC1.xml": PAPER}))
    found = read(folder)
    assert [source for source in found if not source.startswith("[")] == [
        "papers/a/deep/c.nxml.gz",
        "papers/b.xml",
        "papers/pack.tar.gz/x/PMC1.xml",
    ]
    assert "[papers/html.xml: its root is <html>, which is neither JATS nor PubMed]" in found
    assert any(source.startswith("[papers/bad.xml: broken XML: ") for source in found)


def test_links_that_are_not_followed_are_counted(tmp_path: Path):
    outside = write(tmp_path / "outside/a.xml", PAPER)
    write(tmp_path / "papers/b.xml", PAPER)
    (tmp_path / "papers/link.xml").symlink_to(outside)
    (tmp_path / "papers/folder").symlink_to(outside.parent)
    (tmp_path / "papers/loop.xml").symlink_to("loop.xml")
    (tmp_path / "papers/gone.xml").symlink_to("nowhere.xml")
    (tmp_path / "papers/up").symlink_to(".")
    (tmp_path / "papers/inside.xml").symlink_to("b.xml")
    os.mkfifo(tmp_path / "papers/pipe.xml")
    assert read(tmp_path / "papers") == [
        "papers/b.xml",
        "[papers/folder: a link out of the folder, which is not followed]",
        "[papers/gone.xml: a link that leads nowhere]",
        "papers/inside.xml",
        "[papers/link.xml: a link out of the folder, which is not followed]",
        "[papers/loop.xml: a link that leads nowhere]",
        "[papers/pipe.xml: neither a file nor a folder]",
        "[papers/up: a link to a folder, which is not followed]",
    ]


def test_tar_is_streamed_in_its_order(tmp_path: Path):
    members = {"x/b.xml": PAPER, "x/readme.txt": b"no", "x/a.nxml": b"<broken", "./c.xml": PAPER}
    for name in ("bulk.tar", "bulk.tar.gz"):
        found = read(write(tmp_path / name, tar_of(members)))
        assert [found[0], found[2]] == [f"{name}/x/b.xml", f"{name}/c.xml"]
        assert found[1].startswith(f"[{name}/x/a.nxml: broken XML: ") or found[1].startswith(
            f"[{name}/x/a.nxml: not XML"
        )
        assert read(tmp_path / name, ["./c.xml"]) == [f"{name}/c.xml"]


def test_links_and_devices_in_a_tar_are_passed_over(tmp_path: Path):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, kind in (
            ("a.xml", tarfile.SYMTYPE),
            ("b.xml", tarfile.CHRTYPE),
            ("c.xml", tarfile.LNKTYPE),
        ):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "/etc/hostname"
            archive.addfile(entry)
    with pytest.raises(InputError, match=r"holds no file ending in \.xml"):
        read(write(tmp_path / "a.tar", packed.getvalue()))


def test_zip_is_read_by_members(tmp_path: Path):
    members = {
        "data/a.xml.gz": gzip.compress(PUBMED),
        "data/b.nxml": PAPER,
        "code.py": b"1",
        "bad.xml": b"<x",
    }
    path = zip_of(tmp_path / "papers.whl", members)
    assert read(path, ["data/b.nxml"]) == ["papers.whl/data/b.nxml"]
    assert read(path)[0].startswith("[papers.whl/bad.xml: ")
    assert read(path)[1:] == [
        *(f"papers.whl/data/a.xml.gz#{n}" for n in range(1, 6)),
        "papers.whl/data/b.nxml",
    ]
    assert read(path, ["data/b.nxml", "gone.xml"])[1] == "[papers.whl/gone.xml: not in the archive]"
    with pytest.raises(InputError, match="holds none of the members"):
        read(path, ["gone.xml"])


def test_a_damaged_zip_member_is_alone(tmp_path: Path):
    path = zip_of(tmp_path / "a.zip", {"a.xml": PAPER, "b.xml": PAPER})
    data = bytearray(path.read_bytes())
    data[60:70] = b"\xff" * 10
    path.write_bytes(data)
    first, second = read(path)
    assert first.startswith("[a.zip/a.xml: damaged")
    assert second == "a.zip/b.xml"


@pytest.mark.parametrize("root", ["articles", "pmc-articleset", 'articles xmlns="http://jats.nlm.nih.gov"'])
def test_a_bad_article_does_not_take_its_bundle_along(tmp_path: Path, root: str):
    name = root.split()[0]
    bundle = b"<%s>%s\n<!-- x -->%s%s</%s>" % (
        root.encode(),
        PAPER,
        PAPER.replace(b"</abstract>", b""),
        PAPER,
        name.encode(),
    )
    found = list(read_source(write(tmp_path / "bundle.xml", bundle)))
    assert [one.source for one in found] == ["bundle.xml#1", "bundle.xml#2", "bundle.xml#3"]
    assert [type(one) for one in found] == [Article, Unreadable, Article]
    assert all(one.pmcid == "PMC1" and one.abstracts for one in found if isinstance(one, Article))


def test_a_bundle_hands_its_namespaces_and_encoding_down(tmp_path: Path):
    inside = (
        "<j:article><j:front><j:article-meta><j:title-group><j:article-title>é &amp; <m:math><m:mi>x</m:mi></m:math>"
        "</j:article-title></j:title-group></j:article-meta></j:front></j:article>"
    )
    bundle = (
        '<?xml version="1.0" encoding="ISO-8859-1"?><j:articles xmlns:j="http://j" '
        f'xmlns:m="http://www.w3.org/1998/Math/MathML">{inside}</j:articles>'
    )
    (found,) = read_source(write(tmp_path / "b.xml", bundle.encode("iso-8859-1")))
    assert isinstance(found, Article)
    assert found.title == "é & x"


@given(st.integers(1, 200), st.integers(1, 2000))
def test_records_do_not_depend_on_how_the_file_is_cut(size: int, run_bytes: int):
    chunks = [PUBMED[start : start + size] for start in range(0, len(PUBMED), size)]
    runs = Records(root_of(iter([PUBMED])), iter(chunks), ("PubmedArticle",), run_bytes)
    records = [record for run in runs for record in runs.split(run)]
    assert len(records) == 5
    assert all(one.startswith(b"<PubmedArticle>") and one.endswith(b"</PubmedArticle>") for one in records)


def test_a_truncated_gzip_gives_what_was_whole_and_then_its_reason(tmp_path: Path):
    records = [
        pubmed(f"<ArticleTitle>{os.urandom(400).hex()}</ArticleTitle>", pmid=str(n)) for n in range(1, 600)
    ]
    path = write(tmp_path / "papers/p.xml.gz", pubmed_set(*records))
    path.write_bytes(path.read_bytes()[:-4000])
    found = list(read_source(path.parent))
    assert len(found) > 400
    assert [one for one in found if isinstance(one, Unreadable)] == [
        Unreadable(source="papers/p.xml.gz", reason="cut off: its data end too early")
    ]
    with pytest.raises(InputError, match="cut off"):
        list(read_source(path))


def test_a_member_beyond_the_bound_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for module in ("archives", "read", "split"):
        monkeypatch.setattr(f"biolm.sources.{module}.MAX_RECORD_BYTES", 1 << 20)
    large = PAPER.replace(b"One.", b"One." * (1 << 19))
    found = read(write(tmp_path / "a.tar", tar_of({"large.xml": large, "b.xml": PAPER})))
    assert found[0].startswith("[a.tar/large.xml: larger than")
    assert found[1] == "a.tar/b.xml"
    with pytest.raises(InputError, match="larger than 1 MiB"):
        read(write(tmp_path / "large.xml.gz", large))
    with pytest.raises(InputError, match="a record of more than 1 MiB"):
        read(write(tmp_path / "bundle.xml", b"<articles>" + large + b"</articles>"))


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.xml", b"", "not XML: it is empty"),
        ("a.xml", b"<?xml version='1.0'?>\n<!-- x -->", "not XML"),
        ("a.xml", b"\x89PNG\r\n", "not XML"),
        ("a.xml", b"<html><p>x</p></html>", "its root is <html>, which is neither JATS nor PubMed"),
        ("a.xml", b"<article><front></article>", "broken XML"),
        ("a.xml", b"<article xmlns='http://docbook.org'><title>x</title></article>", "without <front>"),
        ("a.xml", b"<articles></articles>", "holds no articles"),
        ("a.xml", pubmed_set(), "holds no articles"),
        ("a.xml", PUBMED[:-30], "cut off"),
        ("a.xml", b"<a/>", "its root is <a>, which is neither JATS nor PubMed"),
        ("a.tar", tar_of({"a.xml": PAPER}) * 2, "holds more behind its end mark"),
        ("a.xml", b"<?xml version='1.0' encoding='klingon'?><article/>", "XML"),
        ("a.tar", b"none", "cut off"),
        ("a.tar", tar_of({"a.xml": PAPER})[:700], "unexpected end of data"),
        ("a.tar", tar_of({"a.xml": PAPER})[:1024], "cut off"),
        ("a.tar", tar_of({"a.txt": PAPER}), "holds no file ending"),
        ("a.zip", b"none", "no whole zip archive"),
        ("a.tgz", b"\x1f\x8b none", "a.tgz: "),
    ],
)
def test_a_named_path_that_is_unusable_gets_one_line(tmp_path: Path, name: str, data: bytes, says: str):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        list(read_source(path))
    line = str(caught.value)
    assert says in line
    assert line.startswith(f"{path}: ")
    assert "; " in line
    assert "\n" not in line


@pytest.mark.parametrize("run_bytes", [1, 300, 1 << 18])
@pytest.mark.parametrize("size", [1, 50, 1 << 18])
def test_sets_that_were_put_end_to_end_are_read_on(run_bytes: int, size: int):
    data = (
        PUBMED
        + b"<!-- <made> by hand -->\n"
        + PUBMED.replace(b"</PubmedArticleSet>", b"<X/></PubmedArticleSet> ")
    )
    cut = (data[start : start + size] for start in range(0, len(data), size))
    runs = Records(root_of(iter([PUBMED])), cut, ("PubmedArticle",), run_bytes)
    assert sum(1 for run in runs for _ in runs.split(run)) == 10
    data = data[:-30]
    cut = (data[start : start + size] for start in range(0, len(data), size))
    runs = Records(root_of(iter([PUBMED])), cut, ("PubmedArticle",), run_bytes)
    with pytest.raises(Unusable, match="cut off"):
        list(runs)


def test_sets_of_any_records_are_read_on(tmp_path: Path):
    book = "<PubmedBookArticle><BookDocument><PMID>{}</PMID></BookDocument></PubmedBookArticle>"
    deletion = pubmed_set("<DeleteCitation><PMID>1</PMID></DeleteCitation>")
    data = PUBMED + pubmed_set(*(book.format(number) for number in range(10, 60))) + deletion
    data += b"<PubmedArticleSet></PubmedArticleSet>" * 1000
    found = list(read_source(write(tmp_path / "a.xml", data)))
    assert [type(one).__name__ for one in found] == ["Article"] * 55 + ["Deletion"]
    with pytest.raises(InputError, match="cut off"):
        list(read_source(write(tmp_path / "b.xml", PUBMED + b"<PubmedArticleSet> ")))


def test_comments_may_stand_behind_all_records(tmp_path: Path):
    assert len(read(write(tmp_path / "a.xml", PUBMED + b"\n<!-- <made> by hand -->\n"))) == 5
    assert len(read(write(tmp_path / "a.tar", tar_of({"a.xml": PAPER}) + bytes(10_240)))) == 1


def test_missing_and_empty_paths_are_said(tmp_path: Path):
    with pytest.raises(InputError, match="does not exist"):
        list(read_source(tmp_path / "gone.xml"))
    with pytest.raises(InputError, match=r"holds no file ending in \.xml"):
        list(read_source(tmp_path))
    with pytest.raises(InputError, match="no members"):
        list(read_source(write(tmp_path / "a.xml", PAPER), ["b.xml"]))
    os.mkfifo(tmp_path / "pipe.xml")
    with pytest.raises(InputError, match="neither a file nor a folder"):
        list(read_source(tmp_path / "pipe.xml"))


def test_a_tar_damaged_between_its_members_is_no_short_tar(tmp_path: Path):
    data = bytearray(tar_of({"a.xml": PAPER, "b.xml": PAPER}))
    data[1024 + 10] ^= 0xFF  # in the header of b.xml
    with pytest.raises(InputError, match="damaged"):
        read(write(tmp_path / "a.tar", bytes(data)))


def test_a_source_never_holds_the_machine_or_bytes_that_are_no_text(tmp_path: Path):
    folder = tmp_path / "papers"
    folder.mkdir()
    (folder / os.fsdecode(b"caf\xe9.xml")).write_bytes(PAPER)
    assert read(folder) == ["papers/caf\\xe9.xml"]
