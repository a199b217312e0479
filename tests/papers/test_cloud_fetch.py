"""A fetch from the PMC Cloud Service ends with what the service has, whatever goes wrong on the way."""

import asyncio
import gzip
import itertools
import json
import multiprocessing
import os
import re
import socket
import threading
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pmc import BUCKET, DAY, FAST, asked, fetch, held, log_rows, rows, truth
from replica import Faults, Replica, invented_article, make_answer, md5_hex

from biolm.artifacts import exclusive
from biolm.errors import InputError
from biolm.papers import inventory, metadata_cache
from biolm.papers.answers import Answer, HttpConfig
from biolm.papers.bucket import Bucket, moment
from biolm.papers.client import Client
from biolm.papers.files import _links, modified
from biolm.papers.metadata import head_facts
from biolm.papers.metadata_cache import MetadataCache
from biolm.papers.selection import Selection
from biolm.papers.store import open_store

HASTY = HttpConfig(in_flight=32, backoff_seconds=0.01, backoff_most_seconds=0.05, silence_seconds=0.3)
"""For services that fall silent."""
ARTICLES_ONLY = r"/PMC\d"
INVENTORIES = f"{BUCKET}/inventory-reports/{Replica.bucket}/metadata"


def problems(store: Path) -> dict[str, str]:
    """Id → kind, as the store's report names them."""
    return {row["id"]: row["problem"] for row in json.loads((store / "report.json").read_text())["problems"]}


def test_a_fetch_of_everything_holds_what_the_service_has(replica, url, tmp_path):
    outcome = fetch(tmp_path / "store", url)
    assert held(tmp_path / "store") == truth(replica)
    assert outcome.counts == {"new": 40}
    assert outcome.bytes == sum(len(xml) for xml, _ in truth(replica).values())
    for name, row in rows(tmp_path / "store").items():
        xml = replica._stored[f"{BUCKET}/{name}/{name}.xml"]
        assert row["md5"] == xml.etag
        assert row["bytes"] == len(xml.body)
        assert row["etag"] == replica._stored[f"{BUCKET}/metadata/{name}.json"].etag
        assert (row["licence"], row["journal"], row["type"]) == (
            "CC-BY",
            "Journal of Replicas",
            "research-article",
        )
        assert str(row["year"]) in xml.body.decode()
        store = open_store(tmp_path / "store")
        ((_, address),) = store.column("url", row["xml_shard"], [row["xml_row"]])
        assert address == f"{url}{BUCKET}/{name}/{name}.xml"
    assert Counter(asked(replica)).most_common(1)[0][1] == 1
    assert open_store(tmp_path / "store").sources["pmc"]["as_of"] == DAY


def test_a_second_fetch_asks_for_no_article(replica, url, tmp_path):
    fetch(tmp_path / "store", url)
    before, written = len(replica.log), log_rows(tmp_path / "store")
    outcome = fetch(tmp_path / "store", url)
    assert len(replica.log) > before  # the inventory's list
    assert asked(replica, before) == []
    assert not outcome.counts
    assert log_rows(tmp_path / "store") == written == 40


def test_every_version_of_an_article_is_kept(replica, url, tmp_path):
    replica.put_article("PMC7.2", invented_article(7, version=2, paragraphs=1))
    replica.put_article("PMC7.11", invented_article(7, version=11, paragraphs=1), pmcid="PMC7.11", version=11)
    replica.take_inventory("2026-11-26")
    fetch(tmp_path / "store", url)
    assert {"PMC7.1", "PMC7.2", "PMC7.11"} <= set(held(tmp_path / "store"))
    assert held(tmp_path / "store") == truth(replica)


def test_a_service_without_inventories_is_listed_page_by_page(replica, url, tmp_path):
    for path in list(replica._under(f"{BUCKET}/inventory-reports/")):
        replica.remove_file(path)
    replica.page_size = 7
    outcome = fetch(tmp_path / "store", url)
    assert held(tmp_path / "store") == truth(replica)
    assert outcome.counts["new"] == 40


REASONS = {
    "503": "HTTP 503",
    "429": "HTTP 429",
    "500": "HTTP 500",
    "reset": "cut off|broken connection",
    "reset_early": "broken connection",
    "cut": "cut off",
    "wrong": "wrong MD5",
    "slow": "",
    "stall": "time-out",
}
"""How the repeated tries of each fault are counted; one that only takes its time is not repeated."""


