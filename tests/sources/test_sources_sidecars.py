"""What lies beside the papers: PMC's JSON and the lists of its former packages."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jats_papers import jats
from test_sources_read import tar_of, write

from biolm.records import Article, Unreadable
from biolm.sources import read_source
from biolm.sources.beside import FileList, cloud_facts
from biolm.sources.xml import Unusable

PAPER = jats('<article-id pub-id-type="pmcid">PMC1</article-id><abstract><p>One.</p></abstract>')
SAYS = {
    "pmcid": "PMC1",
    "version": 2,
    "pmid": 77,
    "doi": "10.1371/X",
    "is_manuscript": True,
    "is_retracted": True,
    "license_code": "TDM",
}
HEADING = "Article File,Article Citation,AccessionID,LastUpdated (YYYY-MM-DD HH:MM:SS),PMID,License,Retracted"


def read_one(path: Path) -> Article:
    (found,) = read_source(path)
    assert isinstance(found, Article)
    return found


@pytest.mark.parametrize("where", ["PMC1.2/PMC1.2.json", "metadata/PMC1.2.json"])
def test_the_cloud_services_json_says_what_the_paper_does_not(tmp_path: Path, where: str):
    write(tmp_path / "pmc/PMC1.2/PMC1.2.xml", PAPER)
    write(tmp_path / "pmc" / where, json.dumps(SAYS).encode())
    found = read_one(tmp_path / "pmc")
    assert (found.pmid, found.pmcid, found.doi, found.version) == ("77", "PMC1", "10.1371/x", 2)
    assert found.manuscript
    assert found.retracted
    assert found.licence == "LicenseRef-TDM"
    if not where.startswith("metadata"):
        assert read_one(tmp_path / "pmc/PMC1.2/PMC1.2.xml").pmid == "77"


def test_what_the_paper_states_goes_before_its_sidecar_but_of_two_licences_the_one_that_allows_less(
    tmp_path: Path,
):
    licence = '<permissions><license license-type="CC BY-NC"/></permissions>'
    doi = '<article-id pub-id-type="doi">10.1371/own</article-id>'
    write(tmp_path / "PMC1.2.xml", jats(doi + licence))
    write(tmp_path / "PMC1.2.json", json.dumps(SAYS).encode())
    found = read_one(tmp_path)
    assert (found.doi, found.licence, found.pmcid) == ("10.1371/own", "LicenseRef-TDM", "PMC1")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "broken JSON"),
        (b"[" * 100_000, "broken JSON"),
        (b"[1]", "no JSON object"),
        (b'{"pmcid": "PMC2"}', "it is about PMC2, not PMC1"),
        (b" " * (1 << 20) + b"{}", "larger than 1 MiB"),
        (b"\xff\xfe", "broken JSON"),
    ],
)
def test_a_bad_sidecar_never_loses_its_paper(tmp_path: Path, data: bytes, says: str):
    write(tmp_path / "pmc/PMC1.1.xml", PAPER)
    (tmp_path / "pmc/PMC1.1.json").write_bytes(data)
    found = list(read_source(tmp_path / "pmc"))
    (sidecar,) = (one for one in found if isinstance(one, Unreadable))
    assert sum(isinstance(one, Article) for one in found) == 1
    assert sidecar.source == "pmc/PMC1.1.xml (PMC1.1.json)"
    assert says in sidecar.reason


def test_json_that_is_no_sidecar_is_left_alone(tmp_path: Path):
    write(tmp_path / "pmc/paper.xml", PAPER)
    write(tmp_path / "pmc/paper.json", b"no")
    assert read_one(tmp_path / "pmc").pmid is None


@pytest.mark.parametrize(("ending", "mark"), [("csv", ","), ("txt", "\t")])
def test_a_package_is_read_along_with_its_list(tmp_path: Path, ending: str, mark: str):
    archive = tmp_path / "bulk/oa_other_xml.PMC001xxxxxx.baseline.2024-06-18.tar.gz"
    names = ["PMC001xxxxxx/PMC3.xml", "PMC001xxxxxx/PMC1.xml", "PMC001xxxxxx/PMC9.xml"]
    write(archive, tar_of({name: jats("<title-group/>") for name in names}))
    rows = [
        HEADING.replace(",", mark),
        mark.join([names[1], '"Gut, 2019; 9"', "PMC1", "2024-02-07 23:35:31", "11", '"CC BY"', "no"]),
        mark.join([names[0], "", "PMC3", "2024-02-07 23:35:31", "33", "CC0", "yes"]),
    ]
    write(archive.with_name(archive.name.replace("tar.gz", f"filelist.{ending}")), "\n".join(rows).encode())
    found = [one for one in read_source(archive.parent) if isinstance(one, Article)]
    assert [(one.pmid, one.pmcid, one.licence, one.retracted) for one in found] == [
        ("33", "PMC3", "CC0-1.0", True),
        ("11", "PMC1", "CC-BY", False),
        (None, None, "unknown", False),
    ]


def test_a_list_that_breaks_off_is_said_behind_the_papers(tmp_path: Path):
    write(tmp_path / "b/a.tar", tar_of({"PMC1.xml": PAPER}))
    write(tmp_path / "b/a.filelist.csv", f"{HEADING}\n{'x' * 70_000}".encode())
    paper, problem = read_source(tmp_path / "b")
    assert isinstance(paper, Article)
    assert problem == Unreadable(
        source="b/a.tar (a.filelist.csv)", reason="broken: a line of more than 64 KiB"
    )


@given(st.binary(max_size=300))
def test_any_bytes_are_facts_or_unusable(data: bytes):
    try:
        cloud_facts(data)
    except Unusable as error:
        assert "\n" not in error.reason  # noqa: PT017
    rows = FileList(iter([HEADING.encode() + b"\n", *data.splitlines(keepends=True)]), tabs=False)
    rows.find("PMC1.xml")
