"""Europe PMC's bundles and PubMed's files: kept as the server has them, whatever goes wrong on the way."""

import gzip
import hashlib
import json
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from replica import Replica, invented_article

from biolm.corpus.build import CorpusConfig, build_corpus
from biolm.corpus.reader import open_corpus
from biolm.errors import ConfigError, InputError
from biolm.papers.answers import HttpConfig
from biolm.papers.fetch import fetch_papers, update_papers
from biolm.papers.runs import Fetching, Outcome
from biolm.papers.selection import Selection
from biolm.papers.store import kept_path, open_store
from biolm.papers.verify import verify_store
from biolm.progress import Silent
from biolm.records import Article
from biolm.sources.shards import read_source

FAST = HttpConfig(backoff_seconds=0.01, backoff_most_seconds=0.05, silence_seconds=1)
SERVICES = ("pubmed", "europepmc")
PREFIX = {"pubmed": "/pubmed/", "europepmc": "/europepmc/"}


def citation(pmid: int, words: str = "") -> str:
    words = (
        words or f"The protein {pmid} binds the receptor of the cells and was measured in the blood of mice."
    )
    return (
        f'<PubmedArticle><MedlineCitation Status="MEDLINE"><PMID Version="1">{pmid}</PMID><Article>'
        "<Journal><Title>Journal of Replicas</Title></Journal>"
        f"<ArticleTitle>On the protein {pmid} of mice</ArticleTitle>"
        f"<Abstract><AbstractText>{words} It was found in all of the tissues that we looked at."
        "</AbstractText></Abstract>"
        "<Language>eng</Language></Article></MedlineCitation></PubmedArticle>"
    )


def deletion(*pmids: int) -> str:
    return f"<DeleteCitation>{''.join(f'<PMID>{pmid}</PMID>' for pmid in pmids)}</DeleteCitation>"


def packed(*parts: str, around: str = "PubmedArticleSet") -> bytes:
    text = f'<?xml version="1.0" encoding="utf-8"?>\n<{around}>\n{chr(10).join(parts)}\n</{around}>\n'
    return gzip.compress(text.encode(), mtime=0)


def bundle(*pmcids: int, seed: int = 0) -> bytes:
    articles = (invented_article(pmcid, seed=seed).decode() for pmcid in pmcids)
    return packed(*(text[text.index("<article ") :] for text in articles), around="articles")


def noise(size: int, seed: int = 0) -> bytes:
    """A whole gzip file of about so many bytes."""
    return gzip.compress(random.Random(seed).randbytes(size), mtime=0)


@pytest.fixture
def replica() -> Replica:
    """A small PubMed of two baseline and two update files, a Europe PMC of three bundles."""
    made = Replica()
    for number in (1, 2):
        made.put_file(f"/pubmed/baseline/pubmed26n{number:04d}.xml.gz", packed(citation(10 * number)))
        made.put_file(
            f"/pubmed/updatefiles/pubmed26n{number + 2:04d}.xml.gz", packed(citation(10 * number + 1))
        )
    for first in (1, 100, 200):
        made.put_file(f"/europepmc/PMC{first}_PMC{first + 9}.xml.gz", bundle(first, first + 9))
    return made


def there(replica: Replica, service: str) -> dict[str, bytes]:
    """Name → bytes of the files that the server has of a service."""
    return {
        path.removeprefix(PREFIX[service]): stored.body
        for path, stored in replica._stored.items()
        if path.startswith(PREFIX[service]) and path.endswith(".xml.gz")
    }


def kept(store: Path, service: str) -> dict[str, bytes]:
    """Name → bytes of the files that a store keeps of a service, each with the MD5 and size that its index states."""
    found = {}
    for row in open_store(store).index().to_pylist():
        if row["source"] == service and row["state"] == "file":
            data = kept_path(store, service, row["id"], row["md5"]).read_bytes()
            assert row["md5"] == hashlib.md5(data).hexdigest()  # noqa: S324
            assert row["bytes"] == len(data)
            found[row["id"]] = data
    return found


def states(store: Path) -> dict[str, str]:
    return {row["id"]: row["state"] for row in open_store(store).index().to_pylist()}


def fetching(url: str, http: HttpConfig = FAST) -> Fetching:
    return Fetching(endpoints=tuple(f"{name}={url}/{name}" for name in SERVICES), http=http)


def fetch(out: Path, url: str, service: str, **selected: Any) -> Outcome:
    return fetch_papers(out, service, Selection(**selected), fetching(url), Silent(), everything=not selected)