@pytest.mark.parametrize("kind", REASONS)
def test_a_fault_is_tried_again_and_counted(replica, url, tmp_path, kind):
    replica.faults = Faults(
        seed=3, rates={kind: 0.5}, only=ARTICLES_ONLY, retry_after=0, slow_seconds=0.005, stall_seconds=30
    )
    outcome = fetch(tmp_path / "store", url, http=HASTY)
    assert held(tmp_path / "store") == truth(replica)
    assert not outcome.report.problems
    assert replica.faults.counts[kind] > 10
    if not REASONS[kind]:
        assert not outcome.again
    else:
        assert all(re.fullmatch(REASONS[kind], why) for why in outcome.again), outcome.again
        times = outcome.again.total()
        if kind == "reset_early":  # aiohttp itself asks once more where a connection that it kept is closed
            assert 0 <= times <= replica.faults.counts[kind]
        else:
            assert times == replica.faults.counts[kind]
        assert json.loads((tmp_path / "store" / "report.json").read_text())["repeated"] == outcome.again


@pytest.mark.parametrize("seed", range(4))
def test_a_mixture_of_faults_changes_nothing_in_the_store(replica, url, tmp_path, seed):
    replica.faults = Faults(
        seed=seed, rates=dict.fromkeys(REASONS, 0.15), retry_after=0, slow_seconds=0.005, stall_seconds=30
    )
    replica.faults.only = r"^(?!.*list-type)"  # nothing tells whether a listing with one wrong byte is right
    outcome = fetch(tmp_path / "store", url, http=HASTY)
    assert held(tmp_path / "store") == truth(replica)
    assert not outcome.report.problems
    made = replica.faults.counts
    assert len(made) == len(REASONS)
    again = Counter(outcome.again)
    broken = again.pop("cut off") + again.pop("broken connection", 0)
    assert made["cut"] + made["reset"] <= broken <= made["cut"] + made["reset"] + made["reset_early"]
    assert again == {
        "HTTP 503": made["503"],
        "HTTP 429": made["429"],
        "HTTP 500": made["500"],
        "time-out": made["stall"],
        "wrong MD5": made["wrong"],
    }


@pytest.mark.parametrize("kind", ["503", "429", "500", "reset", "reset_early", "cut", "slow", "stall"])
def test_faults_of_listings_change_nothing_in_the_store(replica, url, tmp_path, kind):
    replica.page_size = 7
    replica.faults = Faults(
        rates={kind: 1.0}, only="list-type", retry_after=0, slow_seconds=0.005, stall_seconds=30
    )
    names = tuple(f"PMC{number}" for number in range(1, 6))
    fetch(tmp_path / "all", url, http=HASTY)
    assert held(tmp_path / "all") == truth(replica)
    fetch(tmp_path / "five", url, Selection(ids=names), http=HASTY)
    assert {name.partition(".")[0] for name in held(tmp_path / "five")} == set(names)
    assert replica.faults.counts[kind] >= 6


def test_a_listing_that_is_no_xml_is_asked_for_again(replica, url, tmp_path):
    answer, turns = replica.answer, Counter()

    def cut_short(method, target, conditions):
        found = answer(method, target, conditions)
        turns[target] += 1
        if "list-type" not in target or turns[target] > 1:
            return found
        body = found.body.replace(b"</", b"<", 1)
        return found._replace(body=body + b" ")

    replica.answer = cut_short
    outcome = fetch(tmp_path / "store", url)
    assert held(tmp_path / "store") == truth(replica)
    assert outcome.again == {"broken listing": len([path for path in turns if "list-type" in path])}


# The inventory


def put_inventory(replica: Replica, day: str, data: bytes, **manifest: object) -> None:
    """An inventory with one data file whose MD5 its manifest states."""
    key = f"inventory-reports/{replica.bucket}/metadata/data/{day}.csv.gz"
    replica._put(f"{BUCKET}/{key}", data, "application/octet-stream")
    said = {
        "fileSchema": "Bucket, Key, LastModifiedDate, ETag",
        "files": [{"key": key, "size": len(data), "MD5checksum": md5_hex(data)}],
    } | manifest
    replica._put(f"{INVENTORIES}/{day}T01-00Z/manifest.json", json.dumps(said).encode(), "application/json")


