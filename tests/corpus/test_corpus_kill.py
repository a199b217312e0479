"""A build killed at any moment leaves nothing or everything; the next run takes up there and makes the same bytes."""

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from corpus_papers import write_pubmed

from biolm.corpus.build import Running, build_corpus
from biolm.corpus.config import CorpusConfig
from biolm.corpus.split import parse_shares
from biolm.corpus.workspace import Workspace
from biolm.progress import Silent
from conftest import folder_bytes, write_papers

KILLS = 6
CONFIG = CorpusConfig(shares=parse_shares("8/1/1"))


@pytest.fixture
def papers(tmp_path: Path) -> list[Path]:
    """Small papers in groups, and PubMed files of which one has new versions of the other's records."""
    write_papers(tmp_path / "jats", 1500)
    write_pubmed(tmp_path / "pubmed" / "pubmed20n0001.xml", range(1, 2001), words=80)
    write_pubmed(tmp_path / "pubmed" / "pubmed20n0002.xml", range(1500, 2500), words=80)
    return [tmp_path / "jats", tmp_path / "pubmed"]


def command(sources: list[Path], out: Path, work: Path, workers: int) -> list[str]:
    build = ["corpus", "build", *map(str, sources), "--out", str(out), "--split", "8/1/1", "--quiet"]
    return [sys.executable, "-m", "biolm", *build, "--work", str(work), "--workers", str(workers)]


def processes_with(word: str) -> list[str]:
    """Command lines and parents of the processes that were started with a word in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if word.encode() in (process / "environ").read_bytes() and (process / "cmdline").read_bytes():
                found.append(process.name)
        except OSError:
            continue  # another's, or gone
    return found


def test_workers_order_and_killed_runs_change_no_byte(papers: list[Path], tmp_path: Path):
    build_corpus(papers, tmp_path / "whole", CONFIG, Silent(), Running(workers=1, work=str(tmp_path / "w1")))
    expected = folder_bytes(tmp_path / "whole")
    started = time.monotonic()
    subprocess.run(command(papers[::-1], tmp_path / "two", tmp_path / "w2", 2), check=True)
    seconds = time.monotonic() - started
    assert folder_bytes(tmp_path / "two") == expected
    delays = random.Random(7)
    out, work = tmp_path / "corpus", tmp_path / "w3"
    for kill in range(KILLS):
        mark = f"BIOLM_TEST_MARK_{os.getpid()}_{kill}"
        process = subprocess.Popen(
            command(papers, out, work, 1 + kill % 2), start_new_session=True, env={**os.environ, mark: "1"}
        )
        time.sleep(delays.uniform(0.2, 1.0) * seconds)
        os.killpg(process.pid, 9)
        process.wait()
        while processes_with(mark):  # its workers die a moment later
            time.sleep(0.01)
        if out.exists():
            assert folder_bytes(out) == expected
    subprocess.run(command(papers, out, work, 2), check=True)
    assert folder_bytes(out) == expected
    assert not [path for path in work.iterdir() if path.name.startswith(".draft")]


def test_a_sweep_takes_what_nobody_holds(tmp_path: Path):
    """Whether a draft is held is not told by its process's number: a dead one's may be another's by now."""
    workspace = Workspace(str(tmp_path))
    with workspace.draft() as mine:
        (mine / "table").write_text("half a")
        left = mine.parent.with_name(mine.parent.name + "-left")
        shutil.copytree(mine.parent, left)
        workspace.sweep()
        assert (mine / "table").exists()
        assert not left.exists()
    assert not list(tmp_path.iterdir())


def test_a_run_again_reads_only_what_is_not_finished(papers: list[Path], tmp_path: Path):
    running = Running(workers=1, work=str(tmp_path / "work"))
    build_corpus(papers, tmp_path / "one", CONFIG, Silent(), running)
    extracts = sorted((tmp_path / "work").rglob("*.json"))
    times = [path.stat().st_mtime_ns for path in extracts]
    extracts[0].unlink()  # as if killed before it was finished
    build_corpus(papers, tmp_path / "two", CONFIG, Silent(), running)
    again = [path.stat().st_mtime_ns for path in extracts]
    assert again[1:] == times[1:]
    assert again[0] != times[0]
    assert folder_bytes(tmp_path / "one") == folder_bytes(tmp_path / "two")