def update(store: Path, url: str) -> Outcome:
    return update_papers(store, fetching(url), Silent())


def downloads(replica: Replica, since: int = 0) -> list[str]:
    """Names of the files that were asked for by GET, from a place in the log on."""
    asked = [entry.path for entry in replica.log[since:] if entry.method == "GET"]
    return sorted(path.rpartition("/")[2] for path in asked if path.endswith(".xml.gz"))


def titles(store: Path) -> dict[str, str]:
    """PMID or PMCID → abstract of every paper that a corpus would read from a store, the last file's last."""
    return {
        record.pmid if record.form == "pubmed" else record.pmcid: record.abstracts[0].text
        for record in read_source(store)
        if isinstance(record, Article)
    }


def problems(store: Path) -> dict[str, str]:
    return {row["id"]: row["problem"] for row in json.loads((store / "report.json").read_bytes())["problems"]}


@pytest.mark.parametrize("service", SERVICES)
def test_the_files_are_the_servers_and_a_second_fetch_downloads_nothing(
    service: str, replica: Replica, url: str, tmp_path: Path
):
    done = fetch(tmp_path / "store", url, service)
    assert kept(tmp_path / "store", service) == there(replica, service)
    assert len(kept(tmp_path / "store", service)) == (4 if service == "pubmed" else 3)
    assert done.counts == {"new": len(there(replica, service))}
    assert done.bytes == sum(map(len, there(replica, service).values()))
    since = len(replica.log)
    again = fetch(tmp_path / "store", url, service)
    assert again.counts == {"unchanged": len(there(replica, service))}
    assert downloads(replica, since) == []
    assert kept(tmp_path / "store", service) == there(replica, service)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(
    "kinds",
    [("reset", "cut", "wrong"), ("503", "429", "slow"), ("stall", "500", "reset_early")],
    ids=lambda kinds: "+".join(kinds),
)
def test_faults_change_nothing_but_the_count_of_tries(
    kinds: Sequence[str], service: str, replica: Replica, url: str, tmp_path: Path
):
    replica.faults.rates = dict.fromkeys(kinds, 1.0)
    replica.faults.only = (
        r"\.gz$" if "wrong" in kinds else r"\.gz"
    )  # a .md5 that is wrong too is one wrong MD5
    replica.faults.retry_after = 0
    replica.faults.stall_seconds = 3
    done = fetch(tmp_path / "store", url, service)
    assert kept(tmp_path / "store", service) == there(replica, service)
    assert not done.report.problems
    injected = replica.faults.counts
    assert set(injected) == set(kinds)
    silent = (
        "slow",
        "reset_early",
    )  # aiohttp itself asks again where a kept connection was closed before an answer
    assert sum(done.again.values()) == sum(count for kind, count in injected.items() if kind not in silent)
    report = json.loads((tmp_path / "store" / "report.json").read_bytes())
    assert report["repeated"] == dict(done.again)


def test_a_file_that_never_has_its_md5_is_damaged_and_named(replica: Replica, url: str, tmp_path: Path):
    name = "baseline/pubmed26n0002.xml.gz"
    replica.put_file(f"/pubmed/{name}.md5", f"MD5({name})= {'0' * 32}\n".encode())
    done = fetch(tmp_path / "store", url, "pubmed")
    assert done.report.problems == [(name, "damaged", "wrong MD5, 3 times")]
    assert problems(tmp_path / "store") == {name: "damaged"}
    expected = there(replica, "pubmed")
    del expected[name]
    assert kept(tmp_path / "store", "pubmed") == expected
    assert not list((tmp_path / "store").rglob(".*partial*"))
    replica.put_file(f"/pubmed/{name}", there(replica, "pubmed")[name])
    assert fetch(tmp_path / "store", url, "pubmed").counts == {"new": 1, "unchanged": 3}


@pytest.mark.parametrize("cut", [8, 200], ids=["checksum", "end"])
def test_a_bundle_that_is_cut_off_at_the_server_is_found_without_an_md5(
    cut: int, replica: Replica, url: str, tmp_path: Path
):
    name = "PMC100_PMC109.xml.gz"
    replica.put_file(f"/europepmc/{name}", there(replica, "europepmc")[name][:-cut])
    done = fetch(tmp_path / "store", url, "europepmc")
    assert done.report.problems == [(name, "damaged", "damaged gzip, 3 times")]
    assert name not in kept(tmp_path / "store", "europepmc")
    assert done.counts == {"new": 2}


