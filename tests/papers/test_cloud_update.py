"""An update brings what changed at the PMC Cloud Service, marks what is gone, and writes nothing where nothing is."""

import gzip
import json
from pathlib import Path

import pytest
from pmc import BUCKET, CODES, FAST, asked, fetch, held, log_rows, rows, truth, update
from replica import Replica, invented_article

from biolm.errors import ArtifactError, InputError
from biolm.papers import cloud_runs
from biolm.papers.fetch import fetch_papers, update_papers
from biolm.papers.runs import Fetching
from biolm.papers.selection import Selection
from biolm.papers.store import open_store, shard_numbers
from biolm.progress import Silent

NEXT = "2026-11-26"


@pytest.fixture
def store(replica: Replica, url: str, tmp_path: Path) -> Path:
    """Everything of the replica."""
    fetch(tmp_path / "store", url)
    return tmp_path / "store"


def quiet(store: Path, url: str) -> bool:
    """Whether a further update changes nothing in a store."""
    before = (log_rows(store), shard_numbers(store), held(store), rows(store))
    outcome = update(store, url)
    assert set(outcome.counts) <= {"unchanged"} | {name for name in outcome.counts if "not wanted" in name}
    return before == (log_rows(store), shard_numbers(store), held(store), rows(store))


def test_new_articles_and_new_versions_come(replica, url, store):
    replica.put_article("PMC41.1", invented_article(41))
    replica.put_article("PMC5.2", invented_article(5, version=2))
    replica.take_inventory(NEXT)
    before = len(replica.log)
    outcome = update(store, url)
    assert outcome.counts == {"new": 2}
    assert held(store) == truth(replica)
    assert sorted(asked(replica, before)) == [
        "PMC41.1/PMC41.1.xml",
        "PMC5.2/PMC5.2.xml",
        "metadata/PMC41.1.json",
        "metadata/PMC5.2.json",
    ]
    assert open_store(store).sources["pmc"]["as_of"] == NEXT
    assert quiet(store, url)


def test_changed_xml_is_a_new_row_and_the_old_one_stays_where_it_was(replica, url, store):
    first = (store / "shards" / "000001.parquet").read_bytes()
    replica.put_article("PMC5.1", invented_article(5, seed=1))
    replica.take_inventory(NEXT)
    assert update(store, url).counts == {"changed": 1}
    assert held(store) == truth(replica)
    assert log_rows(store) == 41
    assert (store / "shards" / "000001.parquet").read_bytes() == first
    assert quiet(store, url)


def test_changed_metadata_alone_are_facts_without_asking_for_xml(replica, url, store):
    replica.change("PMC5.1", license_code="CC0", pmid=7)
    replica.take_inventory(NEXT)
    before = len(replica.log)
    assert update(store, url).counts == {"facts": 1}
    assert asked(replica, before) == ["metadata/PMC5.1.json"]
    assert held(store) == truth(replica)
    row = rows(store)["PMC5.1"]
    assert (row["state"], row["licence"], row["journal"]) == ("facts", "CC0-1.0", "Journal of Replicas")
    assert quiet(store, url)


def test_what_is_retracted_is_marked_and_stays(replica, url, store):
    replica.change("PMC5.1", is_retracted=True)
    replica.take_inventory(NEXT)
    assert update(store, url).counts == {"facts": 1}
    assert held(store) == truth(replica)
    assert [name for name, row in rows(store).items() if row["retracted"]] == ["PMC5.1"]
    assert quiet(store, url)
    replica.put_article("PMC5.1", invented_article(5, seed=1), is_retracted=True)
    replica.take_inventory("2026-11-27")
    assert update(store, url).counts == {"changed": 1}
    assert held(store) == truth(replica)
    assert rows(store)["PMC5.1"]["retracted"] is True


def test_what_is_retracted_already_does_not_come(replica, url, store):
    replica.put_article("PMC41.1", invented_article(41), is_retracted=True)
    replica.take_inventory(NEXT)
    assert update(store, url).counts == {"not wanted: retracted": 1}
    assert "PMC41.1" not in held(store)
    assert quiet(store, url)


