"""Token ids of others: EMBO/biolang's JSON lines go into the store as they are, or not at all."""

import gzip
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from biolm.errors import BiolmError, ConfigError, InputError, ModelError
from biolm.progress import Silent
from biolm.tokens import biolang
from biolm.tokens.build import build_tokens
from biolm.tokens.source import TextColumns, flat
from biolm.tokens.store import SECTIONS
from biolm.tokens.tokenizer import load_tokenizer

VOCABULARY = 400  # of the tiny RoBERTa


def line(content: list[int], **others: object) -> str:
    """A record as EMBO/biolang has it, with RoBERTa's special tokens."""
    mask = [1, *[0] * len(content), 1]
    return json.dumps({"input_ids": [0, *content, 2], **others, "special_tokens_mask": mask})


def write(path: Path, lines: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = "".join(f"{text}\n" for text in lines).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def passages(store, split: str = "train") -> list[list[int]]:
    data = store.split(split)
    return [
        data.ids[first:last].tolist() for first, last in zip(data.offsets[:-1], data.offsets[1:], strict=True)
    ]


def tokens(data: Path, tokenizer_folder: Path, out: Path, columns: TextColumns | None = None):
    return build_tokens(data, load_tokenizer(str(tokenizer_folder)), out, Silent(), columns=columns)


def test_the_published_biolang_example_goes_in_as_it_is_and_is_what_its_text_gives(
    shared: Path, tmp_path: Path
):
    tokenizer = shared / "roberta-base-tokenizer"
    store = tokens(shared / "biolang/sample.jsonl", tokenizer, tmp_path / "ids")
    published = json.loads((shared / "biolang/sample.jsonl").read_text(encoding="utf-8").splitlines()[0])
    (ids,) = passages(store)
    assert len(published["input_ids"]) == 166
    assert [0, *ids, 2] == published["input_ids"]
    text = (shared / "biolang/sample_text.txt").read_text(encoding="utf-8").rstrip("\n")
    write(tmp_path / "texts.jsonl", [json.dumps({"text": text})])
    assert passages(tokens(tmp_path / "texts.jsonl", tokenizer, tmp_path / "texts")) == [ids]


CONTENT = st.lists(st.integers(0, VOCABULARY - 1), max_size=12)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    split=st.lists(st.tuples(CONTENT, st.integers(0, 2)), min_size=1, max_size=12).filter(
        lambda rows: any(content for content, _ in rows)
    ),
    packed=st.booleans(),
    block=st.sampled_from([1, 40, 100, 1 << 20]),
)
def test_every_line_is_a_passage_and_a_document_whatever_the_blocks(
    split, packed: bool, block: int, tiny_roberta: Path, tmp_path_factory, monkeypatch
):
    monkeypatch.setattr(biolang, "_BLOCK_BYTES", block)
    folder = tmp_path_factory.mktemp("lines")
    lines = []
    for content, blank in split:
        lines += [line(content, label_ids=["X"] * len(content)), *[" " * blank] * bool(blank)]
    data = write(folder / f"a.jsonl{'.gz' * packed}", lines)
    store = tokens(data, tiny_roberta, folder / "tokens")
    kept = [content for content, _ in split if content]
    assert passages(store) == kept
    train = store.split("train")
    assert train.documents.tolist() == list(range(len(kept)))
    assert {SECTIONS[section] for section in train.sections} == {"text"}
    counts = store.manifest["corpus"]["counts"]
    assert counts["rows_read"] == len(lines)
    assert counts["dropped"] == {"empty": len(lines) - len(kept)}


MUTATIONS = st.sampled_from(
    [
        *("", "[]", "3", "{", '{"input_ids": [0, 5, 2]}', '{"special_tokens_mask": [1, 0, 1]}', "\xff"),
        line([5])[:-1],
        line([5]).replace("[0, 5", "[0, true"),
        line([5]).replace("[0, 5", "[0, null"),
        line([5]).replace("[0, 5", "[0, 5.0"),
        line([5]).replace("[0, 5", '[0, "5"'),
        line([5]).replace("[0, 5", f"[0, {VOCABULARY}"),
        line([5]).replace("[0, 5", "[0, -1"),
        line([5]).replace("[0, 5", "[0, 99999999999999999999"),
        line([5]).replace("[0, 5", "[1, 5"),
        line([5]).replace("5, 2]", "5, 3]"),
        line([5]).replace("[1, 0, 1]", "[1, 1, 1]"),
        line([5]).replace("[1, 0, 1]", "[1, 0]"),
        line([5]).replace("[1, 0, 1]", "[1, 0, 2]"),
        line([5]).replace("[1, 0, 1]", "null"),
        line([5]).replace("[0, 5, 2]", "[]").replace("[1, 0, 1]", "[]"),
        line([5]) + line([6]),
        line([5], label_ids=[1, "X", None, {"a": 1e400}]),
        "[" * 100_000,
    ]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=st.lists(CONTENT, max_size=3), wrong=MUTATIONS, after=st.lists(CONTENT, max_size=3))
def test_reading_many_lines_at_once_is_reading_them_one_by_one(before, wrong: str, after, tiny_roberta: Path):
    tokenizer = load_tokenizer(str(tiny_roberta))
    lines = [text.encode("latin-1") for text in [*map(line, before), wrong, *map(line, after)]]
    full = [text for text in lines if text.strip()]
    at_once = biolang._passages_at_once(full, tokenizer)
    try:
        one_by_one, said = flat(list(biolang._passages_one_by_one(Path("x.jsonl"), 1, lines, tokenizer))), ""
    except BiolmError as error:
        one_by_one, said = None, str(error)
    if one_by_one is None:
        assert at_once is None
        assert re.match(rf"x\.jsonl, line {len(before) + 1}[ :]", said)
        assert "\n" not in said
    elif at_once is not None:
        assert all(np.array_equal(a, b) for a, b in zip(at_once, one_by_one, strict=True))