@pytest.mark.parametrize("line", [b"", b"<html>503</html>", b"MD5 (x) = 12"], ids=["empty", "page", "short"])
def test_an_md5_file_without_an_md5_leaves_the_gzip_checksum(
    line: bytes, replica: Replica, url: str, tmp_path: Path
):
    for name in there(replica, "pubmed"):
        replica.put_file(f"/pubmed/{name}.md5", line)
    whole, cut = "baseline/pubmed26n0001.xml.gz", "baseline/pubmed26n0002.xml.gz"
    replica._put(f"/pubmed/{cut}", there(replica, "pubmed")[cut][:-9], "application/x-gzip")
    done = fetch(tmp_path / "store", url, "pubmed")
    assert problems(tmp_path / "store") == {cut: "damaged"}
    assert kept(tmp_path / "store", "pubmed")[whole] == there(replica, "pubmed")[whole]
    assert done.counts == {"new": 3}


def test_a_file_without_an_md5_file_is_taken(replica: Replica, url: str, tmp_path: Path):
    for name in there(replica, "pubmed"):
        replica.remove_file(f"/pubmed/{name}.md5")
    fetch(tmp_path / "store", url, "pubmed")
    assert kept(tmp_path / "store", "pubmed") == there(replica, "pubmed")


@pytest.mark.parametrize("kind", ["cut", "reset"])
def test_a_broken_download_is_taken_up_where_it_broke(kind: str, replica: Replica, url: str, tmp_path: Path):
    name = "PMC500_PMC599.xml.gz"
    replica.put_file(f"/europepmc/{name}", noise(3_000_000))
    replica.faults.rates = {kind: 1.0}
    replica.faults.only = "PMC500_"
    done = fetch(tmp_path / "store", url, "europepmc")
    assert kept(tmp_path / "store", "europepmc") == there(replica, "europepmc")
    statuses = [entry.status for entry in replica.log if entry.method == "GET" and name in entry.path]
    assert statuses == [200, 206]
    assert done.bytes < sum(map(len, there(replica, "europepmc").values())) + 1000


def test_a_file_that_changed_while_its_download_was_broken_is_fetched_from_its_beginning(
    replica: Replica, url: str, tmp_path: Path
):
    name = "PMC500_PMC599.xml.gz"
    replica.put_file(f"/europepmc/{name}", noise(1_000_000))
    replica.faults.always = {f"/europepmc/{name}": "cut"}
    once = fetching(url, HttpConfig(attempts=1, silence_seconds=1))
    stopped = fetch_papers(tmp_path / "store", "europepmc", Selection(), once, Silent(), everything=True)
    assert stopped.report.counts == {"unanswered": 1}
    (partial,) = (tmp_path / "store" / "files" / "europepmc").glob(".*.partial")
    assert 0 < partial.stat().st_size < 1_000_000
    replica.faults.always = {}
    replica.put_file(f"/europepmc/{name}", noise(900_000, seed=1))
    fetch(tmp_path / "store", url, "europepmc")
    statuses = [entry.status for entry in replica.log if entry.method == "GET" and name in entry.path]
    assert statuses == [200, 200]
    assert kept(tmp_path / "store", "europepmc") == there(replica, "europepmc")
    assert not list((tmp_path / "store" / "files").rglob(".*"))


def test_what_got_no_answer_is_named_and_the_next_fetch_brings_it(replica: Replica, url: str, tmp_path: Path):
    name = "PMC100_PMC109.xml.gz"
    replica.faults.always = {f"/europepmc/{name}": "503"}
    done = fetch(tmp_path / "store", url, "europepmc")
    assert problems(tmp_path / "store") == {name: "unanswered"}
    assert done.counts == {"new": 2}
    assert not open_store(tmp_path / "store").sources["europepmc"]["selections"][0]["complete"]
    replica.faults.always = {}
    assert fetch(tmp_path / "store", url, "europepmc").counts == {"new": 1, "unchanged": 2}
    assert kept(tmp_path / "store", "europepmc") == there(replica, "europepmc")
    assert open_store(tmp_path / "store").sources["europepmc"]["selections"][0]["complete"]


