"""`biolm papers` as a person uses it: what it says, what it refuses in one line, and what a Ctrl-C leaves."""

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from biolm.artifacts import write_json
from biolm.cli import main
from biolm.cli.paper_tables import outcome_lines
from biolm.papers.services import SERVICES
from biolm.papers.store import ROWS, open_store
from conftest import folder_bytes, write_papers

sys.path.append(str(Path(__file__).parents[1] / "papers"))

from replica import Replica, invented_article, serving

NOWHERE = "http://127.0.0.1:9"
"""A port that nothing listens on."""
Run = Callable[..., tuple[str, str]]


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of its own, no proxy, a wide terminal, and a folder of its own to be in."""
    monkeypatch.setenv("BIOLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("NCBI_API_KEY", "BIOLM_CONTACT"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `biolm papers`; gives what it says on standard output and on standard error."""

    def ran(*arguments: str | Path, code: int = 0) -> tuple[str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["papers", *map(str, arguments)])
        said = capsys.readouterr()
        assert ended.value.code == code, said
        return said.out, said.err

    return ran


@pytest.fixture
def refused(run: Run) -> Callable[..., str]:
    """Runs `biolm papers` in vain; gives the one line that it says."""

    def ran(*arguments: str | Path) -> str:
        out, err = run(*arguments, code=2)
        assert out == ""
        assert err.startswith("biolm: ")
        assert err.count("\n") == 1
        return err

    return ran


@pytest.fixture
def replica() -> Replica:
    made = Replica()
    for number in range(1, 13):
        code = "CC BY" if number <= 8 else "CC BY-NC"
        made.put_article(f"PMC{number}.1", invented_article(number, paragraphs=1), license_code=code)
    made.take_inventory("2026-11-25")
    made.put_query("heart", [2, 3])
    return made


@pytest.fixture
def url(replica: Replica) -> Iterator[str]:
    with serving(replica) as place:
        yield place


@pytest.fixture
def at(url: str) -> list[str]:
    """The options that send a command to the replica."""
    services = {"pmc": Replica.bucket, "eutils": "eutils", "europepmc": "europepmc", "pubmed": "pubmed"}
    return [word for name, path in services.items() for word in ("--endpoint", f"{name}={url}/{path}")]


def names(store: Path) -> set[str]:
    return {row["id"] for row in open_store(store).index().to_pylist() if row["state"] != "withdrawn"}


def test_fetch_says_what_it_does_and_what_comes_next(run: Run, at: list[str], tmp_path: Path):
    out, err = run("fetch", "--out", "store", "--licence", "by", *at)
    assert "look at it with: biolm papers show store" in out
    assert "build a corpus of it with: biolm corpus build store --out corpus" in out
    assert "in all: 8 new, 4 not wanted: licence\n" in out
    assert ": 8 new, 4 not wanted: licence" in err
    assert names(Path("store")) == {f"PMC{number}.1" for number in range(1, 9)}


def test_quiet_says_nothing(run: Run, replica: Replica, at: list[str], tmp_path: Path):
    replica.lose_xml("PMC3.1")
    replica.faults.rates = {"503": 0.3}
    for command in (
        ["fetch", "--out", "store", "--all", *at],
        ["update", "store", *at],
        ["export", "store", "out"],
        ["fetch", "--out", "own", "--source", str(write_papers(tmp_path / "papers", 3))],
    ):
        assert run(*command, "--quiet") == ("", "")
    assert len(names(Path("store"))) == 11


def test_fetch_names_what_it_could_not_bring(run: Run, replica: Replica, at: list[str]):
    for number in range(1, 8):
        replica.lose_xml(f"PMC{number}.1")
    replica.faults.always = {f"/{Replica.bucket}/metadata/PMC9.1": "403"}
    out, _ = run("fetch", "--out", "store", "--all", *at)
    gone, refused = out.splitlines()[:2]
    assert gone.startswith("7 gone (listed, but not there any more): PMC")
    assert gone.endswith("and 2 more")
    assert refused.startswith("1 refused (the service answers and will not give it): PMC9.1")