ROW = f'"{Replica.bucket}","metadata/PMC1.1.json","2026-01-08T11:47:59.000Z","{"0" * 32}"\n'.encode()
BROKEN = {
    "truncated gzip": (gzip.compress(ROW * 5000)[:-40], {}),
    "wrong gzip": (b"\x1f\x8b" + bytes(100), {}),
    "no gzip": (ROW, {}),
    "too few columns": (gzip.compress(b'"a","b"\n'), {}),
    "no CSV": (gzip.compress(b"\xff\xfe\x00" * 99), {}),
    "other times": (gzip.compress(ROW.replace(b"2026-01-08T", b"yesterday ")), {}),
    "another MD5": (gzip.compress(ROW), {"files": [{"key": "x", "MD5checksum": "0" * 32}]}),
    "a file that is not there": (gzip.compress(ROW), {"files": [{"key": "nowhere.csv.gz"}]}),
    "no schema": (gzip.compress(ROW), {"fileSchema": 5}),
    "other columns": (gzip.compress(ROW), {"fileSchema": "Bucket, Key, Size, Owner"}),
    "no list of files": (gzip.compress(ROW), {"files": 7}),
    "files without keys": (gzip.compress(ROW), {"files": [{"key": 5}]}),
    "words for files": (gzip.compress(ROW), {"files": ["a"]}),
    "no files": (gzip.compress(ROW), {"files": []}),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_an_older_inventory_is_taken_where_the_newest_is_broken(replica, url, tmp_path, kind):
    data, manifest = BROKEN[kind]
    put_inventory(replica, "2026-11-26", data, **manifest)
    fetch(tmp_path / "store", url)
    assert held(tmp_path / "store") == truth(replica)
    assert open_store(tmp_path / "store").sources["pmc"]["as_of"] == DAY


def test_an_inventory_that_is_being_written_is_passed_over(replica, url, tmp_path):
    replica._put(f"{INVENTORIES}/2026-11-26T01-00Z/manifest.checksum", b"", "text/plain")
    fetch(tmp_path / "store", url)
    assert open_store(tmp_path / "store").sources["pmc"]["as_of"] == DAY


def test_only_broken_inventories_are_one_line_about_the_newest(replica, url, tmp_path):
    for path in list(replica._under(f"{INVENTORIES}/data/")):
        replica._put(path, b"\x1f\x8bcut", "application/octet-stream")
    with pytest.raises(
        InputError, match=rf"no inventory of {url}.* can be used \(that of {DAY}: .*MD5"
    ) as error:
        fetch(tmp_path / "store", url)
    assert "\n" not in str(error.value)


def test_an_inventory_whose_file_comes_wrong_once_is_asked_again(replica, url, tmp_path):
    replica.faults = Faults(rates={"wrong": 1.0}, only=r"csv\.gz")
    outcome = fetch(tmp_path / "store", url)
    assert outcome.again == {"wrong MD5": 2}
    assert held(tmp_path / "store") == truth(replica)


def test_an_inventory_is_fetched_once_a_day(replica, url, tmp_path):
    fetch(tmp_path / "a", url, Selection(pmcids="PMC1-PMC3"))
    before = len(replica.log)
    fetch(tmp_path / "b", url, Selection(pmcids="PMC3-PMC5"))
    assert not any("csv.gz" in entry.path or "manifest" in entry.path for entry in replica.log[before:])
    replica.take_inventory("2026-11-26")
    fetch(tmp_path / "b", url, Selection(pmcids="PMC5-PMC6"))
    assert any("csv.gz" in entry.path for entry in replica.log[before:])
    facts = open_store(tmp_path / "b").sources["pmc"]
    assert [record["as_of"] for record in facts["selections"]] == [DAY, "2026-11-26"]
    assert facts["as_of"] == DAY  # the store is as old as its oldest part


# What is not as it was listed


def test_what_is_listed_and_gone_is_named_and_the_rest_fetched(replica, url, tmp_path):
    for name in ("PMC3.1", "PMC14.1"):
        replica.remove_article(name)
    replica.lose_xml("PMC5.1")
    outcome = fetch(tmp_path / "store", url)
    assert held(tmp_path / "store") == truth(replica)
    assert outcome.counts["new"] == 37
    assert problems(tmp_path / "store") == dict.fromkeys(("PMC3.1", "PMC14.1", "PMC5.1"), "gone")
    assert outcome.report.counts == {"gone": 3}
    (line,) = outcome.report.lines()
    assert "3 gone" in line
    assert all(name in line for name in ("PMC3.1", "PMC5.1", "PMC14.1"))


def test_bytes_that_stay_wrong_are_damaged(replica, url, tmp_path):
    path = f"{BUCKET}/PMC6.1/PMC6.1.xml"
    replica.faults.always[path] = "wrong"
    outcome = fetch(tmp_path / "store", url)
    assert problems(tmp_path / "store") == {"PMC6.1": "damaged"}
    assert set(held(tmp_path / "store")) == set(truth(replica)) - {"PMC6.1"}
    assert outcome.again == {"wrong MD5": 2}
    replica.faults.always.clear()
    assert fetch(tmp_path / "store", url).counts["new"] == 1
    assert held(tmp_path / "store") == truth(replica)


def test_metadata_that_come_otherwise_each_time_are_damaged(replica, url, tmp_path):
    path = f"{BUCKET}/metadata/PMC6.1.json"
    good = replica._stored[path].body
    answer, turns = replica.answer, itertools.count(50_000_000)

    def other_each_time(method, target, conditions):
        if target == path:
            body = good.replace(b"40000006", b"%d" % next(turns))
            return answer(method, target, conditions)._replace(body=body)
        return answer(method, target, conditions)

    replica.answer = other_each_time
    fetch(tmp_path / "store", url)
    assert "PMC6.1" not in held(tmp_path / "store")
    assert problems(tmp_path / "store") == {"PMC6.1": "damaged"}


@pytest.mark.parametrize("path", ["metadata/PMC9.1.json", "PMC9.1/PMC9.1.xml"])
def test_what_gets_no_answer_is_named_and_brought_by_the_next_fetch(replica, url, tmp_path, path):
    replica.faults.always[f"{BUCKET}/{path}"] = "503"
    outcome = fetch(tmp_path / "store", url)
    assert problems(tmp_path / "store") == {"PMC9.1": "unanswered"}
    assert outcome.counts["new"] == 39
    (record,) = open_store(tmp_path / "store").sources["pmc"]["selections"]
    assert record["complete"] is False
    replica.faults.always.clear()
    before = len(replica.log)
    outcome = fetch(tmp_path / "store", url)
    assert outcome.counts == {"new": 1}
    assert all("PMC9.1" in path for path in asked(replica, before))
    assert held(tmp_path / "store") == truth(replica)
    (record,) = open_store(tmp_path / "store").sources["pmc"]["selections"]
    assert record["complete"] is True
    assert problems(tmp_path / "store") == {}


@pytest.mark.parametrize("status", ["403"])
def test_what_is_refused_is_named(replica, url, tmp_path, status):
    replica.faults.always[f"{BUCKET}/PMC9.1/"] = status
    fetch(tmp_path / "store", url)
    assert problems(tmp_path / "store") == {"PMC9.1": "refused"}


BAD = {
    "address elsewhere": {"xml_url": "https://example.org/PMC2.1.xml"},
    "address of a similar bucket": {"xml_url": "s3://pmc-oa-opendata-2/PMC2.1/PMC2.1.xml"},
    "host of a similar bucket": {"xml_url": "https://pmc-oa-opendata-2.s3.amazonaws.com/PMC2.1/PMC2.1.xml"},
    "host that only begins like it": {"xml_url": "https://pmc-oa-opendata.s3.example.org/PMC2.1/PMC2.1.xml"},
    "another bucket in the path": {"xml_url": "https://s3.amazonaws.com/other/PMC2.1/PMC2.1.xml"},
    "address that climbs": {"xml_url": "s3://pmc-oa-opendata/../secret.xml"},
    "address that climbs in disguise": {"xml_url": "s3://pmc-oa-opendata/a/%2e%2e/%2e%2e/secret.xml"},
    "address of a file": {"xml_url": "file:///etc/passwd"},
    "no address": {"xml_url": "PMC2.1.xml"},
    "broken address": {"xml_url": "http://[1"},
    "another article": {"pmcid": "PMC3"},
    "another version": {"version": 2},
    "no article": {"pmcid": None, "version": None},
}


@pytest.mark.parametrize("kind", BAD)
def test_metadata_that_lead_elsewhere_are_bad_and_not_followed(replica, url, tmp_path, kind):
    replica.change("PMC2.1", **BAD[kind])
    replica.take_inventory("2026-11-26")
    fetch(tmp_path / "store", url)
    assert problems(tmp_path / "store") == {"PMC2.1": "bad metadata"}
    assert [path for path in asked(replica) if "PMC2.1" in path] == ["metadata/PMC2.1.json"]
    assert not any("secret" in entry.path or "passwd" in entry.path for entry in replica.log)
    assert set(held(tmp_path / "store")) == set(truth(replica)) - {"PMC2.1"}


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"7", b"{", b"null", b"\xff\xfe", b'{"pmcid": ["PMC2"]}', b"[" * 10**5]
)
def test_metadata_that_are_no_metadata_are_bad(replica, url, tmp_path, body):
    replica._put(f"{BUCKET}/metadata/PMC2.1.json", body, "application/json")
    replica.take_inventory("2026-11-26")
    fetch(tmp_path / "store", url)
    assert problems(tmp_path / "store") == {"PMC2.1": "bad metadata"}
    assert len(held(tmp_path / "store")) == 39