def test_a_file_that_is_refused_or_gone_is_named(replica: Replica, url: str, tmp_path: Path):
    replica.faults.always = {"/europepmc/PMC1_": "403", "/europepmc/PMC200_": "404"}
    fetch(tmp_path / "store", url, "europepmc")
    assert problems(tmp_path / "store") == {"PMC1_PMC10.xml.gz": "refused", "PMC200_PMC209.xml.gz": "gone"}
    assert list(kept(tmp_path / "store", "europepmc")) == ["PMC100_PMC109.xml.gz"]


def test_a_file_that_was_removed_or_cut_in_the_store_is_fetched_again(
    replica: Replica, url: str, tmp_path: Path
):
    fetch(tmp_path / "store", url, "europepmc")
    files = tmp_path / "store" / "files" / "europepmc"
    next(files.glob("*-PMC1_PMC10.xml.gz")).unlink()
    next(files.glob("*-PMC100_PMC109.xml.gz")).write_bytes(b"cut")
    assert update(tmp_path / "store", url).counts == {"changed": 2, "unchanged": 1}
    assert kept(tmp_path / "store", "europepmc") == there(replica, "europepmc")


def test_an_update_brings_a_bundle_that_changed_under_its_name_and_new_ones(
    replica: Replica, url: str, tmp_path: Path
):
    fetch(tmp_path / "store", url, "europepmc")
    before = titles(tmp_path / "store")
    replica.put_file("/europepmc/PMC100_PMC109.xml.gz", bundle(100, 105, 109, seed=1))
    replica.put_file("/europepmc/PMC300_PMC309.xml.gz", bundle(300))
    since = len(replica.log)
    assert update(tmp_path / "store", url).counts == {"changed": 1, "new": 1, "unchanged": 2}
    assert downloads(replica, since) == ["PMC100_PMC109.xml.gz", "PMC300_PMC309.xml.gz"]
    assert kept(tmp_path / "store", "europepmc") == there(replica, "europepmc")
    after = titles(tmp_path / "store")
    assert set(after) - set(before) == {"PMC105", "PMC300"}
    assert {name for name in before if before[name] != after[name]} == {"PMC100", "PMC109"}


def test_a_bundle_that_is_gone_is_withdrawn_and_read_no_more(replica: Replica, url: str, tmp_path: Path):
    fetch(tmp_path / "store", url, "europepmc")
    replica.remove_file("/europepmc/PMC100_PMC109.xml.gz")
    assert update(tmp_path / "store", url).counts == {"unchanged": 2, "withdrawn": 1}
    assert states(tmp_path / "store") == {
        "PMC1_PMC10.xml.gz": "file",
        "PMC100_PMC109.xml.gz": "withdrawn",
        "PMC200_PMC209.xml.gz": "file",
    }
    assert set(titles(tmp_path / "store")) == {"PMC1", "PMC10", "PMC200", "PMC209"}
    assert update(tmp_path / "store", url).counts == {"unchanged": 2}
    replica.put_file("/europepmc/PMC100_PMC109.xml.gz", bundle(100))
    assert update(tmp_path / "store", url).counts == {"unchanged": 2, "new": 1}
    assert set(titles(tmp_path / "store")) == {"PMC1", "PMC10", "PMC100", "PMC200", "PMC209"}


def test_a_new_years_baseline_takes_the_place_of_the_old_files(replica: Replica, url: str, tmp_path: Path):
    fetch(tmp_path / "store", url, "pubmed")
    old = there(replica, "pubmed")
    for name in old:
        replica.remove_file(f"/pubmed/{name}")
    replica.put_file("/pubmed/baseline/pubmed27n0001.xml.gz", packed(citation(10), citation(11)))
    replica.put_file("/pubmed/updatefiles/pubmed27n0002.xml.gz", packed(citation(12)))
    assert update(tmp_path / "store", url).counts == {"new": 2, "withdrawn": 4}
    assert kept(tmp_path / "store", "pubmed") == there(replica, "pubmed")
    assert {name for name, state in states(tmp_path / "store").items() if state == "withdrawn"} == set(old)
    assert set(titles(tmp_path / "store")) == {"10", "11", "12"}