def test_what_got_no_answer_ends_with_a_line_and_code_2(refused: Callable[..., str], tmp_path: Path):
    papers = write_papers(tmp_path / "mine", 2)
    (papers / "loop.xml").symlink_to("loop.xml")
    line = refused("fetch", "--out", "store", "--source", papers, "--quiet")
    assert "1 got no answer, named in store/report.json; run the same command again for them" in line
    assert "loop.xml" in Path("store/report.json").read_text()
    assert names(Path("store")) == {"PMC00001.xml", "PMC00002.xml"}


def test_of_many_marks_the_first_are_named():
    marks = [(f"PMC{number}.1", "retracted") for number in range(1, 8)]
    lines = list(outcome_lines({"unchanged": 1000, "not wanted: licence": 2, "facts": 0}, marks))
    assert lines == [
        "in all: 1,000 unchanged, 2 not wanted: licence",
        "retracted since: 7 (PMC1.1, PMC2.1, PMC3.1, PMC4.1, PMC5.1, …)",
    ]
    assert list(outcome_lines({}, [("a\x1b[2J", "withdrawn: gone")])) == [
        "in all: nothing to do",
        "withdrawn: gone: 1 (a�[2J)",
    ]


def test_a_dry_run_says_how_much_it_would_be_and_keeps_nothing(run: Run, at: list[str], tmp_path: Path):
    out, _ = run("fetch", "--out", "store", "--licence", "by", "--dry-run", *at)
    lines = out.splitlines()
    assert lines[:2] == ["12 articles listed, 0 of them in the store as they are", "8 articles to fetch"]
    assert lines[2].endswith("MB in the store")
    assert "at the speed of a probe of 12 articles" in lines[3]
    assert not list(Path().iterdir())
    out, _ = run("fetch", "--out", "store", "--source", write_papers(tmp_path / "p", 3), "--dry-run")
    assert out.startswith("3 files listed, 0 of them in the store as they are\n3 files to fetch\n")


def test_update_takes_the_endpoints_that_the_fetch_was_given(run: Run, replica: Replica, at: list[str]):
    run("fetch", "--out", "store", "--licence", "by", "--quiet", *at)
    replica.change("PMC1.1", is_retracted=True)
    replica.put_article("PMC20.1", invented_article(20))
    replica.remove_article("PMC2.1")
    replica.take_inventory("2026-11-26")
    out, _ = run("update", "store")
    assert out.splitlines()[:3] == [
        "in all: 1 new, 1 with newer metadata, 1 withdrawn, 4 not wanted: licence",
        "retracted since: 1 (PMC1.1)",
        "withdrawn: no longer at the service: 1 (PMC2.1)",
    ]
    assert names(Path("store")) == {f"PMC{number}.1" for number in (1, 3, 4, 5, 6, 7, 8, 20)}