@pytest.mark.parametrize(
    "address",
    [
        "s3://pmc-oa-opendata/{}",
        "https://pmc-oa-opendata.s3.amazonaws.com/{}",
        "https://pmc-oa-opendata.s3.us-east-1.amazonaws.com/{}",
        "https://s3.amazonaws.com/pmc-oa-opendata/{}",
    ],
)
def test_addresses_in_the_bucket_are_asked_for_at_the_endpoint(replica, url, tmp_path, address):
    xml = truth(replica)["PMC2.1"][0]
    place = address.format("PMC2.1/PMC2.1.xml")
    replica.change("PMC2.1", xml_url=f"{place}?md5={md5_hex(xml)}")
    replica.change("PMC3.1", xml_url=address.format("PMC3.1/PMC3.1.xml"))  # its MD5 is the ETag
    replica.take_inventory("2026-11-26")
    outcome = fetch(tmp_path / "store", url)
    assert outcome.counts == {"new": 40}
    assert held(tmp_path / "store") == truth(replica)


def test_xml_without_a_stated_md5_is_asked_again_where_it_is_not_its_etag(replica, url, tmp_path):
    replica.change("PMC3.1", xml_url="s3://pmc-oa-opendata/PMC3.1/PMC3.1.xml")
    replica.take_inventory("2026-11-26")
    replica.faults = Faults(rates={"wrong": 1.0}, only=r"PMC3\.1\.xml")
    outcome = fetch(tmp_path / "store", url)
    assert outcome.again == {"wrong MD5": 1}
    assert held(tmp_path / "store") == truth(replica)