def test_files_that_a_listing_forgets_are_withdrawn_only_where_they_are_gone(
    replica: Replica, url: str, tmp_path: Path
):
    fetch(tmp_path / "store", url, "pubmed")
    page = replica._index("/pubmed/updatefiles/").body
    replica._put("/pubmed/updatefiles/", page.replace(b"pubmed26n0004", b"forgotten"), "text/html")
    done = update(tmp_path / "store", url)
    assert done.counts == {"unchanged": 3}
    assert states(tmp_path / "store")["updatefiles/pubmed26n0004.xml.gz"] == "file"
    replica.remove_file("/pubmed/updatefiles/pubmed26n0004.xml.gz")
    assert update(tmp_path / "store", url).counts == {"unchanged": 3, "withdrawn": 1}


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(
    "page",
    [
        b"",
        b"<html><body>Please log in</body></html>",
        b"\xff\xfe\x00<a href='x",
        b"<a href='other.xml.gz'>x</a>",
    ],
    ids=["empty", "page", "junk", "others"],
)
def test_a_listing_without_the_services_files_is_an_error_and_withdraws_nothing(
    page: bytes, service: str, replica: Replica, url: str, tmp_path: Path
):
    fetch(tmp_path / "store", url, service)
    for folder in ("", "baseline/", "updatefiles/"):
        replica._put(f"{PREFIX[service]}{folder}", page, "text/html")
    for run in (lambda: fetch(tmp_path / "new", url, service), lambda: update(tmp_path / "store", url)):
        with pytest.raises(InputError, match=f"lists no files of {service}.*--endpoint {service}=URL"):
            run()
    assert set(states(tmp_path / "store").values()) == {"file"}


def test_a_service_without_a_listing_is_an_error(replica: Replica, url: str, tmp_path: Path):
    for name in list(there(replica, "europepmc")):
        replica.remove_file(f"/europepmc/{name}")
    with pytest.raises(InputError, match="cannot be listed"):
        fetch(tmp_path / "store", url, "europepmc")


@pytest.mark.parametrize(
    ("service", "selected", "option"),
    [
        ("pubmed", {"licence": "by"}, "--licence"),
        ("pubmed", {"pmcids": "PMC1-PMC2"}, "--pmcids"),
        ("pubmed", {"query": "heart"}, "--query"),
        ("europepmc", {"published": "2015:"}, "--published"),
        ("europepmc", {"changed_since": "2026-01-01"}, "--changed-since"),
        ("europepmc", {"ids": ("PMC1",)}, "--ids"),
        ("europepmc", {"open_access": True}, "--open-access"),
    ],
)
def test_a_selection_that_files_cannot_be_chosen_by_is_refused_before_anything_is_made(
    service: str, selected: dict[str, Any], option: str, url: str, tmp_path: Path
):
    with pytest.raises(ConfigError, match=f"{option};") as raised:
        fetch(tmp_path / "store", url, service, **selected)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "store").exists()


def test_a_range_of_pmcids_takes_the_bundles_that_may_hold_them(replica: Replica, url: str, tmp_path: Path):
    fetch(tmp_path / "store", url, "europepmc", pmcids="PMC10-PMC105")
    assert set(kept(tmp_path / "store", "europepmc")) == {"PMC1_PMC10.xml.gz", "PMC100_PMC109.xml.gz"}
    replica.put_file("/europepmc/PMC50_PMC59.xml.gz", bundle(50))
    replica.put_file("/europepmc/PMC300_PMC309.xml.gz", bundle(300))
    assert update(tmp_path / "store", url).counts == {"new": 1, "unchanged": 2}
    with pytest.raises(InputError, match="no file fits"):
        fetch(tmp_path / "none", url, "europepmc", pmcids="PMC900-")


def test_a_sample_is_of_files_the_same_for_a_seed_and_does_not_grow(
    replica: Replica, url: str, tmp_path: Path
):
    for number in range(400, 420):
        replica.put_file(f"/europepmc/PMC{number}_PMC{number}.xml.gz", bundle(number))
    drawn = {}
    for seed in range(3):
        for run in "ab":
            fetch(tmp_path / f"{seed}{run}", url, "europepmc", sample=3, seed=seed)
            drawn[seed, run] = set(kept(tmp_path / f"{seed}{run}", "europepmc"))
            assert len(drawn[seed, run]) == 3
        assert drawn[seed, "a"] == drawn[seed, "b"]
    assert len({frozenset(names) for names in drawn.values()}) == 3
    for number in range(500, 540):
        replica.put_file(f"/europepmc/PMC{number}_PMC{number}.xml.gz", bundle(number))
    assert update(tmp_path / "0a", url).counts == {"unchanged": 3}


