"""What is selected is what is fetched, however it is found out; what cannot be selected is said in one line."""

import dataclasses
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pmc import BUCKET, CODES, asked, fetch, held, truth
from replica import Replica, invented_article

from biolm.errors import ConfigError, InputError
from biolm.licences import allows, licence_of_code
from biolm.papers import cloud_runs
from biolm.papers.fetch import fetch_papers
from biolm.papers.metadata import Metadata, parse_metadata
from biolm.papers.runs import Fetching
from biolm.papers.selection import AnyOf, Selection, number_of, read_pmcids, selection_of
from biolm.papers.store import open_store
from biolm.progress import Silent


@pytest.fixture
def mixed(replica: Replica) -> Replica:
    """Articles of every licence, of every kind."""
    for number in range(1, 41):
        replica.change(
            f"PMC{number}.1",
            license_code=CODES[number % len(CODES)],
            is_pmc_openaccess=number % 3 != 0,
            is_manuscript=number % 4 == 0,
            is_retracted=number % 10 == 0,
        )
    replica.take_inventory("2026-11-26")
    return replica


def names(replica: Replica, wanted) -> set[str]:
    """The articles whose metadata pass."""
    return {name for name, (_, said) in truth(replica).items() if wanted(said)}


@pytest.mark.parametrize("licence", ["any", "commercial", "by"])
def test_a_group_of_licences_is_what_licences_py_allows(mixed, url, tmp_path, licence):
    expected = names(mixed, lambda said: allows(licence_of_code(said["license_code"]), licence))
    fetch(tmp_path / "store", url, Selection(licence=licence, retracted=True, pmcids="PMC1-"))
    assert set(held(tmp_path / "store")) == expected
    assert 0 < len(expected) < 40 or licence == "any"


@pytest.mark.parametrize("code", CODES[:-1])
def test_a_code_is_just_that_licence(mixed, url, tmp_path, code):
    fetch(tmp_path / "store", url, Selection(licence=code, retracted=True))
    assert set(held(tmp_path / "store")) == names(mixed, lambda said: said["license_code"] == code)


def test_several_codes_are_any_of_them(mixed, url, tmp_path):
    fetch(tmp_path / "store", url, Selection(licence="CC0, TDM", retracted=True))
    assert set(held(tmp_path / "store")) == names(mixed, lambda said: said["license_code"] in ("CC0", "TDM"))


SELECTIONS = {
    "open access": (Selection(open_access=True, retracted=True), lambda said: said["is_pmc_openaccess"]),
    "no manuscripts": (
        Selection(manuscripts="exclude", retracted=True),
        lambda said: not said["is_manuscript"],
    ),
    "only manuscripts": (Selection(manuscripts="only", retracted=True), lambda said: said["is_manuscript"]),
    "without the retracted": (Selection(pmcids="PMC1-"), lambda said: not said["is_retracted"]),
    "with the retracted": (Selection(pmcids="PMC1-", retracted=True), lambda said: True),
    "all of it": (
        Selection(open_access=True, manuscripts="exclude", licence="by", pmcids="PMC5-PMC30"),
        lambda said: (
            said["is_pmc_openaccess"]
            and not said["is_manuscript"]
            and not said["is_retracted"]
            and said["license_code"] in ("CC BY", "CC0")
            and 5 <= int(said["pmcid"][3:]) <= 30
        ),
    ),
}


@pytest.mark.parametrize("kind", SELECTIONS)
def test_what_the_service_says_decides(mixed, url, tmp_path, kind):
    selection, wanted = SELECTIONS[kind]
    outcome = fetch(tmp_path / "store", url, selection)
    expected = names(mixed, wanted)
    assert 0 < len(expected) <= 40
    assert set(held(tmp_path / "store")) == expected
    assert outcome.counts["new"] == len(expected)
    refused = sum(count for name, count in outcome.counts.items() if name.startswith("not wanted"))
    listed = 26 if selection.pmcids == "PMC5-PMC30" else 40
    assert refused == listed - len(expected)


