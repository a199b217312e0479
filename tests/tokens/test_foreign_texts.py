"""Texts of others, through the datasets library: what is read, what is left out and counted, what is refused."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from biolm.errors import InputError
from biolm.progress import Silent
from biolm.tokens.build import build_tokens
from biolm.tokens.source import TextColumns
from biolm.tokens.store import SECTIONS
from biolm.tokens.tokenizer import load_tokenizer

TEXTS = ["p53 binds DNA in cells.", "mouse neurons", "NA", "protein, kinase"]
ROWS = {
    "text": [TEXTS[0], TEXTS[1], "", TEXTS[2], "  \n", TEXTS[3]],
    "pmid": ["007", "007", "8", "7", "7", "8"],
}


def tokens(data: Path | str, tokenizer_folder: Path, out: Path, **columns: str):
    tokenizer = load_tokenizer(str(tokenizer_folder))
    return build_tokens(data, tokenizer, out, Silent(), columns=TextColumns(**columns))


def texts_in(store, tokenizer_folder: Path, split: str = "train") -> list[str]:
    data, stock = store.split(split), load_tokenizer(str(tokenizer_folder)).stock
    ends = zip(data.offsets[:-1], data.offsets[1:], strict=True)
    return [stock.decode(data.ids[first:last].tolist()) for first, last in ends]


def save(rows: Dataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        rows.to_parquet(path)
    elif path.suffix == ".json":  # an array, which pretty-printers write
        path.write_text(json.dumps(rows.to_list(), indent=1))
    elif path.suffix in (".csv", ".tsv"):
        rows.to_csv(path, sep="\t" if path.suffix == ".tsv" else ",", index=False)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows.to_list()))
    return path


@pytest.mark.parametrize("ending", ["parquet", "jsonl", "json", "csv", "tsv"])
def test_every_format_gives_the_same_passages(ending: str, tiny_roberta: Path, tmp_path: Path):
    folder = tmp_path / "odd [name]* x"
    save(Dataset.from_dict(ROWS), folder / f"train.{ending}")
    save(Dataset.from_dict({"text": TEXTS[1:2], "pmid": ["1"]}), folder / f"dev.{ending}")
    store = tokens(folder, tiny_roberta, tmp_path / "tokens", document="pmid")
    assert store.splits == ("train", "validation")
    assert texts_in(store, tiny_roberta) == TEXTS
    assert texts_in(store, tiny_roberta, "validation") == TEXTS[1:2]
    train = store.split("train")
    assert train.documents.tolist() == [0, 0, 1, 2]
    assert (train.document_count, {SECTIONS[section] for section in train.sections}) == (3, {"text"})
    corpus = store.manifest["corpus"]
    assert corpus["counts"] == {"rows_read": 7, "passages_kept": 5, "dropped": {"empty": 2, "null": 0}}
    assert corpus["splits"]["train"] == {"passages": 4, "documents": 3}
    assert (corpus["kind"], corpus["name"]) == ("texts", folder.name)
    assert not {"licences", "languages"} & set(corpus)
    assert str(tmp_path) not in json.dumps(store.manifest)


def test_null_texts_are_counted_and_null_documents_are_their_own(tiny_roberta: Path, tmp_path: Path):
    rows = Dataset.from_dict({"text": ["a b", None, "c", "d", "e"], "doc": [1, 1, None, None, 1]})
    store = tokens(save(rows, tmp_path / "a.parquet"), tiny_roberta, tmp_path / "tokens", document="doc")
    assert store.manifest["corpus"]["counts"]["dropped"] == {"empty": 0, "null": 1}
    assert store.split("train").documents.tolist() == [0, 1, 2, 0]


def test_without_a_column_for_them_each_passage_is_a_document(tiny_roberta: Path, tmp_path: Path):
    rows = Dataset.from_dict({"abstract": TEXTS * 1200})
    store = tokens(save(rows, tmp_path / "a.parquet"), tiny_roberta, tmp_path / "tokens", text="abstract")
    train = store.split("train")
    assert train.documents.tolist() == list(range(4800))
    assert texts_in(store, tiny_roberta) == TEXTS * 1200


@pytest.mark.parametrize("whole", [True, False])
def test_what_the_library_saved_is_read(whole: bool, tiny_roberta: Path, tmp_path: Path, caplog):
    rows = Dataset.from_dict(ROWS).with_format("numpy")
    folder = tmp_path / "saved"
    if whole:
        DatasetDict({"train": rows, "valid": rows.select([0]), "unsupervised": rows}).save_to_disk(folder)
    else:
        rows.filter(lambda row: row["text"] != TEXTS[1]).save_to_disk(folder)
    store = tokens(folder, tiny_roberta, tmp_path / "tokens")
    assert store.splits == (("train", "validation") if whole else ("train",))
    assert texts_in(store, tiny_roberta) == [text for text in TEXTS if whole or text != TEXTS[1]]
    assert store.manifest["corpus"]["other_splits"] == ["unsupervised"] * whole
    assert ("left out are unsupervised" in caplog.text) == whole
    assert {source["split"] for source in store.manifest["corpus"]["sources"]} == set(store.splits)


def test_splits_without_passages_are_not_there_and_unigrams_are_of_what_is(
    tiny_roberta: Path, tmp_path: Path
):
    save(Dataset.from_dict({"text": ["", " "]}), tmp_path / "data/train.jsonl")
    save(Dataset.from_dict({"text": TEXTS}), tmp_path / "data/test.jsonl")
    store = tokens(tmp_path / "data", tiny_roberta, tmp_path / "tokens")
    assert store.splits == ("test",)
    assert not list((tmp_path / "tokens").glob("train.*"))
    assert store.unigram_counts().sum() == len(store.split("test").ids)
    with pytest.raises(InputError, match=r"no passage to tokenize \(2 empty\)"):
        tokens(tmp_path / "data/train.jsonl", tiny_roberta, tmp_path / "none")
    assert not (tmp_path / "none").exists()


NUMBERS = Dataset.from_dict({"text": [1, 2]})
LABELS = Dataset.from_dict({"text": [0, 1]}, features=Features({"text": ClassLabel(names=["a", "b"])}))


@pytest.mark.parametrize(
    ("rows", "name", "columns", "says"),
    [
        (NUMBERS, "a.parquet", {}, "its column text holds int64, not texts; name another with --text-column"),
        (LABELS, "a.parquet", {}, "holds int64, not texts"),
        (NUMBERS, "a.jsonl", {}, "holds int64, not texts"),
        (Dataset.from_dict({"text": [["a"], ["b"]]}), "a.parquet", {}, "holds list"),
        (
            Dataset.from_dict({"abstract": ["a"], "n": [1]}),
            "a.parquet",
            {},
            "has no column text; it has abstract, n",
        ),
        (Dataset.from_dict({"abstract": ["a"]}), "a.csv", {}, "has no column text; it has abstract"),
        (Dataset.from_dict({"abstract": ["a"]}), "a.jsonl", {}, "--text-column"),
        (Dataset.from_dict(ROWS), "a.parquet", {"text": "body"}, "has no column body; it has text, pmid"),
        (Dataset.from_dict(ROWS), "a.csv", {"document": "doi"}, "has no column doi"),
        (
            Dataset.from_dict({"text": ["a"], "doc": [[1]]}),
            "a.parquet",
            {"document": "doc"},
            "names no document; name another with --document-column",
        ),
    ],
)
def test_columns_that_cannot_be_used(
    rows: Dataset, name: str, columns: dict[str, str], says: str, tiny_roberta: Path, tmp_path: Path
):
    with pytest.raises(InputError, match=says) as error:
        tokens(save(rows, tmp_path / name), tiny_roberta, tmp_path / "tokens", **columns)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "tokens").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.jsonl", b'{"text": "a"}\n{"text": "b"\n'),
        ("train.jsonl", b'{"text": "a"}\n{"text": 3}\n'),
        ("train.jsonl", b""),
        ("train.json", b"[1, 2]"),
        ("train.csv", b"text\na,b\na,b,c\n"),
        ("train.csv", b"text\n\xff\xfe\n"),
        ("train.csv", b""),
        ("train.parquet", b"PAR1 and no more"),
        ("train.jsonl.gz", b"not packed"),
    ],
)
def test_files_that_cannot_be_read_are_one_line(
    name: str, content: bytes, tiny_roberta: Path, tmp_path: Path, capfd
):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="train") as error:
        tokens(tmp_path / name, tiny_roberta, tmp_path / "tokens")
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")
    assert not (tmp_path / "tokens").exists()


def test_a_saved_folder_that_lost_a_file_is_one_line(tiny_roberta: Path, tmp_path: Path):
    Dataset.from_dict(ROWS).save_to_disk(tmp_path / "saved")
    next((tmp_path / "saved").glob("*.arrow")).unlink()
    with pytest.raises(InputError, match="saved cannot be read"):
        tokens(tmp_path / "saved", tiny_roberta, tmp_path / "tokens")


def test_what_looks_like_a_log_of_chats_is_read_as_it_is(tiny_roberta: Path, tmp_path: Path):
    features = Features({"text": Value("string"), "type": Value("string")})
    rows = Dataset.from_dict({"text": TEXTS[:2], "type": ["user", "assistant"]}, features=features)
    store = tokens(save(rows, tmp_path / "a.jsonl"), tiny_roberta, tmp_path / "tokens")
    assert texts_in(store, tiny_roberta) == TEXTS[:2]


def test_code_beside_the_data_is_never_run(tiny_roberta: Path, tmp_path: Path):
    folder = tmp_path / "texts"
    save(Dataset.from_dict(ROWS), folder / "train.parquet")
    (folder / "texts.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    tokens(folder, tiny_roberta, tmp_path / "tokens")
    assert not (tmp_path / "ran").exists()


def test_without_the_library_one_line_says_what_to_install(tiny_roberta: Path, tmp_path: Path):
    save(Dataset.from_dict(ROWS), tmp_path / "a.jsonl")
    code = (
        "import sys; sys.modules['datasets'] = None\n"
        f"from biolm.cli import main; main(['tokenize', {str(tmp_path / 'a.jsonl')!r}, '--tokenizer', "
        f"{str(tiny_roberta)!r}, '--out', {str(tmp_path / 'tokens')!r}, '--quiet'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "pip install 'biolm[datasets]'" in done.stderr