def test_other_filters_need_no_second_reading(papers: list[Path], tmp_path: Path):
    running = Running(workers=1, work=str(tmp_path / "work"))
    build_corpus(papers, tmp_path / "one", CONFIG, Silent(), running)
    extracts = sorted((tmp_path / "work").rglob("*"))
    config = CorpusConfig(min_chars=200, licence="any", near_duplicates=0.9, seed=1)
    build_corpus(papers, tmp_path / "two", config, Silent(), running)
    assert sorted((tmp_path / "work").rglob("*")) == extracts


def test_a_paper_more_in_a_folder_makes_one_new_extract(papers: list[Path], tmp_path: Path):
    running = Running(workers=1, work=str(tmp_path / "work"))
    build_corpus(papers, tmp_path / "one", CONFIG, Silent(), running)
    before = {path.name for path in (tmp_path / "work").rglob("*.json")}
    assert len(before) >= 3
    (papers[0] / "PMC00150a.xml").write_bytes((papers[0] / "PMC00150.xml").read_bytes())
    build_corpus(papers, tmp_path / "two", CONFIG, Silent(), running)
    assert len({path.name for path in (tmp_path / "work").rglob("*.json")} - before) in (
        1,
        2,
    )  # a group may split


def test_a_folder_left_unfinished_does_not_change_the_next_build(tmp_path: Path):
    source = write_pubmed(tmp_path / "papers.xml", range(1, 30))
    subprocess.run(command([source], tmp_path / "whole", tmp_path / "w", 1), check=True)
    unfinished = tmp_path / ".corpus.partial"
    unfinished.mkdir()
    (unfinished / "train-00000.parquet").write_bytes(b"PAR1 half a file")
    subprocess.run(command([source], tmp_path / "corpus", tmp_path / "w", 1), check=True)
    assert folder_bytes(tmp_path / "corpus") == folder_bytes(tmp_path / "whole")
    assert not unfinished.exists()


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are looked up in /proc")
@pytest.mark.parametrize("number", [9, 15])
def test_workers_end_with_a_build_that_is_killed(papers: list[Path], tmp_path: Path, number: int):
    mark = f"BIOLM_TEST_MARK_{os.getpid()}_{number}"
    build = command(papers, tmp_path / "corpus", tmp_path / "work", 2)
    process = subprocess.Popen(build, env={**os.environ, mark: "1"})
    deadline = time.monotonic() + 60
    while len(processes_with(mark)) < 4 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)  # until its workers are there
    process.send_signal(number)
    process.wait()
    while processes_with(mark) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not processes_with(mark)


def test_builds_of_a_moment_end_quietly(tmp_path: Path):
    """Workers that are still starting when all is done have nothing to say."""
    for number in (1, 2, 3):
        (tmp_path / f"{number}.xml").write_text("<article>")
    sources = [tmp_path / f"{number}.xml" for number in (1, 2, 3)]
    for _ in range(4):
        done = subprocess.run(
            command(sources, tmp_path / "corpus", tmp_path / "work", 2),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1


def test_a_worker_that_is_killed_is_one_line(papers: list[Path], tmp_path: Path):
    code = (
        "import os, sys\n"
        "from biolm.corpus import engines\n"
        "from biolm.errors import InputError\n"
        "if __name__ == '__main__':\n"
        "    try:\n"
        "        list(engines.run(os.kill, [1, 2], [0, 1], workers=2, tick=print))\n"
        "    except InputError as error:\n"
        "        print(error)\n"
    )
    code = code.replace("os.kill, [1, 2]", "killed, [1, 2]").replace(
        "if __name__", "from worker_that_dies import killed\nif __name__", 1
    )
    (tmp_path / "worker_that_dies.py").write_text(
        "import os\ndef killed(item, tick):\n    os.kill(os.getpid(), 9)\n"
    )
    (tmp_path / "script.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.startswith("a worker was killed, maybe for want of memory; run the same command again")
