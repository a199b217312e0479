"""Which form a file is, rows of data sets, and files that are whole or absent."""

import gzip
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from biolm.annotations import read_documents, write_documents
from biolm.annotations.read import FORMS, form_of, iter_documents, splits_in
from biolm.annotations.tables import same_split
from biolm.annotations.write import WRITTEN_FORMS
from biolm.errors import ArtifactError, InputError
from biolm.mentions import Document, Mention, Part

DOCUMENT = Document("7", "BRCA1 and p53 bind", (Mention(0, 5, "Gene"), Mention(10, 13, "Gene")))
TOKENS = {"id": "r", "tokens": ["p", "-", "53", "."], "ner_tags": [1, 2, 2, 0]}
NAMES = ["O", "B-Gene", "I-Gene"]


def said(document: Document) -> list[tuple[str, str]]:
    return [(document.surface(mention), mention.type) for mention in document.mentions]


@pytest.mark.parametrize("form", WRITTEN_FORMS)
@pytest.mark.parametrize("packed", [False, True])
def test_what_is_written_is_found_out_and_read(form: str, packed: bool, tmp_path: Path):
    ending = {"jsonl": ".jsonl", "pubtator": ".txt", "bioc": ".json", "conll": ".tsv", "brat": ""}[form]
    path = tmp_path / ("x" + ending + (".gz" if packed and form != "brat" else ""))
    write_documents([DOCUMENT], path, form)
    write = path.read_bytes() if path.is_file() else None
    assert (write is not None and write[:2] == b"\x1f\x8b") == (packed and form != "brat")
    data = read_documents(path)
    assert data.form == form
    assert said(data.documents[0]) == said(DOCUMENT)
    assert data.documents[0].text == DOCUMENT.text
    assert list(tmp_path.iterdir()) == [path]


def test_a_byte_order_mark_moves_nothing(tmp_path: Path):
    for form in ("jsonl", "pubtator", "bioc", "conll"):
        out = io.StringIO()
        write_documents([DOCUMENT], out, form)
        path = tmp_path / f"{form}.txt"
        path.write_bytes(b"\xef\xbb\xbf" + out.getvalue().encode())
        data = read_documents(path)
        assert (data.form, said(data.documents[0])) == (form, said(DOCUMENT))


def test_a_failed_write_leaves_nothing(tmp_path: Path):
    def failing():
        yield DOCUMENT
        raise InputError("no more")

    for form in WRITTEN_FORMS:
        with pytest.raises(InputError, match="no more"):
            write_documents(failing(), tmp_path / "x", form)
    with pytest.raises(InputError, match="half a character"):
        write_documents([Document("1", "\ud800")], tmp_path / "x", "jsonl")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("x")
    with pytest.raises(ArtifactError, match="cannot"):
        write_documents([DOCUMENT], tmp_path / "file" / "x", "jsonl")
    with pytest.raises(ArtifactError, match="is a file"):
        write_documents([DOCUMENT], tmp_path / "file", "brat")
    with pytest.raises(InputError, match="brat is a folder"):
        write_documents([DOCUMENT], io.StringIO(), "brat")
    with pytest.raises(InputError, match="'xml' cannot be written; choose one of jsonl"):
        write_documents([DOCUMENT], tmp_path / "x", "xml")