def test_lines_as_they_should_be_are_read_at_once(tiny_roberta: Path):
    lines = [line([5, 6]).encode(), line([7], label_ids=["X"]).encode()]
    ids, lengths = biolang._passages_at_once(lines, load_tokenizer(str(tiny_roberta)))  # type: ignore[misc]
    assert (ids.tolist(), lengths.tolist()) == ([5, 6, 7], [2, 1])


@pytest.mark.parametrize(
    "names",
    [
        {"train": "train.jsonl", "validation": "eval.jsonl", "test": "test.jsonl"},
        {"train": "train.jsonl.gz", "validation": "validation.jsonl.gz", "test": "test.jsonl.gz"},
        {"train": "train/data.jsonl", "validation": "eval/data.jsonl", "test": "test/data.jsonl"},
        {
            split: f"oapmc_abstracts_figs/{name}.jsonl"
            for split, name in (("train", "train"), ("validation", "eval"), ("test", "test"))
        },
    ],
)
def test_the_layouts_that_biolang_had_are_known(names: dict[str, str], tiny_roberta: Path, tmp_path: Path):
    for number, name in enumerate(names.values()):
        write(tmp_path / "biolang" / name, [line([10 + number])])
    write(tmp_path / "biolang/__MACOSX/._train.jsonl", ["not for us"])
    store = tokens(tmp_path / "biolang", tiny_roberta, tmp_path / "tokens")
    assert store.splits == ("train", "validation", "test")
    assert [passages(store, split) for split in store.splits] == [[[10]], [[11]], [[12]]]
    corpus = store.manifest["corpus"]
    assert (corpus["kind"], corpus["name"]) == ("ids", "biolang")
    assert "licences" not in corpus
    assert str(tmp_path) not in json.dumps(store.manifest)


def test_the_fingerprint_is_of_contents_and_splits_not_of_names(tiny_roberta: Path, tmp_path: Path):
    for folder, names in (("a", ("train", "test")), ("b", ("training", "test")), ("c", ("test", "train"))):
        for name, content in zip(names, ([5], [6]), strict=True):
            write(tmp_path / folder / f"{name}.jsonl", [line(content)])
    stores = [tokens(tmp_path / name, tiny_roberta, tmp_path / f"{name}-tokens") for name in "abc"]
    prints = [store.manifest["corpus"]["fingerprint"] for store in stores]
    assert prints[0] == prints[1] != prints[2]
    with pytest.raises(BiolmError, match="another corpus or tokenizer"):
        tokens(tmp_path / "c", tiny_roberta, tmp_path / "a-tokens")


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        (line([VOCABULARY]), ModelError, "use the model or tokenizer that the ids were made with"),
        (line([5]).replace("[0, 5", "[101, 5"), ModelError, r"begins with \[101\]"),
        (line([5])[:-9], InputError, "is no JSON"),
        ('{"input_ids": [0, 2]}', InputError, "has no special_tokens_mask"),
        (line([5]).replace("[1, 0, 1]", "[0, 0, 1]"), InputError, "not 1 at both ends"),
    ],
)
def test_a_wrong_line_is_named_and_nothing_is_written(
    wrong: str, error: type[BiolmError], says: str, tiny_roberta: Path, tmp_path: Path
):
    data = write(tmp_path / "train.jsonl", [line([5])] * 4000 + [wrong])
    with pytest.raises(error, match=says) as raised:
        tokens(data, tiny_roberta, tmp_path / "tokens")
    assert "train.jsonl, line 4001" in str(raised.value)
    assert not list(tmp_path.glob("*tokens*"))


def test_ids_of_another_family_are_refused(tiny_bert: Path, tmp_path: Path):
    data = write(tmp_path / "train.jsonl", [line([5])])
    with pytest.raises(ModelError, match=r"train\.jsonl, line 1 begins with"):
        tokens(data, tiny_bert, tmp_path / "tokens")


def test_a_packed_file_that_breaks_off_is_named(tiny_roberta: Path, tmp_path: Path):
    data = write(tmp_path / "train.jsonl.gz", [line([5, 6, 7])] * 100)
    data.write_bytes(data.read_bytes()[:-12])
    with pytest.raises(InputError, match=r"train\.jsonl\.gz cannot be read"):
        tokens(data, tiny_roberta, tmp_path / "tokens")


def test_a_line_without_end_is_refused_before_it_fills_memory(
    tiny_roberta: Path, tmp_path: Path, monkeypatch
):
    monkeypatch.setattr(biolang, "_BLOCK_BYTES", 100)
    monkeypatch.setattr(biolang, "_LONGEST_LINE", 1000)
    data = write(tmp_path / "train.jsonl", [line([5]), line([5] * 2000)])
    with pytest.raises(InputError, match="line 2 is no line of ids: it has no end"):
        tokens(data, tiny_roberta, tmp_path / "tokens")


def test_ids_have_no_columns(tiny_roberta: Path, tmp_path: Path):
    data = write(tmp_path / "train.jsonl", [line([5])])
    with pytest.raises(ConfigError, match="no columns"):
        tokens(data, tiny_roberta, tmp_path / "tokens", TextColumns(text="abstract"))


def test_a_file_with_texts_beside_its_ids_is_read_for_its_texts(tiny_roberta: Path, tmp_path: Path):
    data = write(tmp_path / "train.jsonl", [line([5], text="the cells")])
    store = tokens(data, tiny_roberta, tmp_path / "tokens")
    assert store.manifest["corpus"]["kind"] == "texts"
    assert passages(store) == load_tokenizer(str(tiny_roberta)).encode(["the cells"])