def test_a_licence_that_does_not_fit_any_more_withdraws_and_one_that_does_brings_back(replica, url, tmp_path):
    store = tmp_path / "by"
    fetch(store, url, Selection(licence="by"))
    replica.change("PMC5.1", license_code="CC BY-NC")
    replica.take_inventory(NEXT)
    assert update(store, url).counts == {"withdrawn": 1}
    row = rows(store)["PMC5.1"]
    assert (row["state"], row["note"], row["licence"]) == (
        "withdrawn",
        "no longer wanted: licence",
        "CC-BY-NC",
    )
    assert "PMC5.1" not in held(store)
    assert len(held(store)) == 39
    assert quiet(store, url)
    replica.change("PMC5.1", license_code="CC BY")
    replica.take_inventory("2026-11-27")
    before = len(replica.log)
    assert update(store, url).counts == {"facts": 1}
    assert not any(path.endswith(".xml") for path in asked(replica, before))  # the XML is there still
    assert held(store) == truth(replica)
    assert quiet(store, url)


def test_what_is_removed_is_withdrawn_and_may_come_back(replica, url, store):
    whole = truth(replica)
    replica.remove_article("PMC5.1")
    replica.take_inventory(NEXT)
    assert update(store, url).counts == {"withdrawn": 1}
    assert held(store) == truth(replica)
    row = rows(store)["PMC5.1"]
    assert (row["state"], row["note"]) == ("withdrawn", "no longer at the service")
    assert row["licence"] == "CC-BY"
    assert quiet(store, url)
    replica.put_article("PMC5.1", whole["PMC5.1"][0])
    replica.take_inventory("2026-11-27")
    assert update(store, url).counts == {"facts": 1}
    assert held(store) == whole
    assert quiet(store, url)


def test_what_comes_back_with_other_xml_is_fetched(replica, url, store):
    replica.remove_article("PMC5.1")
    replica.take_inventory(NEXT)
    update(store, url)
    replica.put_article("PMC5.1", invented_article(5, seed=2))
    replica.take_inventory("2026-11-27")
    assert update(store, url).counts == {"changed": 1}
    assert held(store) == truth(replica)


def test_what_is_listed_nowhere_and_still_there_is_kept(replica, url, store):
    metadata = replica._stored[f"{BUCKET}/metadata/PMC5.1.json"]
    replica._remove(f"{BUCKET}/metadata/PMC5.1.json")
    replica.take_inventory(NEXT)
    with replica._lock:
        replica._stored[f"{BUCKET}/metadata/PMC5.1.json"] = metadata
        replica._sorted = None
    assert update(store, url).counts == {"unchanged": 1}
    assert rows(store)["PMC5.1"]["state"] == "article"
    replica.change("PMC5.1", doi="10.5555/other")
    assert update(store, url).counts == {"facts": 1}
    assert held(store) == truth(replica)


def test_what_is_not_listed_and_gets_no_answer_is_kept_and_named(replica, url, store):
    whole = truth(replica)
    replica.remove_article("PMC5.1")
    replica.take_inventory(NEXT)
    replica.faults.always[f"{BUCKET}/metadata/PMC5.1.json"] = "503"
    outcome = update(store, url)
    assert outcome.report.counts == {"unanswered": 1}
    assert held(store) == whole
    assert open_store(store).sources["pmc"]["selections"][0]["complete"] is False


def test_an_update_with_the_inventory_of_the_fetch_writes_nothing(replica, url, tmp_path):
    replica.put_article("PMC4.1", invented_article(4, paragraphs=2))  # after the inventory
    replica.change("PMC6.1", is_retracted=True)
    store = tmp_path / "store"
    fetch(store, url, Selection(retracted=True, pmcids="PMC1-"))
    assert held(store) == truth(replica)
    assert quiet(store, url)
    assert quiet(store, url)


def test_a_stale_inventory_and_kept_metadata_do_not_take_newer_facts_back(replica, url, store):
    replica.change("PMC4.1", is_retracted=True)
    replica.change("PMC6.1", license_code="CC BY-NC")
    replica.take_inventory(NEXT)
    update(store, url)
    for path in list(replica._under(f"{BUCKET}/inventory-reports/{replica.bucket}/metadata/{NEXT}")):
        replica.remove_file(path)
    for path in store.parent.glob("cache/pmc/*/inventory-*"):
        path.unlink()
    assert quiet(store, url)  # with the inventory of the day before
    assert held(store) == truth(replica)


