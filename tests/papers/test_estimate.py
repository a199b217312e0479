"""`--dry-run`: what a fetch would bring is said before it, and nothing of it is kept."""

import gzip
import os
from pathlib import Path
from typing import Any

import pytest
from replica import Replica, invented_article

from biolm.artifacts import write_json
from biolm.errors import ArtifactError, ConfigError, InputError
from biolm.papers.answers import HttpConfig
from biolm.papers.estimate import Estimate, estimate_fetch, wilson
from biolm.papers.fetch import fetch_papers
from biolm.papers.runs import Fetching
from biolm.papers.selection import Selection
from biolm.progress import Silent

FAST = HttpConfig(in_flight=64, backoff_seconds=0.01, backoff_most_seconds=0.05, silence_seconds=2)
MANY = 600
FREE = 150


def fetching(url: str) -> Fetching:
    services = {"pmc": Replica.bucket, "eutils": "eutils", "europepmc": "europepmc", "pubmed": "pubmed"}
    return Fetching(endpoints=tuple(f"{name}={url}/{path}" for name, path in services.items()), http=FAST)


def estimate(out: Path, url: str, source: str = "pmc", **selected: Any) -> Estimate:
    everything = not selected
    return estimate_fetch(out, source, Selection(**selected), fetching(url), Silent(), everything=everything)


def fetch(out: Path, url: str, source: str = "pmc", **selected: Any) -> None:
    fetch_papers(out, source, Selection(**selected), fetching(url), Silent(), everything=not selected)


def kept_elsewhere(folder: Path) -> list[str]:
    """What lies in a folder besides the cache."""
    return sorted(path.name for path in folder.iterdir() if path.name != "cache")