def test_show_says_what_the_store_holds(
    run: Run, replica: Replica, at: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    replica.put_article(
        "PMC13.1",
        invented_article(13).replace(b"Journal of Replicas", b"Zh. [/bold] [red]Exp."),
        license_code="CC0",
    )
    replica.put_query("heart[title]", [13, 1, 2])
    run("fetch", "--out", "store", "--query", "heart[title]", "--quiet", *at)
    run("fetch", "--out", "store", "--source", write_papers(tmp_path / "mine", 2), "--quiet")
    monkeypatch.delenv("COLUMNS")
    out, err = run("show", "store")
    assert err == ""
    assert "5 papers, 0.0 MB of XML; " in out
    assert " on disk, 2 shards\n" in out
    assert "pmc: query heart[title], at http://127.0.0.1:" in out
    assert f"mine: all of {tmp_path / 'mine'}" in out
    assert "Zh. [/bold] [red]Exp." in out
    assert "U.S. National Library of Medicine" in " ".join(out.split())
    assert max(map(len, out.splitlines())) <= 100
    assert all(line == line.rstrip() for line in out.splitlines())
    monkeypatch.setenv("COLUMNS", "70")
    assert max(map(len, run("show", "store")[0].splitlines())) <= 70


def test_show_tells_articles_from_their_versions(run: Run, replica: Replica, at: list[str]):
    replica.put_article("PMC1.2", invented_article(1, 2))
    replica.take_inventory("2026-11-26")
    run("fetch", "--out", "store", "--all", "--quiet", *at)
    out, _ = run("show", "store")
    assert "13 papers (12 articles), 0." in out
    assert " on disk, 1 shard\n" in out


def test_show_of_a_store_of_files_counts_files_and_those_that_may_be_deleted(run: Run, tmp_path: Path):
    papers = tmp_path / "mine"
    papers.mkdir()
    for name in ("a", "b", "c"):
        (papers / f"{name}.tar").write_bytes(name.encode() * 1_500_000)
    run("fetch", "--out", "store", "--source", papers, "--quiet")
    out, _ = run("show", "store")
    assert "\n3 files, 4.5 MB; " in out
    assert "papers," not in out
    (papers / "a.tar").unlink()
    run("update", "store", "--quiet")
    out, _ = run("show", "store")
    assert "\n2 files, 3.0 MB; " in out
    said = "withdrawn files in files/: 1, 1.5 MB; they are not read and may be deleted"
    assert (said in out) == any("a.tar" in path.name for path in Path("store/files").rglob("*"))


def test_nothing_that_a_store_says_reaches_the_terminal_as_a_command(
    run: Run, replica: Replica, at: list[str], monkeypatch: pytest.MonkeyPatch
):
    run("fetch", "--out", "store", "--all", "--quiet", *at)
    manifest = json.loads(Path("store/manifest.json").read_text())
    of = manifest["sources"]["pmc"]
    of |= {"attribution": "by \x1b]0;owned\x07 me", "as_of": "\x1b[2J[red]"}
    of["selections"][0]["settings"] = {"query": "\x9b2J\u202e"}
    write_json(Path("store/manifest.json"), manifest)
    shard = next(Path("store/shards").glob("*.parquet"))
    rows = pq.read_table(shard).to_pylist()
    for row in rows:
        row |= {"journal": "Zh.\u00a0\x1b[31mExp.\n", "licence": "\x1bc"}
    rows[0] |= {"state": "withdrawn", "note": "\x1b[5mblink"}
    pq.write_table(pa.Table.from_pylist(rows, ROWS), shard)
    Path("store/index.parquet").unlink()
    out, err = run("show", "store")
    assert "Zh. �[31mExp." in out
    assert "�[2J[red]" in out
    assert all(character.isprintable() or character == "\n" for character in out + err)


def test_show_says_whether_a_fetch_is_writing(run: Run, at: list[str], tmp_path: Path):
    from biolm.papers.writer import StoreWriter

    run("fetch", "--out", "store", "--all", "--quiet", *at)
    with StoreWriter(Path("store")):
        out, _ = run("show", "store")
        assert "a fetch is writing to it: 0.0 MB are not in a shard yet" in out
        assert "stopped" not in out
    assert "a fetch is writing" not in run("show", "store")[0]


def test_show_as_json_is_json_that_adds_up(run: Run, at: list[str]):
    run("fetch", "--out", "store", "--all", "--quiet", *at)
    out, err = run("show", "store", "--json", "--verify", "--quiet")
    facts = json.loads(out)
    assert err == ""
    assert facts["papers"] == sum(facts["licences"].values()) == 12
    assert facts["damaged"] == {}


def test_show_verify_ends_with_a_line_and_code_2_where_something_is_damaged(run: Run, tmp_path: Path):
    papers = write_papers(tmp_path / "mine", 2)
    (papers / "b.tar").write_bytes(b"\0" * 10240)
    run("fetch", "--out", "store", "--source", papers, "--quiet")
    (kept,) = Path("store/files/mine").glob("*b.tar")
    kept.write_bytes(b"\1" + kept.read_bytes()[1:])
    out, err = run("show", "store", "--verify", "--quiet", "--json", code=2)
    assert json.loads(out)["damaged"] == {"b.tar": "another MD5 than the store states"}
    assert err.startswith("biolm: 1 part of store is damaged (b.tar); remove ")
    assert err.count("\n") == 1
    kept.unlink()
    run("update", "store", "--quiet")
    out, _ = run("show", "store", "--verify", "--quiet")
    assert out.endswith("\nverified: 3 papers and files, nothing damaged\n")


def test_export_writes_plain_files(run: Run, at: list[str]):
    run("fetch", "--out", "store", "--all", "--quiet", *at)
    run("export", "store", "out", "PMC3", "4")
    assert {name for name in folder_bytes(Path("out")) if name.endswith(".xml")} == {
        "pmc/PMC3.1/PMC3.1.xml",
        "pmc/PMC4.1/PMC4.1.xml",
    }
    assert folder_bytes(Path("out"))["pmc/PMC3.1/PMC3.1.xml"] == invented_article(3, paragraphs=1)


def test_sources_names_each_service_with_its_licence_and_terms(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("COLUMNS")
    out, err = run("sources")
    plain = " ".join(out.split())
    for service in SERVICES.values():
        for words in (service.name, service.title, service.licence, service.terms, service.endpoint):
            assert words in plain
    assert err == ""
    assert max(map(len, out.splitlines())) <= 110
    assert all(line == line.rstrip() for line in out.splitlines())
    found = json.loads(run("sources", "--json")[0])
    assert found.keys() == SERVICES.keys()
    assert all(of["licence"] and of["terms"] and of["endpoint"] for of in found.values())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("fetch --licence by", "Missing option '--out'"),
        ("fetch --out S", "nothing says which articles; give for example --licence by, or --all"),
        ("fetch --out S --source pubmed", "nothing says which files; give --sample 1, or --all"),
        ("fetch --out S --retracted", "nothing says which articles"),
        ("fetch --out S --all --licence by", "--all is everything; give it without a selection"),
        ("fetch --out S --all --sample 3", "--all is everything"),
        ("fetch --out S --licence free", "'free' is no licence; give any, commercial, by"),
        ("fetch --out S --licence ,", "'' is no licence"),
        ("fetch --out S --pmcids PMC9-PMC1", "'PMC9-PMC1' is no range of PMCIDs"),
        ("fetch --out S --pmcids x", "'x' is no range of PMCIDs"),
        ("fetch --out S --published 20", "'20' is no range of dates"),
        ("fetch --out S --published May:June", "is no range of dates"),
        ("fetch --out S --changed-since yesterday", "'yesterday' is no day; give one such as"),
        ("fetch --out S --changed-since 2026-02-30", "is no day"),
        ("fetch --out S --query=", "--query is empty"),
        ("fetch --out S --sample 0", "a sample of 0 articles is impossible; give 1 or more"),
        ("fetch --out S --sample few", "not a valid integer"),
        ("fetch --out S --manuscripts maybe", "'maybe' is not one of"),
        ("fetch --out S --in-flight 0", "not in the range"),
        ("fetch --out S --all --endpoint junk", "give an address that begins with http:// or https://"),
        ("fetch --out S --all --endpoint pmc=ftp://x/y", "begins with http"),
        ("fetch --out S --all --endpoint http://", "begins with http"),
        ("fetch --out S --all --endpoint http://[::1", "begins with http"),
        ("fetch --out S --all --endpoint http://host:port/x", "begins with http"),
        ("fetch --out S --all --endpoint arxiv=http://x", "arxiv has no endpoint; name one of pmc, eutils"),
        (
            "fetch --out S --source eutils",
            "eutils has no papers; give one of pmc, europepmc, pubmed, or a folder",
        ),
        (
            "fetch --out S --source nonexistent",
            "neither a service (pmc, europepmc, pubmed) nor a folder",
        ),
        ("fetch --out S --source nosuch://bucket/x", "nosuch://bucket/x cannot be opened"),
        ("fetch --out S --source . --licence by", "a folder is taken as a whole, without --licence"),
        ("fetch --out S --source .", "holds no file ending in .xml"),
        ("fetch --out S --source pubmed --licence by", "cannot be chosen by --licence"),
        ("fetch --out S --source europepmc --published 2015:", "cannot be chosen by --published"),
        ("fetch --out http://host/S --all", "is an address, and this must be a path here"),
        ("fetch --out S --ids missing.txt", "missing.txt cannot be read: No such file"),
        ("fetch --out S --ids .", "cannot be read: Is a directory"),
        (
            "update nowhere",
            "nowhere is not a folder; expected a paper store, make it with `biolm papers fetch",
        ),
        ("show nowhere", "nowhere is not a folder; expected a paper store"),
        ("export nowhere out", "nowhere is not a folder; expected a paper store"),
        ("show .", "has no manifest.json, so it is no finished paper store"),
        ("export . out --versions some", "'some' is not one of"),
        ("show", "Missing argument 'STORE'"),
        ("frobnicate", "No such command"),
    ],
)
def test_wrong_words_are_refused_in_a_line_before_anything_is_made(
    arguments: str, says: str, refused: Callable[..., str]
):
    assert says in refused(*arguments.split())
    assert not list(Path().iterdir())


