"""Files, folders, archives: what is read, what is refused, what is counted."""

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from biolm.errors import InputError
from biolm.records import Article, Unreadable
from biolm.sources import read_source

ARTICLE = (
    "<article><front><article-meta><article-id pub-id-type='pmcid'>{n}</article-id>"
    "<abstract><p>Abstract {n}.</p></abstract></article-meta></front></article>"
)
RECORD = (
    "<PubmedArticle><MedlineCitation><PMID>{n}</PMID><Article><ArticleTitle>T</ArticleTitle><Abstract>"
    "<AbstractText>Abstract {n}.</AbstractText></Abstract></Article></MedlineCitation></PubmedArticle>"
)


def jats(n: int) -> bytes:
    return ARTICLE.format(n=n).encode()


def pubmed(count: int) -> bytes:
    return f"<PubmedArticleSet>{''.join(RECORD.format(n=n) for n in range(1, count + 1))}</PubmedArticleSet>".encode()


def read(path: Path, *members: str) -> tuple[list[Article], list[Unreadable]]:
    records = list(read_source(path, members or None))
    return [r for r in records if isinstance(r, Article)], [r for r in records if isinstance(r, Unreadable)]


def write_tar(path: Path, members: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("name", ["a.xml", "a.nxml", "a.xml.gz"])
def test_a_file_gzipped_or_not(name: str, tmp_path: Path):
    (tmp_path / name).write_bytes(gzip.compress(jats(1)) if name.endswith("gz") else jats(1))
    articles, bad = read(tmp_path / name)
    assert [(a.pmcid, a.source) for a in articles] == [("PMC1", name)]
    assert not bad


def test_pubmed_records_carry_their_pmid_in_the_source(tmp_path: Path):
    (tmp_path / "p.xml.gz").write_bytes(gzip.compress(pubmed(3)))
    articles, _ = read(tmp_path / "p.xml.gz")
    assert [a.source for a in articles] == ["p.xml.gz#1", "p.xml.gz#2", "p.xml.gz#3"]


@pytest.mark.parametrize("root", ["articles", "pmc-articleset"])
def test_a_bundle_is_all_its_articles(root: str, tmp_path: Path):
    (tmp_path / "b.xml").write_bytes(f"<{root}>".encode() + jats(1) + jats(2) + f"</{root}>".encode())
    articles, _ = read(tmp_path / "b.xml")
    assert [a.pmcid for a in articles] == ["PMC1", "PMC2"]
    assert [a.abstracts[0].text for a in articles] == ["Abstract 1.", "Abstract 2."]


def test_a_folder_is_read_in_sorted_order_with_what_lies_below(tmp_path: Path):
    folder = tmp_path / "papers"
    (folder / "b").mkdir(parents=True)
    (folder / "b" / "2.xml").write_bytes(jats(2))
    (folder / "c.xml").write_bytes(jats(3))
    (folder / "a.nxml").write_bytes(jats(1))
    (folder / "notes.txt").write_text("not a paper")
    write_tar(folder / "d.tar.gz", {"PMC4.xml": jats(4)})
    articles, bad = read(folder)
    assert [a.source for a in articles] == [
        *("papers/a.nxml", "papers/b/2.xml", "papers/c.xml"),
        "papers/d.tar.gz/PMC4.xml",
    ]
    assert not bad


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path):
    (tmp_path / "secret.xml").write_bytes(jats(9))
    folder = tmp_path / "papers"
    folder.mkdir()
    (folder / "1.xml").write_bytes(jats(1))
    (folder / "link.xml").symlink_to(tmp_path / "secret.xml")
    articles, _ = read(folder)
    assert [a.pmcid for a in articles] == ["PMC1"]


def test_a_bad_file_inside_is_named_and_the_rest_is_read(tmp_path: Path):
    folder = tmp_path / "papers"
    folder.mkdir()
    (folder / "1.xml").write_bytes(jats(1))
    (folder / "2.xml").write_bytes(jats(2)[:-20])
    (folder / "3.xml").write_bytes(b"<html/>")
    (folder / "4.xml.gz").write_bytes(gzip.compress(jats(4))[:-30])
    (folder / "5.xml").write_bytes(b"")
    (folder / "6.xml").write_bytes(jats(6))
    articles, bad = read(folder)
    assert [a.pmcid for a in articles] == ["PMC1", "PMC6"]
    assert [b.source for b in bad] == [f"papers/{n}" for n in ("2.xml", "3.xml", "4.xml.gz", "5.xml")]
    assert all(b.reason and "\n" not in b.reason for b in bad)