@pytest.mark.parametrize("ids_at_most", [2000, 0])
def test_a_sample_does_not_grow_but_brings_new_versions_of_what_is_held(
    replica, url, tmp_path, monkeypatch, ids_at_most
):
    monkeypatch.setattr(cloud_runs, "LISTED_IDS", ids_at_most)
    store = tmp_path / "sample"
    fetch(store, url, Selection(sample=5, seed=1))
    chosen = sorted(held(store))
    assert len(chosen) == 5
    first = chosen[0].partition(".")[0]
    for number in range(41, 80):
        replica.put_article(f"PMC{number}.1", invented_article(number))
    replica.put_article(f"{first}.2", invented_article(int(first[3:]), version=2))
    replica.put_article(chosen[1], invented_article(int(chosen[1][3:-2]), seed=3))
    replica.take_inventory(NEXT)
    assert update(store, url).counts == {"new": 1, "changed": 1}
    assert sorted(held(store)) == sorted([*chosen, f"{first}.2"])
    assert held(store) == {name: truth(replica)[name] for name in held(store)}
    assert quiet(store, url)


def test_an_article_of_a_sample_may_be_withdrawn_and_come_back(replica, url, tmp_path):
    store = tmp_path / "sample"
    fetch(store, url, Selection(sample=5, seed=1))
    before = held(store)
    name = min(before)
    replica.remove_article(name)
    replica.take_inventory(NEXT)
    assert update(store, url).counts == {"withdrawn": 1}
    assert set(held(store)) == set(before) - {name}
    replica.put_article(name, before[name][0])
    replica.take_inventory("2026-11-27")
    assert update(store, url).counts == {"facts": 1}
    assert held(store) == before


def test_two_selections_grow_side_by_side(replica, url, tmp_path):
    for number, code in enumerate(CODES * 3, 1):
        replica.change(f"PMC{number}.1", license_code=code)
    replica.take_inventory(NEXT)
    store = tmp_path / "store"
    fetch(store, url, Selection(licence="by"))
    fetch(store, url, Selection(pmcids="PMC1-PMC9"))
    by = {name for name, (_, said) in truth(replica).items() if said["license_code"] in ("CC BY", "CC0")}
    assert set(held(store)) == by | {f"PMC{number}.1" for number in range(1, 10)}
    replica.put_article("PMC50.1", invented_article(50))
    replica.put_article("PMC51.1", invented_article(51), license_code="CC BY-NC")
    replica.put_article("PMC2.2", invented_article(2, version=2), license_code="CC BY-NC")
    replica.take_inventory("2026-11-27")
    before = set(held(store))
    outcome = update(store, url)
    assert set(held(store)) == before | {"PMC50.1", "PMC2.2"}
    assert outcome.counts["new"] == 2
    assert quiet(store, url)


def test_a_further_selection_takes_nothing_away_that_another_brought(replica, url, tmp_path):
    store = tmp_path / "store"
    replica.change("PMC5.1", license_code="CC BY-NC")
    replica.take_inventory(NEXT)
    fetch(store, url)
    replica.change("PMC5.1", license_code="CC BY-ND")
    replica.take_inventory("2026-11-27")
    outcome = fetch(store, url, Selection(licence="by"))
    assert outcome.counts == {"facts": 1}
    assert held(store) == truth(replica)


def test_what_only_its_retraction_makes_unwanted_is_kept_whatever_another_selection_asks(
    replica, url, tmp_path
):
    store = tmp_path / "store"
    replica.change("PMC5.1", license_code="CC BY-NC")
    replica.take_inventory(NEXT)
    fetch(store, url, Selection(licence="by"))
    fetch(store, url, Selection(ids=("PMC5",)))
    replica.change("PMC5.1", is_retracted=True)
    replica.take_inventory("2026-11-27")
    assert update(store, url).counts == {"facts": 1}
    assert rows(store)["PMC5.1"]["retracted"] is True
    assert held(store) == truth(replica)


def test_ids_are_listed_one_by_one_and_stay_the_only_ones(replica, url, tmp_path):
    store = tmp_path / "store"
    fetch(store, url, Selection(ids=("PMC3", "PMC5", "PMC99")))
    assert set(held(store)) == {"PMC3.1", "PMC5.1"}
    for path in list(replica._under(f"{BUCKET}/inventory-reports/")):
        replica.remove_file(path)
    replica.put_article("PMC99.1", invented_article(99))
    replica.put_article("PMC98.1", invented_article(98))
    replica.remove_article("PMC5.1")
    assert update(store, url).counts == {"new": 1, "withdrawn": 1}
    assert set(held(store)) == {"PMC3.1", "PMC99.1"}