def test_words_for_yes_and_no_are_read_too():
    said = {
        "pmcid": "PMC1",
        "version": "2",
        "is_pmc_openaccess": "yes",
        "is_retracted": "no",
        "is_manuscript": 1,
    }
    found = parse_metadata(json.dumps(said))
    assert (found.name, found.open_access, found.retracted, found.manuscript) == ("PMC1.2", True, False, True)


@pytest.mark.parametrize("ids_at_most", [2000, 0])
def test_ids_come_with_all_their_versions_listed_or_from_the_inventory(
    replica, url, tmp_path, monkeypatch, ids_at_most
):
    monkeypatch.setattr(cloud_runs, "LISTED_IDS", ids_at_most)
    replica.put_article("PMC4.2", invented_article(4, version=2))
    replica.put_article("PMC44.1", invented_article(44))
    replica.take_inventory("2026-11-26")
    before = len(replica.log)
    fetch(tmp_path / "store", url, Selection(ids=("PMC4", "PMC7", "PMC999")))
    assert set(held(tmp_path / "store")) == {"PMC4.1", "PMC4.2", "PMC7.1"}
    assert any("csv.gz" in entry.path for entry in replica.log[before:]) == (ids_at_most == 0)
    assert held(tmp_path / "store") == {name: truth(replica)[name] for name in held(tmp_path / "store")}


@pytest.mark.parametrize(
    ("words", "numbers"),
    [("PMC5-PMC9", range(5, 10)), ("5-9", range(5, 10)), ("PMC38-", range(38, 41)), ("-PMC2", range(1, 3))],
)
def test_a_range_of_pmcids_has_both_ends(replica, url, tmp_path, words, numbers):
    fetch(tmp_path / "store", url, Selection(pmcids=words))
    assert set(held(tmp_path / "store")) == {f"PMC{number}.1" for number in numbers}


def test_changed_since_takes_what_was_changed_that_day_or_later(replica, url, tmp_path):
    for number, moment in (
        (3, "2026-11-26T00:00:00"),
        (4, "2026-11-25T23:59:59"),
        (5, "2026-12-01T05:00:00"),
    ):
        replica.now = datetime.fromisoformat(moment).replace(tzinfo=UTC)
        replica.change(f"PMC{number}.1", doi=f"10.5555/{number}")
    replica.take_inventory("2026-12-02")
    fetch(tmp_path / "store", url, Selection(changed_since="2026-11-26"))
    assert set(held(tmp_path / "store")) == {"PMC3.1", "PMC5.1"}


def test_a_query_and_what_else_is_asked_for_must_both_fit(mixed, url, tmp_path):
    mixed.put_query("heart", range(1, 31))
    ids = tuple(f"PMC{number}" for number in range(11, 40))
    selection = Selection(query="heart", licence="commercial", ids=ids, retracted=True, pmcids="PMC1-PMC25")
    fetch(tmp_path / "store", url, selection)
    expected = names(
        mixed,
        lambda said: (
            11 <= int(said["pmcid"][3:]) <= 25 and allows(licence_of_code(said["license_code"]), "commercial")
        ),
    )
    assert set(held(tmp_path / "store")) == expected


def test_a_range_of_publication_dates_is_asked_of_esearch(replica, url, tmp_path):
    replica.published.update({number: 2000 + number for number in range(1, 41)})
    fetch(tmp_path / "a", url, Selection(published="2011:2013"))
    assert set(held(tmp_path / "a")) == {"PMC11.1", "PMC12.1", "PMC13.1"}
    fetch(tmp_path / "b", url, Selection(published="2038/01:"))
    assert set(held(tmp_path / "b")) == {"PMC38.1", "PMC39.1", "PMC40.1"}
    replica.put_query("heart OR liver", [1, 2, 30])
    fetch(tmp_path / "c", url, Selection(published=":2005", query="heart OR liver"))
    assert set(held(tmp_path / "c")) == {"PMC1.1", "PMC2.1"}


# Samples


def sampled(out: Path, url: str, size: int, seed: int = 0, **more: object) -> set[str]:
    fetch(out, url, Selection(sample=size, seed=seed, **more))
    return set(held(out))