def test_articles_changed_after_the_inventory_are_held_as_they_are_now(replica, url, tmp_path):
    replica.put_article("PMC4.1", invented_article(4, paragraphs=2))
    replica.change("PMC5.1", doi="10.5555/other")
    fetch(tmp_path / "store", url)
    assert held(tmp_path / "store") == truth(replica)
    before, written = len(replica.log), log_rows(tmp_path / "store")
    outcome = fetch(tmp_path / "store", url)
    assert outcome.counts == {"unchanged": 2}
    assert log_rows(tmp_path / "store") == written
    assert sorted(asked(replica, before)) == ["metadata/PMC4.1.json", "metadata/PMC5.1.json"]


def replaced_when_its_metadata_were_read(replica: Replica, name: str, xml: bytes, **metadata: object) -> None:
    """The article is another as soon as its metadata have gone out."""
    answer, done = replica.answer, threading.Event()

    def then(method, target, conditions):
        found = answer(method, target, conditions)
        if target == f"{BUCKET}/metadata/{name}.json" and not done.is_set():
            done.set()
            replica.put_article(name, xml, **metadata)
        return found

    replica.answer = then


def test_an_article_replaced_between_metadata_and_xml_is_held_as_the_new_one(replica, url, tmp_path):
    replaced_when_its_metadata_were_read(replica, "PMC8.1", invented_article(8, paragraphs=4), title="New")
    outcome = fetch(tmp_path / "store", url)
    assert held(tmp_path / "store") == truth(replica)
    assert held(tmp_path / "store")["PMC8.1"][1]["title"] == "New"
    assert not outcome.report.problems
    assert (
        rows(tmp_path / "store")["PMC8.1"]["etag"] == replica._stored[f"{BUCKET}/metadata/PMC8.1.json"].etag
    )


def test_an_article_replaced_by_one_that_is_not_wanted_is_not_held(replica, url, tmp_path):
    replaced_when_its_metadata_were_read(
        replica, "PMC8.1", invented_article(8, paragraphs=4), license_code="CC BY-NC"
    )
    outcome = fetch(tmp_path / "store", url, Selection(licence="by"))
    assert set(held(tmp_path / "store")) == set(truth(replica)) - {"PMC8.1"}
    assert outcome.counts == {"new": 39, "not wanted: licence": 1}


def test_a_stale_inventory_and_kept_metadata_do_not_take_newer_facts_back(replica, url, tmp_path):
    fetch(tmp_path / "store", url)
    replica.change("PMC4.1", is_retracted=True)
    fetch(tmp_path / "store", url, Selection(ids=("PMC4",), retracted=True))  # lists the article itself
    assert rows(tmp_path / "store")["PMC4.1"]["retracted"] is True
    written = log_rows(tmp_path / "store")
    assert fetch(tmp_path / "store", url).counts == {"unchanged": 1}
    assert rows(tmp_path / "store")["PMC4.1"]["retracted"] is True
    assert log_rows(tmp_path / "store") == written


# No service


def free_port() -> int:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def test_a_place_where_nothing_listens_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"cannot be reached .no connection.*check the network") as error:
        fetch(tmp_path / "store", f"http://127.0.0.1:{free_port()}")
    assert "\n" not in str(error.value)