def test_an_endpoint_with_a_password_is_refused_without_repeating_it(refused: Callable[..., str]):
    for word in ("http://me:hunter2@host/x", "pubmed=https://me:hunter2@host"):
        line = refused("fetch", "--out", "S", "--all", "--endpoint", word)
        assert "has a password in it" in line
        assert "hunter2" not in line


def test_a_contact_of_two_lines_is_refused(refused: Callable[..., str]):
    line = refused("fetch", "--out", "S", "--all", "--contact", "me@here\nX-Header: 1")
    assert "--contact must be one line" in line


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"PMC1\nhello\n", "ids.txt, line 2: 'hello' is no PMCID; give one a line"),
        (b"PMCID,title\nPMC1,x\n12a\n", "line 3: '12a' is no PMCID"),
        (b"\xff\xfeP\x00M\x00", "ids.txt cannot be read: it is no text"),
        (bytes(range(256)), "ids.txt cannot be read: it is no text"),
        (b"PMC1\nPMC0\n", "line 2: 'PMC0' is no PMCID"),
        (b"", "ids.txt holds no PMCIDs"),
        (b"\n\n", "ids.txt holds no PMCIDs"),
        (b"pmcid\n# none yet\n", "ids.txt holds no PMCIDs"),
    ],
)
def test_a_file_of_ids_that_is_none_is_refused(
    data: bytes, says: str, refused: Callable[..., str], tmp_path: Path
):
    (tmp_path / "ids.txt").write_bytes(data)
    assert says in refused("fetch", "--out", "S", "--ids", tmp_path / "ids.txt")
    assert not Path("S").exists()