def test_a_sample_is_the_same_for_the_same_seed_and_another_for_another(replica, url, tmp_path):
    first = sampled(tmp_path / "a", url, 8, seed=1)
    assert len(first) == 8
    assert sampled(tmp_path / "b", url, 8, seed=1) == first
    assert sampled(tmp_path / "c", url, 8, seed=2) != first
    assert sampled(tmp_path / "d", url, 4, seed=1) < first
    assert sampled(tmp_path / "e", url, 8, seed=-1) != first


def test_a_sample_has_just_as_many_articles_as_were_asked_for_among_those_that_pass(mixed, url, tmp_path):
    passing = names(mixed, lambda said: said["license_code"] in ("CC BY", "CC0") and not said["is_retracted"])
    for size in (1, 3, len(passing)):
        chosen = sampled(tmp_path / str(size), url, size, seed=5, licence="by")
        assert len(chosen) == size
        assert chosen <= passing
    assert sampled(tmp_path / "more", url, 1000, seed=5, licence="by") == passing


def test_a_sample_counts_articles_and_takes_all_their_versions(replica, url, tmp_path):
    for number in range(1, 41):
        replica.put_article(f"PMC{number}.2", invented_article(number, version=2, paragraphs=1))
    replica.take_inventory("2026-11-26")
    chosen = sampled(tmp_path / "store", url, 6)
    assert len(chosen) == 12
    assert len({name.partition(".")[0] for name in chosen}) == 6


def test_articles_that_come_later_change_a_sample_only_by_themselves(replica, url, tmp_path):
    before = sampled(tmp_path / "a", url, 10, seed=3)
    for number in range(41, 46):
        replica.put_article(f"PMC{number}.1", invented_article(number, paragraphs=1))
    replica.take_inventory("2026-11-26")
    after = sampled(tmp_path / "b", url, 10, seed=3)
    assert len(after - before) <= 5
    assert all(int(name[3:-2]) > 40 for name in after - before)


def test_samples_of_many_seeds_take_every_article_alike(replica, url, tmp_path):
    chosen = [sampled(tmp_path / str(seed), url, 10, seed=seed) for seed in range(12)]
    assert len(set().union(*chosen)) >= 35  # of 40, at 0.03 expected to be missed


def test_a_sample_asks_for_little_more_than_it_takes(replica, url, tmp_path):
    for number in range(41, 141):
        replica.put_article(f"PMC{number}.1", invented_article(number, paragraphs=1))
    replica.take_inventory("2026-11-26")
    sampled(tmp_path / "store", url, 5)
    metadata = [path for path in asked(replica) if path.startswith("metadata/")]
    assert len(metadata) == len(set(metadata)) <= 40
    assert sum(path.endswith(".xml") for path in asked(replica)) == 5


def test_what_gets_no_answer_while_a_sample_is_chosen_is_named(replica, url, tmp_path):
    whole = sampled(tmp_path / "a", url, 8, seed=1)
    name = min(whole)
    for path in (tmp_path / "cache").rglob("*.parquet"):
        path.unlink()
    replica.faults.always[f"{BUCKET}/metadata/{name}.json"] = "503"
    outcome = fetch(tmp_path / "b", url, Selection(sample=8, seed=1))
    assert outcome.report.counts == {"unanswered": 1}
    assert outcome.report.problems[0][0] == name
    assert name not in held(tmp_path / "b")
    assert open_store(tmp_path / "b").sources["pmc"]["selections"][0]["complete"] is False
    replica.faults.always.clear()
    fetch(tmp_path / "b", url, Selection(sample=8, seed=1))
    assert whole <= set(held(tmp_path / "b"))


def test_a_second_fetch_of_a_sample_asks_for_no_article(replica, url, tmp_path):
    sampled(tmp_path / "store", url, 8, seed=1)
    before = len(replica.log)
    assert not fetch(tmp_path / "store", url, Selection(sample=8, seed=1)).counts
    assert asked(replica, before) == []


