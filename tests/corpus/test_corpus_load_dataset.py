"""Stock `datasets` reads a corpus folder, in a process that never imports biolm."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from corpus_papers import write_pubmed

from biolm.corpus.build import CorpusConfig, build_corpus
from biolm.corpus.split import parse_shares
from biolm.progress import Silent

SCRIPT = """
import json, sys
from datasets import load_dataset
splits = load_dataset(sys.argv[1])
assert "biolm" not in sys.modules
rows = {name: split.num_rows for name, split in splits.items()}
first = next(iter(splits.values()))
print(json.dumps({"rows": rows, "features": {k: v.dtype for k, v in first.features.items()}, "row": first[0]}))
"""


@pytest.mark.parametrize("shares", ["2/1/1", "3/0/1"])
def test_load_dataset_reads_every_split(tmp_path: Path, shares: str):
    source = write_pubmed(tmp_path / "papers.xml", range(1, 80))
    config = CorpusConfig(shares=parse_shares(shares), passages_per_file=20)
    manifest = build_corpus([source], tmp_path / "corpus", config, Silent())
    loaded = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "corpus")],
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert loaded.returncode == 0, loaded.stderr
    found = json.loads(loaded.stdout)
    assert found["rows"] == {name: facts["passages"] for name, facts in manifest["splits"].items()}
    assert found["features"]["year"] == "int32"
    assert found["features"]["text"] == "string"
    assert found["row"]["section"] == "abstract"