def test_a_query_is_asked_again(replica, url, tmp_path):
    replica.put_query("heart", [3, 5])
    store = tmp_path / "store"
    fetch(store, url, Selection(query="heart"))
    assert set(held(store)) == {"PMC3.1", "PMC5.1"}
    replica.put_query("heart", [5, 7])
    replica.remove_article("PMC5.1")
    assert update(store, url).counts == {"new": 1, "withdrawn": 1}
    assert set(held(store)) == {"PMC3.1", "PMC7.1"}  # what it brought once stays


def test_a_query_that_finds_nothing_any_more_does_not_end_the_update(replica, url, tmp_path):
    replica.put_query("heart", [3, 5])
    store = tmp_path / "store"
    fetch(store, url, Selection(query="heart"))
    fetch(store, url, Selection(ids=("PMC9",)))
    replica.put_query("heart", [])
    replica.put_article("PMC9.2", invented_article(9, version=2))
    assert update(store, url).counts == {"new": 1}
    assert set(held(store)) == {"PMC3.1", "PMC5.1", "PMC9.1", "PMC9.2"}


def test_a_shard_that_is_lost_is_fetched_again(replica, url, store):
    (store / "shards" / "000001.parquet").unlink()
    assert update(store, url).counts == {"new": 40}
    assert held(store) == truth(replica)


def test_a_withdrawn_paper_whose_xml_is_lost_comes_back_whole(replica, url, store):
    xml = truth(replica)["PMC5.1"][0]
    replica.remove_article("PMC5.1")
    replica.take_inventory(NEXT)
    update(store, url)
    (store / "shards" / "000001.parquet").unlink()
    replica.put_article("PMC5.1", xml)
    replica.take_inventory("2026-11-27")
    update(store, url)
    assert held(store) == truth(replica)


def test_a_service_that_is_down_leaves_the_store_as_it_is(replica, url, store):
    before = held(store)
    replica.down = True
    with pytest.raises(InputError, match="cannot be reached"):
        update(store, url)
    assert held(store) == before


def test_an_update_of_nothing_is_refused(url, tmp_path):
    with pytest.raises(ArtifactError):
        update(tmp_path / "nothing", url)
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("seed", range(2))
def test_faults_change_nothing_in_what_an_update_brings(replica, url, store, seed):
    from replica import Faults

    replica.put_article("PMC41.1", invented_article(41))
    replica.change("PMC3.1", is_retracted=True)
    for number in range(5, 15):
        replica.put_article(f"PMC{number}.1", invented_article(number, seed=9))
    for number in range(20, 25):
        replica.remove_article(f"PMC{number}.1")
    replica.take_inventory(NEXT)
    kinds = ("503", "429", "500", "reset", "reset_early", "cut", "wrong")
    replica.faults = Faults(
        seed=seed, rates=dict.fromkeys(kinds, 0.3), retry_after=0, only=r"^(?!.*list-type)"
    )
    outcome = update(store, url)
    assert held(store) == truth(replica)
    assert outcome.counts == {"new": 1, "facts": 1, "changed": 10, "withdrawn": 5}
    assert outcome.again.total() > 10


def test_a_service_that_lists_nothing_of_what_is_held_withdraws_nothing(replica, url, store):
    for number in range(1, 41):
        replica.remove_article(f"PMC{number}.1")
        replica.put_article(f"PMC{number + 100}.1", invented_article(number + 100))
    replica.take_inventory(NEXT)
    before = held(store)
    with pytest.raises(
        InputError,
        match="has none of 40 of the 40 articles that the store holds; nothing is withdrawn: check",
    ):
        update(store, url)
    assert held(store) == before


def test_a_service_that_lacks_most_of_what_is_held_withdraws_nothing(replica, url, store):
    for number in range(1, 22):
        replica.remove_article(f"PMC{number}.1")
    replica.take_inventory(NEXT)
    with pytest.raises(InputError, match="has none of 21 of the 40 articles"):
        update(store, url)
    assert set(rows(store)) == {name for name, row in rows(store).items() if row["state"] == "article"}
    replica.put_article("PMC1.1", invented_article(1, paragraphs=1))  # and 20 of 40 may go
    replica.take_inventory("2026-11-27")
    assert update(store, url).counts["withdrawn"] == 20