def test_a_service_that_goes_away_stops_the_fetch_which_goes_on_later(replica, url, tmp_path):
    answer = replica.answer

    def until_thirty(method, target, conditions):
        if len(replica.log) >= 30:
            replica.down = True
        return answer(method, target, conditions)

    replica.answer = until_thirty
    with pytest.raises(InputError, match=r"cannot be reached .*what was fetched is kept") as error:
        fetch(
            tmp_path / "store",
            url,
            http=HttpConfig(in_flight=4, backoff_seconds=0.01, backoff_most_seconds=0.02),
        )
    assert "\n" not in str(error.value)
    some = held(tmp_path / "store")
    assert 0 < len(some) < 40
    replica.answer, replica.down = answer, False
    before = len(replica.log)
    outcome = fetch(tmp_path / "store", url)
    assert outcome.counts == {"new": 40 - len(some)}
    assert not {path.rpartition("/")[2].rpartition(".")[0] for path in asked(replica, before)} & set(some)
    assert held(tmp_path / "store") == truth(replica)
    (record,) = open_store(tmp_path / "store").sources["pmc"]["selections"]
    assert record["complete"] is True


def test_a_stopped_fetch_goes_on_over_the_inventory_of_its_day(replica, url, tmp_path):
    replica.faults.always[f"{BUCKET}/PMC9.1/"] = "503"
    fetch(tmp_path / "store", url)
    replica.faults.always.clear()
    replica.put_article("PMC99.1", invented_article(99))
    replica.take_inventory("2026-11-26")
    assert fetch(tmp_path / "store", url).counts == {"new": 1}
    assert "PMC99.1" not in held(tmp_path / "store")
    assert fetch(tmp_path / "store", url).counts == {"new": 1}
    assert held(tmp_path / "store") == truth(replica)


@pytest.mark.parametrize(
    "body",
    [
        b"<html><body>Log in</body></html>",
        b"<!DOCTYPE html><html><p>Log in<br></html>",
        b"",
        b"{}",
        b'<!DOCTYPE x [<!ENTITY a "b">]><ListBucketResult>&a;</ListBucketResult>',
    ],
)
def test_an_endpoint_that_answers_no_listing_is_one_line(replica, url, tmp_path, body):
    replica._put(f"{BUCKET}/", body, "text/html")
    replica._put(BUCKET, body, "text/html")
    answer = replica.answer
    replica.answer = lambda method, target, conditions: answer(method, target.partition("?")[0], conditions)
    with pytest.raises(InputError, match=r"answers no S3 listing .*check --endpoint") as error:
        fetch(tmp_path / "store", url)
    assert "\n" not in str(error.value)


def test_an_endpoint_without_the_bucket_is_one_line(replica, url, tmp_path):
    with pytest.raises(InputError, match=r"cannot be listed .HTTP 404.*check --endpoint") as error:
        fetch(tmp_path / "store", f"{url}/nothing")
    assert "\n" not in str(error.value)


def test_articles_come_at_most_so_many_at_once(replica, url, tmp_path):
    replica.faults.latency_seconds = 0.005
    fetch(tmp_path / "store", url, http=HttpConfig(in_flight=5))
    most = max(entry.in_flight for entry in replica.log) + 1
    assert most == 5
    assert held(tmp_path / "store") == truth(replica)


def test_metadata_that_were_read_before_are_not_asked_for_again(replica, url, tmp_path):
    fetch(tmp_path / "a", url)
    replica.change("PMC5.1", doi="10.5555/other")
    replica.take_inventory("2026-11-26")
    before = len(replica.log)
    fetch(tmp_path / "b", url)
    assert [path for path in asked(replica, before) if path.startswith("metadata/")] == [
        "metadata/PMC5.1.json"
    ]
    assert held(tmp_path / "b") == truth(replica)


def test_a_damaged_metadata_cache_costs_requests_and_nothing_else(replica, url, tmp_path):
    fetch(tmp_path / "a", url)
    kept = list((tmp_path / "cache").rglob("metadata/*.parquet"))
    assert kept
    for path in kept:
        path.write_bytes(path.read_bytes()[:-50])
    before = len(replica.log)
    fetch(tmp_path / "b", url)
    assert held(tmp_path / "b") == truth(replica)
    assert sum(path.startswith("metadata/") for path in asked(replica, before)) == 40