def test_a_store_is_not_written_where_something_else_is(
    refused: Callable[..., str], at: list[str], tmp_path: Path
):
    Path("file").write_text("x")
    Path("notes").mkdir()
    Path("notes/thesis.tex").write_text("years of work")
    write_json(Path("corpus/manifest.json"), {"kind": "corpus", "version": 2})
    write_json(Path("newer/manifest.json"), {"kind": "paper store", "version": 99, "sources": {}})
    before = folder_bytes(Path())
    for out, says in (
        ("file", "file is a file; choose another --out"),
        ("file/store", "file is a file; choose another --out"),
        ("notes", "notes holds other files; choose another --out"),
        ("corpus", "corpus already holds a finished corpus"),
        ("newer", "newer has paper store format 99, this biolm reads 1"),
        ("/proc/none/store", "/proc/none"),
    ):
        assert says in refused("fetch", "--out", out, "--all", "--quiet", *at)
    for command in (["update"], ["show"], ["export"]):
        more = ["out"] if command == ["export"] else []
        assert "is a corpus, not a paper store" in refused(*command, "corpus", *more)
        assert "format 99" in refused(*command, "newer", *more)
    assert folder_bytes(Path()) == before


def test_a_service_that_cannot_be_reached_is_said_in_a_line(refused: Callable[..., str]):
    line = refused("fetch", "--out", "S", "--all", "--source", "pubmed", "--endpoint", NOWHERE, "--quiet")
    assert "127.0.0.1:9 cannot be reached (no connection (Connect call failed" in line
    assert "check the network and --endpoint, and run the same command again" in line


def test_a_store_that_is_written_is_left_alone(refused: Callable[..., str], at: list[str]):
    from biolm.papers.writer import StoreWriter

    with StoreWriter(Path("store")):
        line = refused("fetch", "--out", "store", "--all", "--quiet", *at)
    assert "another biolm process is writing store" in line


