"""What is given as a corpus: biolm's own is known first, others' data by their files, all else is told what it is."""

import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biolm.errors import BiolmError, ConfigError, InputError
from biolm.progress import Silent
from biolm.tokens.data_files import SPLIT_WORDS, by_split, find_data_files, format_of, known_splits, split_in
from biolm.tokens.foreign import open_source
from biolm.tokens.hub_dataset import HubAddress, parse_address
from biolm.tokens.source import CorpusSource, TextColumns
from conftest import write_papers


def source(place: Path | str, **columns: str):
    return open_source(place, TextColumns(**columns), Silent())


def test_a_corpus_of_ours_is_known_first(tiny_corpus: Path):
    opened = source(tiny_corpus)
    assert isinstance(opened, CorpusSource)
    with pytest.raises(ConfigError, match="has its own columns"):
        source(tiny_corpus, text="abstract")


def make(kind: str, place: Path, tiny_roberta: Path, tiny_corpus: Path) -> None:
    if kind == "papers":
        write_papers(place, 2)
    elif kind == "papers with sidecars":
        (write_papers(place, 1) / "PMC00001.json").write_text("{}")
    elif kind == "paper":
        shutil.copy(write_papers(place.with_name("papers"), 1) / "PMC00001.xml", place.with_suffix(".xml"))
    elif kind == "model":
        shutil.copytree(tiny_roberta, place)
    elif kind == "run":
        place.mkdir()
        (place / "config.json").write_text(json.dumps({"kind": "run"}))
    elif kind == "corpus that lost a file":
        shutil.copytree(tiny_corpus, place)
        next(place.glob("train-*.parquet")).unlink()
    elif kind == "our model":
        place.mkdir()
        (place / "manifest.json").write_text(json.dumps({"kind": "model", "version": 1}))
    elif kind == "archive":
        with zipfile.ZipFile(place.with_suffix(".zip"), "w") as archive:
            archive.writestr("train.jsonl", "{}")
    elif kind == "folder of archives":
        place.mkdir()
        (place / "a.zip").write_bytes(b"")
    elif kind == "text":
        place.with_suffix(".txt").write_text("words")
    elif kind == "empty":
        place.mkdir()
    elif kind == "other files":
        place.mkdir()
        (place / "thesis.tex").write_text("years of work")


@pytest.mark.parametrize(
    ("kind", "name", "says"),
    [
        ("papers", "x", "holds papers, not a corpus; build one first, with `biolm corpus build"),
        ("papers with sidecars", "x", "holds papers, not a corpus"),
        ("paper", "x.xml", "holds papers, not a corpus"),
        ("model", "x", "is a model or tokenizer, no data; give a corpus"),
        ("our model", "x", "is a model, not a corpus"),
        ("run", "x", "is a run of biolm's, whose model is"),
        ("corpus that lost a file", "x", "is missing or has another size"),
        ("archive", "x.zip", "is an archive; unpack it if it holds texts"),
        ("folder of archives", "x", "holds archives; unpack them if they hold texts"),
        ("text", "x.txt", "is neither a corpus nor a file of texts or token ids; give"),
        ("empty", "x", "is an empty folder; give"),
        ("other files", "x", "holds neither a corpus nor files of texts or token ids; give"),
        ("nothing", "x", "does not exist; give"),
    ],
)
def test_what_is_no_data_is_told_what_it_is_and_what_to_do(
    kind: str, name: str, says: str, tiny_roberta: Path, tiny_corpus: Path, tmp_path: Path
):
    make(kind, tmp_path / "x", tiny_roberta, tiny_corpus)
    with pytest.raises(BiolmError) as error:
        source(tmp_path / name)
    assert says in str(error.value)
    assert "biolm corpus build" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "split", "base"),
    [
        ("train.jsonl", "train", ""),
        ("data/train-00000-of-00002.parquet", "train", "data"),
        ("EVAL.jsonl.gz", "validation", ""),
        ("my_dev_set.csv", "validation", ""),
        ("val/a.json", "validation", ""),
        ("test/train.csv", "train", "test"),  # the file's own name counts first
        ("a/test/1/2.csv", "test", "a"),
    ],
)
def test_a_file_is_of_the_split_that_its_name_or_folder_says(name: str, split: str, base: str):
    found = split_in(name)
    assert found is not None
    assert (found[0], found[2]) == (split, base)


@pytest.mark.parametrize(
    "name", ["trained.csv", "contest.csv", "evaluation.csv", "part-0.parquet", "data/1.csv"]
)
def test_other_words_name_no_split(name: str):
    assert split_in(name) is None


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["train.csv", "more.csv"], "more.csv says of no split"),
        (["a/train.csv", "b/train.csv", "b/test.csv"], r"several data sets \(a, b\)"),
        (["train.csv", "dev.csv", "valid.csv"], "dev and valid, which both mean validation"),
        (["train-test.csv"], "several splits"),
    ],
)
def test_files_of_which_it_is_not_clear_what_they_are(names: list[str], says: str):
    with pytest.raises(InputError, match=says):
        by_split(names, "folder")


@given(
    st.lists(st.sampled_from(sorted(SPLIT_WORDS)), min_size=1, max_size=3, unique_by=SPLIT_WORDS.get),
    st.integers(1, 4),
)
def test_no_file_is_lost(words: list[str], shards: int):
    names = [f"data/{word}-{shard:05d}.parquet" for word in words for shard in range(shards)]
    grouped = by_split(names, "folder")
    assert sorted(name for files in grouped.values() for name in files) == sorted(names)
    assert grouped.keys() == {SPLIT_WORDS[word] for word in words}
    known, others = known_splits([*words, "extra"], "folder")
    assert (set(known.values()), others) == (set(words), ("extra",))


def test_without_a_word_for_it_all_is_of_train(tmp_path: Path):
    for name in ("b.parquet", "a.parquet", ".hidden.parquet", "dataset_infos.json", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    files = find_data_files(tmp_path)
    assert files is not None
    assert files.splits == {"train": (tmp_path / "a.parquet", tmp_path / "b.parquet")}


def test_formats_are_told_by_the_ending_and_not_mixed(tmp_path: Path):
    endings = {"a.JSONL": "json", "a.csv.gz": "csv", "a.tsv": "tsv", "a.parquet.gz": None, "a.txt": None}
    assert {name: format_of(name) for name in endings} == endings
    for name in ("train.csv", "test.parquet"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match=r"several formats \(csv, parquet\)"):
        find_data_files(tmp_path)


@pytest.mark.parametrize(
    ("place", "address"),
    [
        ("hf://datasets/me/texts", HubAddress("me/texts", None, None)),
        ("hf://datasets/me/texts@v1.0/en", HubAddress("me/texts", "v1.0", "en")),
        ("hf://datasets/me/texts@refs/convert/parquet", HubAddress("me/texts", "refs/convert/parquet", None)),
        ("hf://datasets/me/texts@refs/pr/3/en", HubAddress("me/texts", "refs/pr/3", "en")),
        ("hf://datasets/me/texts@refs%2Fpr%2F3", HubAddress("me/texts", "refs/pr/3", None)),
        ("hf://datasets/texts", None),
        ("hf://me/model", None),
        ("s3://bucket/corpus", None),
    ],
)
def test_addresses_at_the_hub(place: str, address: HubAddress | None):
    assert parse_address(place) == address


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_one_line(tmp_path: Path):
    (tmp_path / "x").mkdir(mode=0)
    with pytest.raises((BiolmError, OSError)):
        source(tmp_path / "x")