@pytest.mark.parametrize("mode", ["w:gz", "w"])
def test_a_tar_archive_streams_its_members_and_names_bad_ones(mode: str, tmp_path: Path):
    members = {"x/PMC1.xml": jats(1), "x/bad.xml": b"<article>", "x/list.csv": b"a,b", "x/PMC2.nxml": jats(2)}
    path = write_tar(tmp_path / ("a.tar.gz" if mode == "w:gz" else "a.tar"), members, mode)
    articles, bad = read(path)
    assert [a.source for a in articles] == [f"{path.name}/x/PMC1.xml", f"{path.name}/x/PMC2.nxml"]
    assert [b.source for b in bad] == [f"{path.name}/x/bad.xml"]


def test_paths_inside_an_archive_escape_nowhere(tmp_path: Path):
    path = write_tar(tmp_path / "a.tar", {"../../evil.xml": jats(1), "/abs.xml": jats(2)}, "w")
    before = sorted(tmp_path.iterdir())
    articles, _ = read(path)
    assert [a.source for a in articles] == ["a.tar/evil.xml", "a.tar/abs.xml"]
    assert sorted(tmp_path.iterdir()) == before


def test_a_zip_gives_only_the_members_asked_for(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "w.whl", "w") as archive:
        archive.writestr("data/1.nxml", jats(1))
        archive.writestr("data/2.nxml", jats(2))
        archive.writestr("data/p.xml.gz", gzip.compress(pubmed(2)))
        archive.writestr("code.py", "print()")
    articles, _ = read(tmp_path / "w.whl", "data/1.nxml", "data/p.xml.gz")
    assert [a.source for a in articles] == [
        "w.whl/data/1.nxml",
        *("w.whl/data/p.xml.gz#1", "w.whl/data/p.xml.gz#2"),
    ]


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.xml", b"", "empty"),
        ("a.xml", b"hello", "no XML"),
        ("a.xml", b"<html/>", "neither JATS nor PubMed"),
        ("a.xml", jats(1)[:-15], "broken XML"),
        ("a.xml.gz", gzip.compress(jats(1))[:-15], "truncated"),
        ("a.xml", pubmed(3)[:-150], "after 2 records"),
        ("a.tar.gz", b"not a tar", "damaged"),
        ("a.zip", b"not a zip", "damaged"),
    ],
)
def test_a_named_file_that_cannot_be_used_is_an_error_of_one_line(
    name: str, data: bytes, says: str, tmp_path: Path
):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=says) as error:
        list(read_source(tmp_path / name))
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_paths_and_folders_without_papers_are_errors(tmp_path: Path):
    with pytest.raises(InputError, match="does not exist"):
        list(read_source(tmp_path / "none"))
    with pytest.raises(InputError, match="holds no file"):
        list(read_source(tmp_path))
    with pytest.raises(InputError, match="holds no XML"):
        list(read_source(write_tar(tmp_path / "a.tar", {"x.txt": b"x"}, "w")))


def test_a_truncated_tar_is_an_error(tmp_path: Path):
    path = write_tar(tmp_path / "a.tar.gz", {f"{n}.xml": jats(n) * 1 for n in range(50)})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"truncated|damaged"):
        list(read_source(path))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_no_damage_escapes_as_anything_else(data: st.DataObject, tmp_path: Path):
    """Any truncation and any flipped bytes give articles, Unreadable or InputError."""
    name = data.draw(st.sampled_from(["a.xml", "p.xml", "p.xml.gz", "a.tar", "a.tar.gz", "a.zip"]))
    path = tmp_path / name
    if name.startswith("a.tar"):
        write_tar(
            path,
            {"1.xml": jats(1), "2.xml.gz": gzip.compress(pubmed(2))},
            "w:gz" if name.endswith("gz") else "w",
        )
    elif name == "a.zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("1.xml", jats(1))
            archive.writestr("2.xml.gz", gzip.compress(pubmed(2)))
    else:
        whole = jats(1) if name == "a.xml" else pubmed(3)
        path.write_bytes(gzip.compress(whole) if name.endswith("gz") else whole)
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
    try:
        for record in read_source(path):
            assert isinstance(record, Article | Unreadable)
    except InputError:
        pass