def test_marks_are_named_in_the_report(replica, url, store):
    replica.change("PMC2.1", is_retracted=True)
    replica.remove_article("PMC3.1")
    replica.take_inventory(NEXT)
    outcome = update(store, url)
    assert sorted(outcome.report.marks) == [
        ("PMC2.1", "retracted"),
        ("PMC3.1", "withdrawn: no longer at the service"),
    ]
    report = json.loads((store / "report.json").read_text())
    assert report["marks"] == [
        {"id": "PMC2.1", "mark": "retracted"},
        {"id": "PMC3.1", "mark": "withdrawn: no longer at the service"},
    ]


def test_an_update_does_not_call_a_stopped_sample_complete(replica, url, tmp_path):
    replica.faults.always[f"{BUCKET}/PMC"] = "503"
    fetch(tmp_path / "store", url, Selection(sample=20))
    replica.faults.always.clear()
    update(tmp_path / "store", url)
    (record,) = open_store(tmp_path / "store").sources["pmc"]["selections"]
    assert not record["complete"]
    fetch(tmp_path / "store", url, Selection(sample=20))
    assert len(held(tmp_path / "store")) == 20
    (record,) = open_store(tmp_path / "store").sources["pmc"]["selections"]
    assert record["complete"]


def test_a_selection_that_finds_nothing_any_more_is_not_forgotten(replica, url, tmp_path):
    store = tmp_path / "store"
    fetch(store, url, Selection(licence="by", pmcids="PMC1-PMC3"))
    for number in (1, 2, 3):
        replica.change(f"PMC{number}.1", license_code="CC BY-NC")
    replica.take_inventory(NEXT)
    update(store, url)
    with pytest.raises(InputError, match="the selection is empty"):
        fetch(store, url, Selection(licence="by", pmcids="PMC1-PMC3"))
    for number in (1, 2, 3):
        replica.change(f"PMC{number}.1", license_code="CC BY")
    replica.take_inventory("2026-11-27")
    assert update(store, url).counts["facts"] == 3
    assert len(held(store)) == 3


def test_a_licence_is_asked_of_the_selections_that_name_the_article(replica, url, tmp_path):
    store = tmp_path / "store"
    fetch(store, url, Selection(ids=("PMC1",)))
    fetch(store, url, Selection(licence="by", pmcids="PMC2-PMC3"))
    replica.change("PMC1.1", license_code="CC BY-NC")
    replica.change("PMC2.1", license_code="CC BY-NC")
    replica.take_inventory(NEXT)
    assert update(store, url).counts == {"facts": 1, "withdrawn": 1}
    assert rows(store)["PMC2.1"]["state"] == "withdrawn"


def test_files_of_a_service_are_not_withdrawn_while_what_replaces_them_gets_no_answer(replica, url, tmp_path):
    data = gzip.compress(b"<PubmedArticleSet></PubmedArticleSet>")
    replica.put_file("/pubmed/updatefiles/pubmed26n1400.xml.gz", data)
    replica.put_file("/pubmed/baseline/pubmed26n0001.xml.gz", data)
    asking = Fetching(endpoints=(f"pubmed={url}/pubmed",), http=FAST)
    fetch_papers(tmp_path / "store", "pubmed", Selection(), asking, Silent(), everything=True)
    replica.remove_file("/pubmed/baseline/pubmed26n0001.xml.gz")
    replica.put_file("/pubmed/baseline/pubmed27n0001.xml.gz", data)
    replica.faults.always["/pubmed/baseline/pubmed27n0001.xml.gz"] = "503"
    update_papers(tmp_path / "store", asking, Silent())
    assert rows(tmp_path / "store")["baseline/pubmed26n0001.xml.gz"]["state"] == "file"
    replica.faults.always.clear()
    update_papers(tmp_path / "store", asking, Silent())
    states = {
        name: row["state"] for name, row in rows(tmp_path / "store").items() if name.startswith("baseline")
    }
    assert states == {"baseline/pubmed26n0001.xml.gz": "withdrawn", "baseline/pubmed27n0001.xml.gz": "file"}


def test_what_no_selection_names_any_more_is_kept_up_to_date(replica, url, store):
    (store / "manifest.json").unlink()
    fetch(store, url, Selection(ids=("PMC1",)))
    replica.change("PMC2.1", license_code="CC BY-NC")
    replica.take_inventory(NEXT)
    assert update(store, url).counts == {"facts": 1}
    assert held(store) == truth(replica)
