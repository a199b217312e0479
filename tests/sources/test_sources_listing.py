import pickle
import shutil
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jats_papers import jats
from test_sources_read import read, tar_of, write, zip_of

from biolm.errors import InputError
from biolm.records import Unreadable
from biolm.sources import read_source
from biolm.sources.files import PaperFile
from biolm.sources.shards import GROUP_BYTES, GROUP_FILES, Shard, _groups, identity, plan_shards, read_shard

PAPER = jats('<article-id pub-id-type="pmc">1</article-id><abstract><p>One.</p></abstract>')


def named(*names: str, size: int = 1000) -> list[PaperFile]:
    return [PaperFile(path=f"/x/{name}", name=f"papers/{name}", bytes=size) for name in sorted(names)]


def folder_of(folder: Path, names: list[str]) -> Path:
    for name in names:
        write(folder / name, PAPER)
    return folder


def test_shards_give_what_the_source_gives_in_its_order(tmp_path: Path):
    folder = folder_of(tmp_path / "papers", [f"{n:03}/PMC{n}.xml" for n in range(150)] + ["b.xml.gz"])
    write(folder / "pack.tar", tar_of({"a.xml": PAPER}))
    zip_of(folder / "pack.zip", {"a.xml": PAPER})
    shards = plan_shards(folder, "papers")
    assert len(shards) > 2
    assert shards == plan_shards(folder, "papers")
    assert [one for shard in shards for one in read_shard(shard)] == list(read_source(folder))
    names = [file.name for shard in shards for file in shard.files]
    assert names == sorted(names)
    assert len(names) == 153
    assert [pickle.loads(pickle.dumps(shard)) for shard in shards] == shards  # noqa: S301  a worker gets them so


@settings(max_examples=50, deadline=None)
@given(st.sets(st.integers(0, 5000), min_size=1, max_size=900), st.integers(0, 5000))
def test_a_new_file_changes_its_own_group_only(numbers: set[int], new: int):
    before = list(_groups(named(*(f"{n:04}.xml" for n in numbers))))
    after = list(_groups(named(*(f"{n:04}.xml" for n in {*numbers, new}))))
    assert [file for group in after for file in group] == named(*(f"{n:04}.xml" for n in {*numbers, new}))
    assert (
        len(set(after) - set(before)) <= 3
    )  # where it makes a group too large, or ends one, the next changes too
    assert all(len(group) <= 4 * GROUP_FILES for group in after)


def test_large_files_and_archives_are_shards_of_their_own():
    files = named("a.xml", "b.tar.gz", "c.xml", "d.meca", "e.xml")
    assert [[file.name[7:] for file in group] for group in _groups(files)] == [
        ["a.xml"],
        ["b.tar.gz"],
        ["c.xml"],
        ["d.meca"],
        ["e.xml"],
    ]
    assert len(list(_groups(named("a.xml", "b.xml", size=GROUP_BYTES)))) == 2


def test_identity_is_that_of_names_and_contents_wherever_they_lie(tmp_path: Path):
    folder = folder_of(tmp_path / "one/papers", ["PMC1.1/PMC1.1.xml", "b.xml"])
    (folder / "PMC1.1/PMC1.1.json").write_text('{"pmcid": "PMC1"}')
    (shard,) = plan_shards(folder, "papers")
    elsewhere = shutil.copytree(folder, tmp_path / "two/papers")
    (moved,) = plan_shards(elsewhere, "papers")
    assert identity(moved) == identity(shard)
    (renamed,) = plan_shards(elsewhere, "others")
    assert identity(renamed) != identity(shard)
    for changed in ("b.xml", "PMC1.1/PMC1.1.json"):
        again = shutil.copytree(folder, tmp_path / changed[0] / "papers")
        with (again / changed).open("ab") as file:
            file.write(b" ")
        (other,) = plan_shards(again, "papers")
        assert identity(other) != identity(shard), changed


def test_a_file_that_vanished_is_set_aside_but_not_the_source_itself(tmp_path: Path):
    folder = folder_of(tmp_path / "papers", ["a.xml", "b.xml"])
    (shard,) = plan_shards(folder, "papers")
    (alone,) = plan_shards(folder / "a.xml", "a.xml")
    before = identity(shard)
    (folder / "a.xml").unlink()
    assert identity(shard) != before
    first, second = read_shard(shard)
    assert first == Unreadable(source="papers/a.xml", reason="cannot be read: No such file or directory")
    assert second.source == "papers/b.xml"
    with pytest.raises(InputError, match="No such file"):
        list(read_shard(alone))


def test_members_of_a_zip_are_shards_that_its_directory_identifies(tmp_path: Path):
    path = zip_of(tmp_path / "a.zip", {f"{n}.xml": PAPER for n in range(200)})
    shards = plan_shards(path, "a.zip", [f"{n}.xml" for n in range(200)])
    assert len(shards) > 1
    assert sum(1 for shard in shards for _ in read_shard(shard)) == 200
    same = zip_of(tmp_path / "b.zip", {f"{n}.xml": PAPER for n in range(200)})
    other = plan_shards(same, "a.zip", [f"{n}.xml" for n in range(200)])
    assert list(map(identity, other)) == list(map(identity, shards))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_twice_in_an_archive_gives_both(tmp_path: Path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.xml", PAPER)
        archive.writestr("a.xml", PAPER)
    assert read(path) == ["a.zip/a.xml"] * 2
    (shard,) = plan_shards(path, "a.zip")
    assert isinstance(shard, Shard)


@pytest.mark.parametrize("attribute", ["type", "item-type"])
@pytest.mark.parametrize("where", [".zip", ".meca"])
def test_only_the_article_of_a_meca_package_is_a_paper(tmp_path: Path, attribute: str, where: str):
    manifest = (
        f'<manifest xmlns="http://manuscriptexchange.org"><item {attribute}="article"><instance '
        'media-type="application/pdf" href="content/1.pdf"/><instance media-type="application/xml" '
        f'href="content/1.xml"/></item><item {attribute}="supplement"><instance '
        'media-type="application/xml" href="content/2.xml"/></item></manifest>'
    )
    members = {
        "manifest.xml": manifest.encode(),
        "transfer.xml": b"<transfer/>",
        "content/1.xml": PAPER,
        "content/2.xml": b"<supplement/>",
    }
    path = zip_of(tmp_path / f"papers/p{where}", members)
    assert read(path) == [f"p{where}/content/1.xml"]
    assert read(path.parent) == [f"papers/p{where}/content/1.xml"]
    zip_of(path, members | {"manifest.xml": b"<manifest"})
    assert [source for source in read(path) if source[0] != "["] == [f"p{where}/content/1.xml"]
    zip_of(path, members | {"manifest.xml": b"<html/>"})  # no MECA
    assert len(read(path)) == 4