def test_files_of_the_metadata_cache_become_one_without_a_loss(tmp_path, monkeypatch):
    monkeypatch.setattr(metadata_cache, "MERGE_FILES", 4)
    folder = tmp_path / "cache" / "entries"
    for turn in range(7):
        cache = MetadataCache(folder)
        for number in range(10 * turn, 10 * turn + 15):  # five of them again in the next turn
            cache.add(f"PMC{number}.1", f"etag {turn}", f"metadata {turn} of {number}")
        cache.save()
        if turn == 1:
            damaged = min(folder.iterdir())
            damaged.write_bytes(damaged.read_bytes()[:-9])
    assert len(list(folder.iterdir())) < 4
    names, etags = (
        [f"PMC{number}.1" for number in range(80)],
        [f"etag {number // 10}" for number in range(80)],
    )
    kept = dict(MetadataCache(folder).find(pa.array(names), pa.array(etags)))
    assert set(kept) == set(range(10, 70))  # the first turn was in the damaged file
    assert all(said == f"metadata {place // 10} of {place}" for place, said in kept.items())


def test_what_the_metadata_cache_has_several_times_is_given_once(tmp_path):
    for _ in range(2):
        cache = MetadataCache(tmp_path)
        for _ in range(2):
            cache.add("PMC1.1", "etag", "metadata")
            cache.add("PMC2.1", "etag", "metadata")
        cache.save()
    found = MetadataCache(tmp_path).find(
        pa.array(["PMC2.1", "PMC3.1", "PMC1.1"]), pa.array(["etag", "etag", None])
    )
    assert list(found) == [(0, "metadata")]


# Inventories and listings that are damaged, hostile, or shared


def listed_by(url: str, cache: Path) -> tuple[str, pa.Table]:
    """The day and rows of the inventory that a fetch takes."""

    async def inside() -> tuple[str, pa.Table]:
        async with Client(FAST) as client:
            found = await Bucket(client, f"{url}{BUCKET}").inventory(cache)
            assert found is not None
            return found

    return asyncio.run(inside())


def day_by(url: str, cache: Path) -> tuple[str, int]:
    day, table = listed_by(url, cache)
    return day, table.num_rows


