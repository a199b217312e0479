import json
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from biolm.licences import licence_of_code, stricter
from biolm.records import Article, Unreadable
from biolm.sources.options import TextOptions
from biolm.sources.shards import identity, plan_shards, read_shard
from conftest import write_papers

XML = (
    "<article><front><article-meta><article-id pub-id-type='pmcid'>PMC1</article-id>"
    "<title-group><article-title>One</article-title></title-group></article-meta></front></article>"
)
METADATA = {
    "pmcid": "PMC1",
    "version": 2,
    "pmid": 17,
    "doi": "10.1000/One",
    "is_manuscript": True,
    "is_retracted": True,
    "license_code": "CC BY-NC",
}
LIST = (
    "Article File,Article Citation,AccessionID,LastUpdated (YYYY-MM-DD HH:MM:SS),PMID,License,Retracted\n"
    'PMC000xxxxxx/PMC1.xml,"PLoS Biol. 2003; 1:E5",PMC1,2024-01-01 00:00:00,17,CC BY,yes\n'
)


def records(folder: Path) -> list:
    return [r for shard in plan_shards(folder, folder.name) for r in read_shard(shard, TextOptions())]


def cloud(folder: Path, metadata: str, place: str = "PMC1.2") -> Path:
    for name, text in {"PMC1.2/PMC1.2.xml": XML, f"{place}/PMC1.2.json": metadata}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("place", ["PMC1.2", "metadata"])
def test_the_cloud_services_metadata_fill_what_the_xml_lacks(tmp_path: Path, place: str):
    (paper,) = records(cloud(tmp_path / "bucket", json.dumps(METADATA), place))
    assert (paper.pmid, paper.doi, paper.version) == ("17", "10.1000/one", 2)
    assert (paper.manuscript, paper.retracted, paper.licence) == (True, True, "CC-BY-NC")
    assert paper.source == "bucket/PMC1.2/PMC1.2.xml"


@pytest.mark.parametrize("metadata", ["", "{", "[1]", '{"version": "9' + "9" * 30 + '"}', "[" * 100_000])
def test_broken_metadata_do_not_lose_the_article(tmp_path: Path, metadata: str):
    found = records(cloud(tmp_path / "bucket", metadata))
    (paper,) = [record for record in found if isinstance(record, Article)]
    assert (paper.pmcid, paper.version, paper.licence) == ("PMC1", 0, "unknown")
    broken = [record for record in found if isinstance(record, Unreadable)]
    assert [record.source for record in broken] in ([], ["bucket/PMC1.2/PMC1.2.xml (PMC1.2.json)"])
    assert bool(broken) == (not metadata.startswith('{"version'))


def test_new_metadata_are_a_new_identity(tmp_path: Path):
    (before,) = plan_shards(cloud(tmp_path, json.dumps(METADATA | {"is_retracted": False})), "x")
    first = identity(before)
    (after,) = plan_shards(cloud(tmp_path, json.dumps(METADATA)), "x")
    assert identity(after) != first


@pytest.mark.parametrize(("ending", "text"), [("csv", LIST), ("txt", LIST.replace(",", "\t"))])
def test_a_bulk_packages_file_list_is_used(tmp_path: Path, ending: str, text: str):
    (tmp_path / "PMC1.xml").write_text(XML)
    package = tmp_path / "bulk" / "oa_comm_xml.PMC000xxxxxx.baseline.2024-12-17.tar.gz"
    package.parent.mkdir()
    with tarfile.open(package, "w:gz") as archive:
        archive.add(tmp_path / "PMC1.xml", "PMC000xxxxxx/PMC1.xml")
    (package.parent / f"{package.name.removesuffix('.tar.gz')}.filelist.{ending}").write_text(text)
    (paper,) = records(package.parent)
    assert (paper.pmid, paper.licence, paper.retracted) == ("17", "CC-BY", True)


def test_quotes_in_a_list_with_tabs_are_letters(tmp_path: Path):
    rows = LIST.replace(",", "\t").replace('"PLoS', '"The 5" end in PLoS').replace('E5"', "E5")
    (tmp_path / "PMC1.xml").write_text(XML)
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(tmp_path / "PMC1.xml", "PMC000xxxxxx/PMC1.xml")
    (tmp_path / "a.filelist.txt").write_text(rows)
    (paper,) = read_shard(plan_shards(tmp_path / "a.tar", "a.tar")[0], TextOptions())
    assert (paper.pmid, paper.licence) == ("17", "CC-BY")


def test_metadata_that_are_a_link_out_of_the_folder_or_a_pipe_are_not_read(tmp_path: Path):
    (tmp_path / "secret.json").write_text(json.dumps(METADATA))
    folder = cloud(tmp_path / "papers", "{}")
    said = folder / "PMC1.2" / "PMC1.2.json"
    said.unlink()
    said.symlink_to(tmp_path / "secret.json")
    broken, paper = records(folder)
    assert broken.reason == "a link out of the folder, which is not followed"
    assert (paper.pmid, paper.retracted) == (None, False)
    said.unlink()
    os.mkfifo(said)
    broken, paper = records(folder)
    assert broken.source == "papers/PMC1.2/PMC1.2.json"
    assert broken.reason == "neither a file nor a folder"


def test_a_file_list_of_other_columns_is_said(tmp_path: Path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(write_papers(tmp_path / "papers", 1), "papers")
    (tmp_path / "a.filelist.csv").write_text("File,Size\nx,1\n")
    (shard,) = plan_shards(tmp_path / "a.tar", "a.tar")
    broken, paper = read_shard(shard, TextOptions())
    assert broken.reason == "a file list without the columns Article File and License"
    assert isinstance(paper, Article)


@pytest.mark.parametrize("inside_a_folder", [False, True])
def test_a_meca_package_gives_its_article_only(tmp_path: Path, inside_a_folder: bool):
    package = tmp_path / "preprints" / "0001.meca"
    package.parent.mkdir()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("manifest.xml", "<manifest/>")
        archive.writestr("directives.xml", "<directives/>")
        archive.writestr("content/0001.xml", XML)
        archive.writestr("content/0001.pdf", b"%PDF")
    (paper,) = records(package.parent if inside_a_folder else package)
    assert paper.source.endswith("0001.meca/content/0001.xml")


@pytest.mark.parametrize(
    ("code", "licence"),
    [
        ("CC BY", "CC-BY"),
        ("CC BY-NC-ND", "CC-BY-NC-ND"),
        ("CC0", "CC0-1.0"),
        ("TDM", "LicenseRef-TDM"),
        ("NO-CC CODE", "unknown"),
        ("", "unknown"),
    ],
)
def test_pmcs_licence_codes_as_spdx(code: str, licence: str):
    assert licence_of_code(code) == licence


@pytest.mark.parametrize(
    ("one", "other", "less"),
    [
        ("CC-BY-4.0", "CC-BY", "CC-BY-4.0"),
        ("CC-BY-4.0", "CC-BY-NC", "CC-BY-NC"),
        ("CC-BY-NC-ND-4.0", "CC-BY", "CC-BY-NC-ND-4.0"),
        ("CC0-1.0", "CC-BY", "CC-BY"),
        ("CC-BY-4.0", "LicenseRef-TDM", "LicenseRef-TDM"),
        ("unknown", "CC-BY", "CC-BY"),
        ("CC-BY-4.0", "unknown", "CC-BY-4.0"),
        ("unknown", "unknown", "unknown"),
    ],
)
def test_of_two_licences_the_one_that_allows_less_counts(one: str, other: str, less: str):
    assert stricter(one, other) == less