def test_a_store_without_papers_can_be_shown_and_is_otherwise_refused(run: Run, refused: Callable[..., str]):
    from biolm.papers.writer import StoreWriter

    with StoreWriter(Path("store")):
        pass
    assert "0 papers, 0.0 MB of XML" in run("show", "store")[0]
    assert "store holds no papers; fetch some with" in refused("export", "store", "out")
    assert "store holds no source yet; fetch something into it" in refused("update", "store")


def test_export_refuses_what_it_cannot_do(run: Run, refused: Callable[..., str], at: list[str]):
    run("fetch", "--out", "store", "--all", "--quiet", *at)
    Path("notes").mkdir()
    Path("notes/thesis.tex").write_text("years of work")
    assert "store has no PMC99, PMC98; see" in refused("export", "store", "out", "PMC1", "PMC99", "PMC98")
    assert "notes holds other files" in refused("export", "store", "notes")
    assert not Path("out").exists()


def started(*arguments: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "biolm", "papers", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )


def wait_for(done: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not done():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


@pytest.mark.parametrize("source", ["pmc", "europepmc"])
def test_a_fetch_that_was_interrupted_says_so_and_the_next_completes_the_store(
    source: str, run: Run, replica: Replica, at: list[str]
):
    for number in range(13, 200):
        replica.put_article(f"PMC{number}.1", invented_article(number, paragraphs=1))
    replica.take_inventory("2026-11-26")
    for number in range(6):
        data = gzip.compress(random.Random(number).randbytes(100_000))
        replica.put_file(f"/europepmc/PMC{number}00_PMC{number}99.xml.gz", data)
    replica.faults.latency_seconds = 0.05
    words = ["fetch", "--out", "store", "--source", source, "--all", *at]
    process = started(*words, "--in-flight", "4")
    begun = ".xml" if source == "pmc" else ".xml.gz"
    wait_for(lambda: sum(begun in entry.path for entry in list(replica.log)) > 8, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert err.splitlines()[-2:] == [
        "what was fetched is kept in store; the same command goes on from there",
        "biolm: interrupted",
    ]
    assert "Traceback" not in err
    replica.faults.latency_seconds = 0
    held = names(Path("store"))
    everything = 199 if source == "pmc" else 6
    assert len(held) < everything
    run(*words, "--quiet")
    assert len(names(Path("store"))) == everything
    assert run("show", "store", "--verify", "--quiet", "--json")[0].count('"damaged": {}') == 1
    if source == "pmc":
        assert held
        asked = [entry.path for entry in replica.log if entry.path.endswith(".xml")]
        assert len(asked) <= everything + 4


def test_a_killed_fetch_is_shown_as_unfinished_and_update_goes_on(run: Run, replica: Replica, at: list[str]):
    for number in range(13, 200):
        replica.put_article(f"PMC{number}.1", invented_article(number, paragraphs=1))
    replica.take_inventory("2026-11-26")
    replica.faults.latency_seconds = 0.05
    process = started("fetch", "--out", "store", "--all", *at, "--in-flight", "4", "--quiet")
    wait_for(lambda: sum(".xml" in entry.path for entry in list(replica.log)) > 60, process)
    process.kill()
    process.communicate()
    replica.faults.latency_seconds = 0
    out, _ = run("show", "store")
    assert "pmc: everything, at http://127.0.0.1:" in out
    assert "(not finished: run the fetch again)" in out
    assert "MB of a stopped fetch wait for the next fetch or update" in out
    run("update", "store", "--quiet")
    assert len(names(Path("store"))) == 199
    assert "not finished" not in run("show", "store")[0]


@pytest.mark.parametrize("arguments", [["--help"], ["papers", "--help"], ["papers", "fetch", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]):
    code = f"import sys\nfrom biolm.cli import main\ntry: main({arguments})\nexcept SystemExit: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"aiohttp", "pyarrow", "numpy", "fsspec", "isal", "rich", "lxml", "torch", "asyncio"}
    assert not set(done.stdout.split()) & heavy
    assert "Usage: biolm" in done.stdout