def test_another_selection_over_the_same_inventory_asks_for_no_metadata_again(mixed, url, tmp_path):
    fetch(tmp_path / "a", url, Selection(licence="by"))
    before = len(mixed.log)
    fetch(tmp_path / "b", url, Selection(licence="commercial"))
    assert not [path for path in asked(mixed, before) if path.startswith("metadata/")]
    mixed.change("PMC12.1", license_code="CC BY")
    mixed.change("PMC10.1", license_code="CC BY", is_retracted=False)
    mixed.take_inventory("2026-11-27")
    before = len(mixed.log)
    fetch(tmp_path / "c", url, Selection(licence="by"))
    again = [path for path in asked(mixed, before) if path.startswith("metadata/")]
    assert sorted(again) == ["metadata/PMC10.1.json", "metadata/PMC12.1.json"]
    assert {"PMC12.1", "PMC10.1"} <= set(held(tmp_path / "c"))


# What selects nothing, and what is no selection


EMPTY = {
    "ids that are not there": Selection(ids=("PMC999",)),
    "a range without articles": Selection(pmcids="PMC900-PMC999"),
    "a day to come": Selection(changed_since="2099-01-01"),
    "a licence that none has": Selection(licence="CC BY-NC-ND"),
    "manuscripts where there are none": Selection(manuscripts="only"),
    "a sample of none": Selection(licence="TDM", sample=3),
    "dates without articles": Selection(published="1700:1701"),
    "a query that finds nothing": Selection(query="nothing"),
    "a query that finds others": Selection(query="other", ids=("PMC5",)),
}


@pytest.mark.parametrize("kind", EMPTY)
def test_a_selection_of_nothing_is_one_line(replica, url, tmp_path, kind):
    replica.put_query("other", [6])
    with pytest.raises(InputError, match=r"selection is empty|finds no article") as error:
        fetch(tmp_path / "store", url, EMPTY[kind])
    assert "\n" not in str(error.value)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("kind", ["ids that are not there", "a sample of none", "a query that finds others"])
def test_a_selection_of_nothing_changes_nothing_in_a_store(replica, url, tmp_path, kind):
    replica.put_query("other", [6])
    fetch(tmp_path / "store", url, Selection(ids=("PMC1",)))
    with pytest.raises(InputError, match="selection is empty"):
        fetch(tmp_path / "store", url, EMPTY[kind])
    assert set(held(tmp_path / "store")) == {"PMC1.1"}
    (record,) = open_store(tmp_path / "store").sources["pmc"]["selections"]
    assert record["settings"] == {"ids": ["PMC1"]}


BAD = {
    "licence": ["", "cc", "free", "CC BY,", "by,commercial"],
    "manuscripts": ["", "all", "ONLY"],
    "pmcids": ["", "-", "PMC5", "PMC9-PMC5", "PMCx-PMC5", "1-2-3", "PMC0-PMC5", "1:2"],
    "published": [
        "",
        ":",
        "2015-2016",
        "2015/13",
        "2015/02/30:",
        "2020:2015",
        "a:b",
        "2015:20",
        "2015/1/1/1:",
        "2015::2016",
    ],
    "changed_since": ["", "yesterday", "2026-13-01", "01.02.2026", "2026"],
    "sample": [0, -5],
    "query": ["", "  "],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in BAD.items() for value in values]
)
def test_a_setting_that_is_none_is_one_line(name, value):
    with pytest.raises(ConfigError) as error:
        Selection(**{name: value})
    assert "\n" not in str(error.value)
    assert re.search("give|impossible", str(error.value))


def test_everything_must_be_meant(url, tmp_path):
    for selection in (Selection(), Selection(retracted=True), Selection(seed=5)):
        with pytest.raises(ConfigError, match="--all for everything"):
            fetch_papers(tmp_path / "store", "pmc", selection, Fetching(), Silent())
    assert not (tmp_path / "store").exists()


SETTINGS = st.builds(
    Selection,
    licence=st.sampled_from(["any", "by", "commercial", "CC BY,CC0"]),
    open_access=st.booleans(),
    manuscripts=st.sampled_from(["include", "exclude", "only"]),
    retracted=st.booleans(),
    ids=st.none() | st.lists(st.integers(1, 99).map("PMC{}".format), min_size=1).map(tuple),
    pmcids=st.none() | st.just("PMC1-PMC5"),
    query=st.none() | st.just("heart"),
    sample=st.none() | st.integers(1, 9),
    seed=st.integers(),
)
FILTERS = st.builds(
    Selection,
    licence=st.sampled_from(["any", "by"]),
    manuscripts=st.sampled_from(["include", "exclude"]),
    retracted=st.booleans(),
)
FOUND = st.builds(
    Metadata,
    licence=st.sampled_from(["CC-BY", "CC-BY-NC", "unknown"]),
    open_access=st.booleans(),
    manuscript=st.booleans(),
    retracted=st.booleans(),
)