@pytest.mark.parametrize(
    "link",
    [
        "../../../PMC1_PMC2.xml.gz",
        "/etc/PMC1_PMC2.xml.gz",
        "..%2F..%2FPMC1_PMC2.xml.gz",
        "%2e%2e/PMC1_PMC2.xml.gz",
    ],
)
def test_a_listing_cannot_name_a_place_outside_the_store(
    link: str, replica: Replica, url: str, tmp_path: Path
):
    replica._put("/europepmc/", f'<a href="{link}">x</a>'.encode(), "text/html")
    replica.put_file("/europepmc/PMC1_PMC2.xml.gz", bundle(1))
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    fetch(tmp_path / "in" / "store", url, "europepmc")
    made = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    (kept_there,) = (tmp_path / "in" / "store" / "files" / "europepmc").glob("*-PMC1_PMC2.xml.gz")
    assert kept_there in made
    assert all(path.is_relative_to(tmp_path / "in" / "store") for path in made)


def corpus_of(store: Path, out: Path) -> tuple[dict[str, list[str]], str]:
    """Texts by document of a corpus of a store, and its card."""
    build_corpus([store], out, CorpusConfig(min_chars=20, detect_language=False), Silent())
    texts: dict[str, list[str]] = {}
    corpus = open_corpus(out)
    for split in corpus.splits:
        for file in corpus.files(split):
            for row in pq.read_table(file).to_pylist():
                texts.setdefault(row["document"], []).append(row["text"])
    return texts, (out / "README.md").read_text()


def test_a_corpus_takes_the_later_record_of_a_pmid_drops_what_is_deleted_and_says_whose_it_is(
    replica: Replica, url: str, tmp_path: Path
):
    later = "In the corrected version the protein of the mice was found in the liver and not in the blood of them."
    replica.put_file(
        "/pubmed/updatefiles/pubmed26n0005.xml.gz", packed(citation(10, later), deletion(20, 11))
    )
    fetch(tmp_path / "store", url, "pubmed")
    texts, card = corpus_of(tmp_path / "store", tmp_path / "corpus")
    assert set(texts) == {"pmid:10", "pmid:21"}
    assert later in " ".join(texts["pmid:10"])
    assert "The protein 10 binds" not in " ".join(texts["pmid:10"])
    assert "Abstracts: PubMed, U.S. National Library of Medicine." in card
    assert "NLM gives no right to pass them on." in card


def test_a_corpus_reads_each_article_of_the_bundles_once_and_names_its_source(
    replica: Replica, url: str, tmp_path: Path
):
    replica.put_file("/europepmc/PMC1_PMC20.xml.gz", bundle(1, 20))
    fetch(tmp_path / "store", url, "europepmc")
    texts, card = corpus_of(tmp_path / "store", tmp_path / "corpus")
    assert set(texts) == {f"doi:10.5555/replica.{number}.1" for number in (1, 10, 20, 100, 109, 200, 209)}
    assert all(len(found) == 2 for found in texts.values())  # an abstract and a legend
    assert "Europe PMC open-access subset, EMBL-EBI" in card


KILLED = """
import os, sys
from biolm.papers import writer
from biolm.cli import main

writer.StoreWriter.__exit__ = lambda *_: os._exit(9)
main(["papers", "update", sys.argv[1], "--quiet"])
"""


def test_while_a_file_is_replaced_and_after_a_kill_readers_have_the_old_one(
    replica: Replica, url: str, tmp_path: Path
):
    store = tmp_path / "store"
    fetch(store, url, "europepmc")
    before = kept(store, "europepmc")
    replica.put_file("/europepmc/PMC1_PMC10.xml.gz", bundle(1, 2, 3))
    assert subprocess.run([sys.executable, "-c", KILLED, store], check=False).returncode == 9
    assert kept(store, "europepmc") == before
    assert verify_store(open_store(store), Silent()) == []
    update(store, url)
    assert kept(store, "europepmc") == there(replica, "europepmc") != before
    assert len(list((store / "files" / "europepmc").iterdir())) == len(before)


def test_an_update_does_not_call_a_stopped_sample_of_files_complete(
    replica: Replica, url: str, tmp_path: Path
):
    replica.faults.always = {"/europepmc/PMC": "503"}
    fetch(tmp_path / "store", url, "europepmc", sample=2)
    replica.faults.always = {}
    update(tmp_path / "store", url)
    (record,) = open_store(tmp_path / "store").sources["europepmc"]["selections"]
    assert not record["complete"]
    assert fetch(tmp_path / "store", url, "europepmc", sample=2).counts == {"new": 2}
    (record,) = open_store(tmp_path / "store").sources["europepmc"]["selections"]
    assert record["complete"]
