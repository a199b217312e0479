"""A build killed at any moment leaves nothing or everything, and the next run makes the same bytes."""

import random
import subprocess
import sys
import time
from pathlib import Path

from corpus_papers import write_pubmed

from conftest import folder_bytes

KILLS = 8


def command(source: Path, out: Path) -> list[str]:
    build = ["corpus", "build", str(source), "--out", str(out), "--split", "8/1/1", "--quiet"]
    return [sys.executable, "-m", "biolm", *build]


def test_a_killed_build_is_whole_or_absent_and_can_be_run_again(tmp_path: Path):
    source = write_pubmed(tmp_path / "papers.xml", range(1, 4001), words=80)
    started = time.monotonic()
    subprocess.run(command(source, tmp_path / "whole"), check=True)
    seconds = time.monotonic() - started
    expected = folder_bytes(tmp_path / "whole")
    delays = random.Random(7)
    out = tmp_path / "corpus"
    for _ in range(KILLS):
        process = subprocess.Popen(command(source, out))
        time.sleep(delays.uniform(0.3, 1.05) * seconds)
        process.kill()
        process.wait()
        if out.exists():
            assert folder_bytes(out) == expected
    subprocess.run(command(source, out), check=True)
    assert folder_bytes(out) == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus", "papers.xml", "whole"]


def test_a_folder_left_unfinished_does_not_change_the_next_build(tmp_path: Path):
    source = write_pubmed(tmp_path / "papers.xml", range(1, 30))
    subprocess.run(command(source, tmp_path / "whole"), check=True)
    unfinished = tmp_path / ".corpus.partial"
    unfinished.mkdir()
    (unfinished / "train-00000.parquet").write_bytes(b"PAR1 half a file")
    subprocess.run(command(source, tmp_path / "corpus"), check=True)
    assert folder_bytes(tmp_path / "corpus") == folder_bytes(tmp_path / "whole")
    assert not unfinished.exists()