class Refusing(io.StringIO):
    """A stream whose writes fail."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error

    def write(self, _: str) -> int:
        raise self.error


def test_only_errors_of_writing_are_the_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def failing(error: Exception):
        yield DOCUMENT
        raise error

    for out in (tmp_path / "x", io.StringIO()):
        with pytest.raises(FileNotFoundError, match="of the input"):
            write_documents(failing(FileNotFoundError(2, "of the input")), out, "jsonl")
        with pytest.raises(UnicodeEncodeError):
            write_documents(failing(UnicodeEncodeError("ascii", "é", 0, 1, "no")), out, "jsonl")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(BrokenPipeError):
        write_documents([DOCUMENT], Refusing(BrokenPipeError(32, "Broken pipe")), "jsonl")
    monkeypatch.setattr(sys, "stdout", Refusing(OSError(28, "No space left on device")))
    with pytest.raises(ArtifactError, match=r"^standard output cannot be written: No space left"):
        write_documents([DOCUMENT], sys.stdout, "jsonl")


def test_a_stream_of_bytes_gets_utf8_whatever_its_encoding():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    stream.write("before\n")
    write_documents([Document("1", "β")], stream, "conll")
    assert raw.getvalue() == "before\nβ\tO\n\n".encode()
    with pytest.raises(InputError, match="half a character"):
        write_documents([Document("1", "\ud800")], stream, "jsonl")


def test_two_documents_with_one_name_are_told_apart(tmp_path: Path):
    path = tmp_path / "x.jsonl"
    write_documents([DOCUMENT, DOCUMENT, Document("7#2", "x"), DOCUMENT], path, "jsonl")
    data = read_documents(path)
    assert [document.id for document in data.documents] == ["7", "7#2", "7#2#2", "7#3"]
    assert data.counts == {"document ids met again, now with #2, #3, ...": 3}
    with pytest.raises(InputError, match="two documents have"):
        write_documents([DOCUMENT, DOCUMENT], tmp_path / "brat", "brat")


@pytest.mark.parametrize("ending", [".jsonl", ".json", ".jsonl.gz"])
def test_rows_of_words_and_of_spans(ending: str, tmp_path: Path):
    def written(*rows: dict) -> Path:
        path = tmp_path / f"rows{ending}"
        text = json.dumps(rows) if ending == ".json" else "".join(json.dumps(row) + "\n" for row in rows)
        path.write_bytes(gzip.compress(text.encode()) if ending.endswith("gz") else text.encode())
        return path

    data = read_documents(written(TOKENS, {"tokens": [], "ner_tags": []}), labels=NAMES)
    (document,) = data.documents
    assert (document.id, document.text, said(document)) == ("r", "p-53.", [("p-53", "Gene")])
    assert (data.form, data.counts) == ("table", {"rows without words left out": 1})
    named = {"tokens": TOKENS["tokens"], "ner_tags": ["B-X", "I-X", "I-X", "O"]}
    assert said(read_documents(written(named), spacing="words").documents[0]) == [("p - 53", "X")]
    spans = [
        [0, 5, "G"],
        {"start": 10, "end": 13, "label": "G"},
        {"start": 0, "end": 5, "type": "H", "text": "BRCA1"},
    ]
    for key in ("spans", "entities"):
        data = read_documents(written({"text": DOCUMENT.text, key: spans}))
        assert said(data.documents[0]) == [("BRCA1", "G"), ("BRCA1", "H"), ("p53", "G")]
        assert data.documents[0].id == "rows:1"


@pytest.mark.parametrize("ending", [".json", ".jsonl"])
def test_columns_are_those_of_all_rows(ending: str, tmp_path: Path):
    rows = [
        {"text": "a"},
        {"text": "BRCA1", "source": "x", "spans": [[0, 5, "G"]]},
        {"text": "p53", "spans": [], "entities": [{"start": 0, "end": 3, "label": "G", "id": 7}]},
        {"text": "p53", "spans": [[0, 3, "G"]], "entities": [[0, 3, "H"]]},
        {"text": "p53", "spans": {"start": [], "end": []}, "mentions": [[0, 3, "G"]]},
    ]
    path = tmp_path / f"x{ending}"
    for count, mentions in ((4, 3), (5, 4)):
        some = rows[:count]
        path.write_text(json.dumps(some) if ending == ".json" else "\n".join(map(json.dumps, some)))
        data = read_documents(path, form=None if count == 4 else "table")
        assert (data.form, data.mentions) == ("table", mentions)
        assert data.counts == {
            "rows of texts without spans, read as texts without mentions": 1,
            "columns 'source' ignored": 1,
            "keys 'id' of spans ignored": 1,
            "rows with spans in 'spans', whose 'entities' were ignored": 1,
        }
    path.write_text("\n".join(json.dumps(row) for row in [{"text": "a"}] * 60 + rows[2:3]))
    if ending == ".json":
        path.write_text(f"[{path.read_text()}]".replace("\n", ","))
        assert read_documents(path).mentions == 1
    else:
        with pytest.raises(InputError, match="line 61: mentions in 'entities'"):
            read_documents(path)
    path.write_text(json.dumps([{"tokens": ["a"], "ner_tags": ["O"]}, {**TOKENS, "pos_tags": [1]}]))
    assert read_documents(path, labels=NAMES).counts == {"columns 'pos_tags' ignored": 1}


def test_rows_below_the_key_data_are_a_table(tmp_path: Path):
    (tmp_path / "x.json").write_text(
        json.dumps({"data": [{"text": "a"}, {"text": "b", "spans": [[0, 1, "G"]]}]})
    )
    data = read_documents(tmp_path / "x.json")
    assert (data.form, data.mentions) == ("table", 1)


def test_texts_alone_have_no_mentions_and_it_is_said(tmp_path: Path):
    (tmp_path / "x.json").write_text(json.dumps([{"text": "a", "anotations": []}]))
    data = read_documents(tmp_path / "x.json")
    assert (data.mentions, data.counts) == (
        0,
        {"columns 'anotations' ignored": 1, "rows of texts without spans, read as texts without mentions": 1},
    )


def test_spans_as_lists_in_an_object(tmp_path: Path):
    spans = {"start": [0, 10], "end": [5, 13], "label": [1, 0]}
    (tmp_path / "x.json").write_text(json.dumps([{"text": DOCUMENT.text, "spans": spans}]))
    data = read_documents(tmp_path / "x.json", labels=["A", "B"])
    assert said(data.documents[0]) == [("BRCA1", "B"), ("p53", "A")]


@pytest.mark.parametrize(
    ("row", "labels", "message"),
    [
        (TOKENS, None, "row 1: the labels in ner_tags are numbers.*--labels"),
        (TOKENS, ["O", "B-Gene"], "label 2 in ner_tags, but there are names for 2"),
        ({**TOKENS, "ner_tags": [1]}, NAMES, "no lists of one length"),
        ({**TOKENS, "tokens": ["p", "", "53", "."]}, NAMES, "an empty word"),
        ({**TOKENS, "ner_tags": [1.5, 2, 2, 0]}, NAMES, "1.5 in ner_tags is no label"),
        ({"tokens": ["a"]}, None, "has the columns tokens; give columns tokens and ner_tags"),
        ({"text": "a", "spans": [[0, 2, "G"]]}, None, "a mention from 0 to 2 is not in"),
        ({"text": "a", "spans": [[0, "G"]]}, None, "a span in spans without start"),
        ({"text": "a", "spans": {"start": [0], "end": []}}, None, "a span in spans without start"),
        ({"text": "a", "spans": 7}, None, "a span in spans without start"),
        ({"text": "a", "spans": [{"start": 0, "end": 1}]}, None, "a span in spans without start"),
        (
            {"text": "a", "spans": [{"start": 0, "end": 1, "label": "x", "text": "b"}]},
            None,
            "the mention says 'b'",
        ),
    ],
)
def test_wrong_rows_are_refused(row: dict, labels: list[str] | None, message: str, tmp_path: Path):
    path = tmp_path / "x.json"
    path.write_text(json.dumps([row]))
    with pytest.raises(InputError, match=message):
        read_documents(path, form="table", labels=labels)


def saved(tmp_path: Path):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    tags = datasets.List(datasets.ClassLabel(names=NAMES))
    features = datasets.Features(
        {"id": datasets.Value("string"), "tokens": datasets.List(datasets.Value("string")), "ner_tags": tags}
    )
    return datasets, datasets.Dataset.from_list([TOKENS], features=features)


def test_data_sets_that_name_their_numbers(tmp_path: Path):
    datasets, rows = saved(tmp_path)
    rows.to_parquet(tmp_path / "x.parquet")
    rows.save_to_disk(tmp_path / "one")
    datasets.DatasetDict(train=rows, validation=rows).save_to_disk(tmp_path / "two")
    for path, split, form in (
        ("x.parquet", None, "table"),
        ("one", None, "datasets"),
        ("two", "dev", "datasets"),
    ):
        data = read_documents(tmp_path / path, split=split)
        assert (data.form, said(data.documents[0])) == (form, [("p-53", "Gene")])
    assert (splits_in(tmp_path / "two"), splits_in(tmp_path / "one")) == (("train", "validation"), ())
    relabelled = read_documents(tmp_path / "one", labels=["O", "B-X", "I-X"])
    assert said(relabelled.documents[0]) == [("p-53", "X")]
    with pytest.raises(InputError, match="a split has to be named train, validation; choose with --split"):
        read_documents(tmp_path / "two")
    with pytest.raises(InputError, match="the split test is not one of"):
        read_documents(tmp_path / "two", split="test")
    (tmp_path / "one" / "state.json").write_text("{")
    with pytest.raises(InputError, match="one cannot be read"):
        read_documents(tmp_path / "one")


def test_texts_of_parquet_come_before_the_last_is_read(tmp_path: Path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"text": f"text {number}", "spans": []} for number in range(3000)]
    rows[2500]["spans"] = [{"start": 0, "end": 99, "label": "Gene"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    stream = iter(iter_documents(tmp_path / "x.parquet"))
    assert [next(stream).text for _ in range(2500)][-1] == "text 2499"
    with pytest.raises(InputError, match="row 2501"):
        next(stream)


def test_parquet_without_names_and_no_parquet(tmp_path: Path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist([TOKENS]), tmp_path / "x.parquet")
    with pytest.raises(InputError, match="row 1: the labels in ner_tags are numbers"):
        read_documents(tmp_path / "x.parquet")
    assert said(read_documents(tmp_path / "x.parquet", labels=NAMES).documents[0]) == [("p-53", "Gene")]
    (tmp_path / "y.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match="is no Parquet file"):
        read_documents(tmp_path / "y.parquet")


def test_files_of_splits_in_a_folder(tmp_path: Path):
    for name in ("train.tsv", "dev.tsv.gz", "README.md"):
        data = f"{name}\tO\n".encode()
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    assert read_documents(tmp_path, split="validation").documents[0].text == "dev.tsv.gz"
    assert splits_in(tmp_path) == ("train", "validation")
    assert splits_in(tmp_path / "train.tsv") == ()
    with pytest.raises(InputError, match="a split has to be named dev, train"):
        read_documents(tmp_path)
    with pytest.raises(InputError, match="is one file, so there is no split test"):
        read_documents(tmp_path / "train.tsv", split="test")
    (tmp_path / "train.txt").write_text("x\tO\n")
    with pytest.raises(InputError, match="several files of one split"):
        read_documents(tmp_path, split="train")
    (tmp_path / "train.txt").unlink()
    (tmp_path / "train_dev.tsv").write_text("both\tO\n")
    (tmp_path / "test-00000-of-00001.conll.txt").write_text("last\tO\n")
    assert read_documents(tmp_path, split="train").documents[0].text == "train.tsv"
    assert read_documents(tmp_path, split="test").documents[0].text == "last"
    assert same_split("devel", "validation")
    assert not same_split("train", "test")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.tsv", b"a\tO\n\xff\tO\n", "x.tsv, line 2: no UTF-8"),
        ("x.tsv.gz", b"\x1f\x8b\x08cut", "cannot be read"),
        (
            "x.txt",
            b"Just a text of several words.",
            "no O among them; give a word and its tag a line, the tag .* in the last column",
        ),
        ("x.csv", b"a,O\n", "x.csv: CSV is not read; give a word and its tag a line"),
        ("x.json", b"[" * 200_000, "no JSON"),
        ("x.xml", b"<article><front/></article>", "neither BioC nor SourceData"),
        ("x.jsonl", b"", "holds no document|holds no words"),
    ],
)
def test_files_that_are_none_of_these_are_refused(name: str, content: bytes, message: str, tmp_path: Path):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_documents(path)


def test_wrong_arguments_are_refused(tmp_path: Path):
    path = tmp_path / "x.tsv"
    path.write_text("a\tO\n")
    for options, message in (
        ({"form": "word"}, "form 'word' is not known; choose one of jsonl"),
        ({"spacing": "none"}, "spacing 'none' is not known; choose reconstructed or words"),
        ({"labels": ["O"]}, "leave the labels out"),
        ({"form": "brat"}, "for brat give the folder"),
    ):
        with pytest.raises(InputError, match=message):
            read_documents(path, **options)
    with pytest.raises(InputError, match="does not exist"):
        read_documents(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError):
        read_documents(tmp_path / "empty")
    (tmp_path / "b.txt").write_text("a")
    (tmp_path / "b.ann").write_text("")
    with pytest.raises(InputError, match="give the folder"):
        read_documents(tmp_path / "b.txt")


def test_every_form_is_named():
    assert set(WRITTEN_FORMS) <= set(FORMS)
    assert form_of.__doc__


def test_parts_and_words_stay_in_json_lines(tmp_path: Path):
    document = Document("1", "a b", (), (Part(0, 1, "title"),), ((0, 1), (2, 3)))
    write_documents([document], tmp_path / "x.jsonl", "jsonl")
    assert read_documents(tmp_path / "x.jsonl").documents == [document]


def test_reading_starts_without_heavy_libraries():
    code = "import sys, biolm.annotations; print({'lxml', 'pyarrow', 'datasets', 'torch'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