@pytest.fixture
def many() -> Replica:
    """600 articles, of which every fourth may be used commercially."""
    made = Replica(keep_log=False)
    for number in range(1, MANY + 1):
        code = "CC BY" if number % (MANY // FREE) == 0 else "CC BY-NC"
        made.put_article(f"PMC{number}.1", invented_article(number, paragraphs=1), license_code=code)
    made.take_inventory("2026-11-25")
    return made


@pytest.fixture
def files(tmp_path: Path) -> Replica:
    """Two services of four files each."""
    made = Replica()
    for number in range(1, 5):
        data = gzip.compress(os.urandom(1000 * number))
        folder = "baseline" if number < 3 else "updatefiles"
        made.put_file(f"/pubmed/{folder}/pubmed26n{number:04d}.xml.gz", data)
        made.put_file(f"/europepmc/PMC{number}00_PMC{number}99.xml.gz", data)
    return made


def size_of(replica: Replica, beginning: str) -> int:
    return sum(
        len(stored.body)
        for path, stored in replica._stored.items()
        if path.startswith(beginning) and path.endswith((".gz", ".xml"))
    )


def test_it_is_exact_where_the_probe_covers_all(replica: Replica, url: str, tmp_path: Path):
    for number in range(1, 13):
        replica.change(f"PMC{number}.1", license_code="CC BY-NC")
    replica.take_inventory("2026-11-26")
    found = estimate(tmp_path / "store", url, licence="commercial")
    assert (found.listed, found.held, found.probed, found.articles) == (40, 0, 40, 28)
    assert found.wanted == (0.7, 0.7)
    assert found.bytes == sum(len(invented_article(number, paragraphs=1)) for number in range(13, 41))
    assert 0 < found.stored_bytes < found.bytes
    assert found.seconds > 0
    lines = found.lines("articles")
    assert lines[:2] == ["40 articles listed, 0 of them in the store as they are", "28 articles to fetch"]
    assert kept_elsewhere(tmp_path) == []


@pytest.mark.parametrize("replica", ["many"], indirect=True)
def test_what_is_only_probed_lies_within_the_interval(replica: Replica, url: str, tmp_path: Path):
    within = 0
    truth = sum(len(invented_article(n, paragraphs=1)) for n in range(4, MANY + 1, 4))
    for seed in range(10):
        found = estimate(tmp_path / "store", url, licence="commercial", seed=seed)
        assert (found.listed, found.probed) == (MANY, 200)
        low, high = (MANY * share for share in found.wanted)
        assert low < found.articles < high
        assert high - low < MANY / 6
        assert "95 % interval: " in found.lines("articles")[1]
        within += low <= FREE <= high
        assert found.bytes / found.articles == pytest.approx(truth / FREE, rel=0.1)
        assert 2 < found.bytes / found.stored_bytes < 6
    assert within >= 8
    assert kept_elsewhere(tmp_path) == []


@pytest.fixture
def replica(request: pytest.FixtureRequest) -> Replica:
    """The one that is named; else the small PMC of the other tests."""
    if hasattr(request, "param"):
        return request.getfixturevalue(request.param)
    made = Replica()
    for number in range(1, 41):
        made.put_article(f"PMC{number}.1", invented_article(number, paragraphs=1))
    made.take_inventory("2026-11-25")
    return made


def test_what_the_store_has_is_not_counted(replica: Replica, url: str, tmp_path: Path):
    fetch(tmp_path / "store", url, pmcids="PMC1-PMC30")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*")}
    found = estimate(tmp_path / "store", url)
    assert (found.listed, found.held, found.articles) == (40, 30, 10)
    replica.change("PMC1.1", title="Another")
    replica.put_article("PMC2.1", invented_article(2, seed=1))
    replica.take_inventory("2026-11-26")
    found = estimate(tmp_path / "store", url)
    assert (found.listed, found.held, found.articles) == (40, 28, 11)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*")} == before
    fetch(tmp_path / "store", url)
    assert estimate(tmp_path / "store", url).lines("articles") == [
        "40 articles listed, 40 of them in the store as they are",
        "nothing to fetch",
    ]


@pytest.mark.parametrize("replica", ["files"], indirect=True)
@pytest.mark.parametrize(
    ("source", "changed"), [("pubmed", "baseline/pubmed26n0001"), ("europepmc", "PMC100_PMC199")]
)
def test_files_are_counted_with_their_sizes(
    source: str, changed: str, replica: Replica, url: str, tmp_path: Path
):
    found = estimate(tmp_path / "store", url, source)
    assert (found.listed, found.held, found.articles, found.wanted) == (4, 0, 4, (1.0, 1.0))
    assert found.bytes == found.stored_bytes == size_of(replica, f"/{source}/")
    assert found.seconds > 0
    assert kept_elsewhere(tmp_path) == []
    fetch(tmp_path / "store", url, source)
    assert estimate(tmp_path / "store", url, source).lines("files")[1:] == ["nothing to fetch"]
    data = gzip.compress(b"x" * 5000)
    replica.put_file(f"/{source}/{changed}.xml.gz", data)
    found = estimate(tmp_path / "store", url, source)
    assert (found.listed, found.held, found.articles, found.bytes) == (4, 3, 1, len(data))


@pytest.mark.parametrize("replica", ["files"], indirect=True)
def test_only_the_beginning_of_one_file_is_probed(replica: Replica, url: str, tmp_path: Path):
    replica.faults.always = {"/europepmc/PMC100": "404", "/europepmc/PMC200": "403"}
    found = estimate(tmp_path / "store", url, "europepmc")
    assert (found.listed, found.articles) == (4, 2)
    assert found.bytes == size_of(replica, "/europepmc/PMC3") + size_of(replica, "/europepmc/PMC4")
    asked = [entry.path for entry in replica.log if entry.method == "GET" and entry.path.endswith(".gz")]
    assert asked == ["/europepmc/PMC300_PMC399.xml.gz"]


@pytest.mark.parametrize("replica", ["files"], indirect=True)
def test_files_that_are_chosen_are_counted(replica: Replica, url: str, tmp_path: Path):
    assert estimate(tmp_path / "store", url, "europepmc", pmcids="PMC150-PMC250").listed == 2
    assert estimate(tmp_path / "store", url, "pubmed", sample=3).listed == 3


def test_a_folder_is_counted(tmp_path: Path):
    papers = tmp_path / "papers"
    papers.mkdir()
    for number in range(30):
        (papers / f"{number}.xml").write_bytes(invented_article(number + 1))
    (papers / "notes.txt").write_text("x")
    found = estimate(tmp_path / "store", "http://127.0.0.1:9", str(papers))
    size = sum(path.stat().st_size for path in papers.glob("*.xml"))
    assert (found.listed, found.held, found.articles, found.bytes) == (30, 0, 30, size)
    assert not (tmp_path / "store").exists()
    fetch_papers(tmp_path / "store", str(papers), Selection(), Fetching(), Silent())
    (papers / "3.xml").write_bytes(b"<article/>")
    (papers / "new.xml").write_bytes(invented_article(99))
    found = estimate(tmp_path / "store", "http://127.0.0.1:9", str(papers))
    assert (found.listed, found.held, found.articles) == (31, 29, 2)
    assert found.bytes == len(b"<article/>") + len(invented_article(99))


def test_it_is_refused_where_the_fetch_would_be(replica: Replica, url: str, tmp_path: Path):
    (tmp_path / "file").write_text("x")
    write_json(tmp_path / "corpus" / "manifest.json", {"kind": "corpus"})
    for out in (tmp_path / "file", tmp_path / "corpus", tmp_path / "file" / "store"):
        with pytest.raises(ArtifactError, match="choose another --out"):
            estimate(out, url)
    with pytest.raises(ConfigError, match="--licence"):
        estimate(tmp_path / "store", url, "pubmed", licence="by")
    with pytest.raises(InputError, match="neither a service"):
        estimate(tmp_path / "store", url, "nonexistent")
    with pytest.raises(InputError, match="the selection is empty"):
        estimate(tmp_path / "store", url, pmcids="PMC900-")
    with pytest.raises(InputError, match="cannot be reached"):
        estimate_fetch(
            tmp_path / "store",
            "pubmed",
            Selection(),
            Fetching(endpoints=("http://127.0.0.1:9",), http=FAST),
            Silent(),
            everything=True,
        )
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("passed", "looked_at", "interval"),
    [(0, 0, (0, 1)), (0, 10, (0, 0.2775)), (10, 10, (0.7225, 1)), (50, 200, (0.1950, 0.3144))],
)
def test_the_interval_is_wilsons(passed: int, looked_at: int, interval: tuple[float, float]):
    """As R's `binom::binom.wilson` gives it."""
    assert wilson(passed, looked_at) == pytest.approx(interval, abs=5e-4)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "less than a second"), (42, "42 s"), (600, "10 min"), (36_000, "10.0 hours")],
)
def test_a_duration_is_said_in_a_unit_that_fits(seconds: float, said: str):
    found = Estimate(
        listed=10,
        held=0,
        probed=5,
        wanted=(1.0, 1.0),
        articles=10,
        bytes=5e6,
        stored_bytes=1e6,
        seconds=seconds,
    )
    *_, sizes, last = found.lines("articles")
    assert sizes == "5.0 MB to download, 1.0 MB in the store"
    assert last.startswith(f"{said} at the speed of a probe of 5 articles, thrown away")