@pytest.mark.parametrize("pool", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_fetches_that_share_a_cache_all_get_the_newest_inventory(replica, url, tmp_path, pool):
    put_inventory(replica, "2026-11-26", gzip.compress(ROW * 50_000, 0))
    replica.faults.latency_seconds = 0.02
    more = {"mp_context": multiprocessing.get_context("spawn")} if pool is ProcessPoolExecutor else {}
    with pool(4, **more) as workers:
        found = list(workers.map(day_by, [url] * 4, [tmp_path] * 4))
    assert found == [("2026-11-26", 1)] * 4
    assert [path.name for path in tmp_path.iterdir()] == ["inventory-2026-11-26.parquet"]


def test_what_killed_fetches_left_in_the_cache_is_removed(url, tmp_path):
    left = tmp_path / ".inventory-1-x"
    left.mkdir()
    (left / "data.csv.gz").write_bytes(b"x")
    os.utime(left, (0, 0))
    working = tmp_path / ".inventory-1-y"
    working.mkdir()
    os.utime(working, (0, 0))
    with exclusive(working):
        listed_by(url, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {working.name, f"inventory-{DAY}.parquet"}


def test_an_older_inventory_is_not_taken_silently(replica, url, tmp_path, caplog):
    put_inventory(replica, "2026-11-26", b"no gzip")
    assert listed_by(url, tmp_path)[0] == DAY
    (message,) = caplog.messages
    assert message.startswith(f"the inventory of {DAY} is taken, as a newer one cannot be used")
    assert "2026-11-26" in message
    caplog.clear()
    replica.take_inventory("2026-11-27")
    listed_by(url, tmp_path)
    assert not caplog.messages


@pytest.mark.parametrize("damage", [b"", b"PAR1junkPAR1", None, "another schema"])
def test_a_damaged_kept_inventory_is_fetched_anew(url, tmp_path, damage):
    kept = tmp_path / f"inventory-{DAY}.parquet"
    _, whole = listed_by(url, tmp_path)
    if damage is None:
        kept.write_bytes(kept.read_bytes()[:-100])
    elif isinstance(damage, str):
        pq.write_table(pa.table({"a": [1]}), kept)
    else:
        kept.write_bytes(damage)
    assert listed_by(url, tmp_path) == (DAY, whole)
    assert inventory.kept_inventory(kept) == whole


def test_a_version_that_is_listed_twice_is_one_candidate_as_modified_last(replica, url, tmp_path):
    newer = ROW.replace(b"2026-01-08", b"2026-02-08").replace(b"0" * 32, b"1" * 32)
    other = ROW.replace(b"PMC1.1", b"PMC1.2")
    put_inventory(replica, "2026-11-26", gzip.compress(ROW + newer + other + ROW))
    for _ in range(2):  # fetched, and kept
        _, table = listed_by(url, tmp_path)
        found = [(row["version"], row["etag"], row["modified"].month) for row in table.to_pylist()]
        assert found == [(1, "1" * 32, 2), (2, "0" * 32, 1)]


@pytest.mark.parametrize("bound", ["MOST_FILE_ROWS", "MOST_FILE_BYTES"])
def test_a_data_file_without_measure_is_not_unpacked(replica, url, tmp_path, monkeypatch, bound):
    monkeypatch.setattr(inventory, bound, 1000)
    put_inventory(replica, "2026-11-26", gzip.compress(ROW * 1001))
    if bound == "MOST_FILE_BYTES":
        monkeypatch.setattr(inventory, bound, 10_000)
    assert listed_by(url, tmp_path)[0] == DAY


def test_a_data_file_is_read_in_flat_memory(tmp_path):
    packed = tmp_path / "data.csv.gz"
    with gzip.open(packed, "wb", 1) as file:
        for _ in range(40):
            file.write(ROW * 20_000)
    before, most, rows = pa.total_allocated_bytes(), 0, 0
    for table in inventory.inventory_rows(packed, ["Bucket", "Key", "LastModifiedDate", "ETag"]):
        rows += table.num_rows
        most = max(most, pa.total_allocated_bytes() - before)
    assert rows == 800_000
    assert most < 60 << 20  # of 84 MB


@pytest.mark.parametrize(
    "manifest", [b"[" * 100_000, b'{"fileSchema": "Key", "files": [{"key": "\\ud800"}]}']
)
def test_a_hostile_manifest_costs_its_day(replica, url, tmp_path, manifest):
    replica._put(f"{INVENTORIES}/2026-11-26T01-00Z/manifest.json", manifest, "application/json")
    assert listed_by(url, tmp_path)[0] == DAY


@pytest.mark.parametrize("token", [b"", b"<NextContinuationToken>again</NextContinuationToken>"])
def test_a_listing_that_is_cut_is_not_everything(replica, url, tmp_path, token):
    page = (
        b"<ListBucketResult><IsTruncated>true</IsTruncated>" + token + b"<Contents>"
        b"<Key>metadata/PMC1.1.json</Key><ETag>x</ETag><LastModified>2026-01-01T00:00:00Z</LastModified>"
        b"</Contents></ListBucketResult>"
    )
    answer = replica.answer

    def cut(method, target, conditions):
        found = answer(method, target, conditions)
        return make_answer(200, "application/xml", page) if "list-type" in target else found

    replica.answer = cut
    with pytest.raises(InputError, match=r"cuts its listing short .*check --endpoint") as error:
        fetch(tmp_path / "store", url, Selection(ids=("PMC1",)))
    assert "\n" not in str(error.value)
    assert len(replica.log) <= 3


@pytest.mark.parametrize(("kind", "advice"), [("503", "try again later"), ("403", "check --endpoint")])
def test_what_to_do_depends_on_why_the_bucket_is_not_listed(replica, url, tmp_path, kind, advice):
    replica.faults.always[f"{BUCKET}/?"] = kind
    with pytest.raises(InputError, match=rf"cannot be listed \(HTTP {kind}.*\); {advice}"):
        fetch(tmp_path / "store", url)


@pytest.mark.parametrize(
    "text", ["", "soon", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "2026-13-01"]
)
def test_a_time_that_is_none_is_the_beginning_of_time(text):
    assert moment(text) == datetime.fromtimestamp(0, UTC)


def test_what_a_head_shows_has_no_terminal_escapes():
    xml = "<journal-title>J\x1b[31m of\u202e\x00 Heart&#x9b;s Éa</journal-title>".encode()
    assert head_facts(xml)["journal"] == "J [31m of Heart s Éa".replace("Heart s", "Heart›s")


def test_links_that_are_none_are_passed_over():
    page = b'<a href="http://[x">a</a><a href="/f/PMC1.xml.gz">b</a><a href="">c</a>'
    assert _links(page) == {"PMC1.xml.gz"}
    assert _links(page + b"<![ <a href=x>y</a>") == set()
    assert modified(Answer(200, {"last-modified": "Mon, 01 Jan 99999999999 00:00:00 GMT"}, b"")) is None


def test_a_service_that_refuses_every_article_is_an_error(replica, url, tmp_path):
    replica.faults.always[f"{BUCKET}/metadata/"] = "403"
    with pytest.raises(InputError, match=r"refuses all 40 articles \(HTTP 403\); check --endpoint"):
        fetch(tmp_path / "store", url)
    assert not (tmp_path / "store").exists()