@given(SETTINGS)
def test_a_selection_comes_back_from_the_manifest_as_it_was(selection):
    assert selection_of(json.loads(json.dumps(selection.settings()))) == selection


def test_a_setting_of_a_later_biolm_is_one_line():
    with pytest.raises(ConfigError, match="fetched with colour, which this biolm does not know"):
        selection_of({"licence": "by", "colour": "red"})


@given(st.lists(FILTERS, min_size=1, max_size=3), FOUND)
def test_any_of_several_selections_wants_what_one_of_them_wants(selections, found):
    refusals = {selection.refusal(found) for selection in selections}
    refusal = AnyOf(tuple(selections)).refusal(found)
    assert (refusal is None) == (None in refusals)
    assert refusal in refusals
    unmarked = dataclasses.replace(found, retracted=False)
    assert (refusal == "retracted") == (
        None not in refusals and any(selection.refusal(unmarked) is None for selection in selections)
    )


def test_ids_that_are_not_listed_are_named(replica, url, tmp_path):
    outcome = fetch(tmp_path / "store", url, Selection(ids=("PMC1", "PMC77", "PMC99")))
    assert outcome.report.counts == {"unknown": 2}
    assert [name for name, *_ in outcome.report.problems] == ["PMC77", "PMC99"]
    assert set(held(tmp_path / "store")) == {"PMC1.1"}
    with pytest.raises(InputError, match="lists none of the 2 articles that were asked for by id"):
        fetch(tmp_path / "none", url, Selection(ids=("PMC77", "PMC99")))


def test_a_year_alone_is_the_whole_year():
    assert Selection(published="2015").publication_dates() == "2015:2015[pdat]"
    assert Selection(published="2015/06:2015/07").publication_dates() == "2015/06:2015/07[pdat]"


# Files of ids


def test_pmcids_are_read_from_files_with_headings_comments_and_versions(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes("\ufeffpmcid,title\r\nPMC5,A title\r\n\r\npmc0012.3\r\n# a comment\r\n".encode())
    two.write_text("PMC5\tagain\n PMC100, PMC101;PMC102 # PMC103 is not\n")
    assert read_pmcids([one, two]) == ("PMC5", "PMC12", "PMC100", "PMC101", "PMC102")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"PMC5\nnone of ours\n", "line 2: 'none' is no PMCID"),
        (b"PMC5\n10.1000/182\n", "line 2"),
        (b"PMC5\n2990001\n", "line 2: '2990001' is no PMCID; write PMC2990001 if it is one, and no PMID"),
        (b"2990001\n", "line 1: '2990001' is no PMCID"),
        (b"", "holds no PMCIDs"),
        (b"pmcid\n", "holds no PMCIDs"),
        (b"# nothing\n\n", "holds no PMCIDs"),
        (b"\xff\xfe\x00", "it is no text"),
        (None, "cannot be read"),
    ],
)
def test_a_file_without_pmcids_is_one_line(tmp_path, data, why):
    path = tmp_path / "ids"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(InputError, match=why) as error:
        read_pmcids([path])
    assert "\n" not in str(error.value)


@given(st.integers(1, 10**12 - 1), st.sampled_from(["PMC{}", "{}", "pmc{}.2", " PMC{} ", "PMC00{}"]))
def test_a_pmcid_is_its_number_however_it_is_written(number, form):
    assert number_of(form.format(number)) == number


@pytest.mark.parametrize("word", ["", "PMC", "PMC0", "PMC-5", "PMC5.", "5x", "PMC5.x", "PMC" + "9" * 13, "²"])
def test_what_is_no_pmcid_is_refused(word):
    with pytest.raises(ValueError, match="is no PMCID"):
        number_of(word)
