"""The token store: what the corpus says, byte for byte, whatever kills its writer."""

import random
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from biolm.artifacts import verify_files
from biolm.corpus.reader import open_corpus
from biolm.errors import ArtifactError
from biolm.progress import Silent
from biolm.records import Section
from biolm.tokens.build import build_tokens
from biolm.tokens.store import SECTIONS, open_tokens
from biolm.tokens.tokenizer import load_tokenizer
from conftest import folder_bytes, kill_after, write_papers


def test_every_passage_is_there_in_the_order_of_the_corpus(
    tiny_corpus: Path, tiny_roberta: Path, roberta_tokens
):
    tokenizer, corpus = load_tokenizer(str(tiny_roberta)), open_corpus(tiny_corpus)
    for name in corpus.splits:
        rows = [row for batch in corpus.iter_batches(name) for row in batch.to_pylist()]
        split = roberta_tokens.split(name)
        assert len(split) == len(rows)
        for i, row in enumerate(rows):
            ids = split.ids[split.offsets[i] : split.offsets[i + 1]]
            assert ids.tolist() == tokenizer.encode([row["text"]])[0]
            assert SECTIONS[split.sections[i]] == row["section"]
        documents = [row["document"] for row in rows]
        same = np.array(documents)[:, None] == np.array(documents)[None]
        assert np.array_equal(split.documents[:, None] == split.documents[None], same)
        assert split.document_count == len(set(documents))


def test_legends_of_supplements_are_tokenized_and_measured(tiny_roberta: Path, tmp_path: Path):
    from biolm.corpus.build import CorpusConfig, build_corpus
    from biolm.corpus.split import Shares
    from biolm.evaluation.masked import evaluate
    from biolm.model.loading import load_model
    from biolm.sources.options import TextOptions

    for paper in write_papers(tmp_path / "papers", 4).iterdir():
        legend = f"Film of protein kinase {paper.stem} in cells after treatment with the inhibitor. " * 2
        supplement = f"<supplementary-material><caption><p>{legend}</p></caption></supplementary-material>"
        paper.write_text(paper.read_text().replace("</body>", f"{supplement}</body>"))
    everything = Shares(train=0, validation=0, test=1)
    config = CorpusConfig(shares=everything, text=TextOptions(supplementary=True), near_duplicates=None)
    manifest = build_corpus([tmp_path / "papers"], tmp_path / "corpus", config, Silent())
    assert manifest["splits"]["test"]["sections"]["supplementary_legend"]["passages"] == 4
    store = build_tokens(
        tmp_path / "corpus", load_tokenizer(str(tiny_roberta)), tmp_path / "tokens", Silent()
    )
    sections = [SECTIONS[section] for section in store.split("test").sections]
    assert sections == ["abstract", "figure_legend", "figure_legend", "supplementary_legend"] * 4
    measured = evaluate({"model": load_model(tiny_roberta)}, store, "test", Silent())["model"].as_json()
    assert list(measured["sections"]) == list(SECTIONS[:3])
    assert measured["sections"]["supplementary_legend"]["documents"] == 4


def test_every_section_of_a_corpus_has_its_number():
    assert set(SECTIONS) == {*get_args(Section), "text"}


def test_a_store_of_format_1_is_read_forever():
    """`tokens-v1` was written before supplementary legends; never rebuild it to make this test pass."""
    store = open_tokens(Path(__file__).parent / "tokens-v1")
    assert verify_files(store.folder, store.manifest) == []
    assert store.fingerprint == "348e137bfa0bb0d9c3b1e20582d9826a0a90dd74c2cd2eb8df274e8bc7951a67"
    train = store.split("train")
    assert [SECTIONS[section] for section in train.sections] == ["abstract", *["figure_legend"] * 2] * 3
    assert train.documents.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert train.offsets.tolist() == [0, 49, 97, 149, 184, 233, 271, 308, 358, 402]
    assert train.ids[:12].tolist() == [63, 209, 150, 98, 211, 104, 142, 126, 192, 144, 180, 171]
    assert store.unigram_counts().sum() == len(train.ids)


def test_a_store_of_format_2_is_read_forever():
    """`tokens-v2` was written before texts of others; never rebuild it to make this test pass."""
    store = open_tokens(Path(__file__).parent / "tokens-v2")
    assert verify_files(store.folder, store.manifest) == []
    assert store.fingerprint == "28d2c5d5fef67be5da1003849328bdcfa7e604d208beef5a85f453a59ff0b744"
    train = store.split("train")
    sections = ["abstract", "figure_legend", "figure_legend", "supplementary_legend"] * 3
    assert [SECTIONS[section] for section in train.sections] == sections
    assert train.documents.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert train.offsets.tolist() == [0, 49, 97, 149, 181, 216, 265, 303, 335, 372, 422, 466, 498]
    assert train.ids[:12].tolist() == [63, 209, 150, 98, 211, 104, 142, 126, 192, 144, 180, 171]
    assert store.unigram_counts().sum() == len(train.ids)


def test_a_store_of_format_3_is_read_forever():
    """`tokens-v3` holds texts of others; never rebuild it to make this test pass."""
    store = open_tokens(Path(__file__).parent / "tokens-v3")
    assert verify_files(store.folder, store.manifest) == []
    assert store.fingerprint == "da5d5c7e907325b4c5806a4e9b82368468abde202933eecbc458fc969bab9c5a"
    assert store.splits == ("train", "test")
    assert store.manifest["corpus"]["kind"] == "texts"
    assert store.manifest["corpus"]["counts"]["dropped"] == {"empty": 1, "null": 1}
    train = store.split("train")
    assert [SECTIONS[section] for section in train.sections] == ["text"] * 3
    assert train.documents.tolist() == [0, 0, 1]
    assert train.offsets.tolist() == [0, 5, 7, 11]
    assert train.ids.tolist() == [161, 211, 149, 123, 111, 180, 97, 154, 63, 161, 180]


def test_unigrams_are_counted_on_the_training_split(roberta_tokens):
    train = roberta_tokens.split("train")
    expected = np.bincount(train.ids, minlength=roberta_tokens.vocabulary.size)
    assert np.array_equal(roberta_tokens.unigram_counts(), expected)


def test_ids_are_mapped_not_loaded_and_narrow(roberta_tokens):
    ids = roberta_tokens.split("train").ids
    assert isinstance(ids, np.memmap)
    assert ids.dtype == np.uint16


def test_the_same_work_is_reused_and_other_work_refused(
    tiny_corpus: Path, tiny_roberta: Path, tiny_bert: Path, tmp_path: Path
):
    out = tmp_path / "tokens"
    build_tokens(tiny_corpus, load_tokenizer(str(tiny_roberta)), out, Silent())
    before = folder_bytes(out)
    stamp = (out / "manifest.json").stat().st_mtime_ns
    build_tokens(tiny_corpus, load_tokenizer(str(tiny_roberta)), out, Silent())
    assert (out / "manifest.json").stat().st_mtime_ns == stamp
    with pytest.raises(ArtifactError, match="another corpus or tokenizer"):
        build_tokens(tiny_corpus, load_tokenizer(str(tiny_bert)), out, Silent())
    assert folder_bytes(out) == before


def test_a_folder_with_other_files_is_left_alone(tiny_corpus: Path, tiny_roberta: Path, tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ArtifactError, match="holds other files"):
        build_tokens(tiny_corpus, load_tokenizer(str(tiny_roberta)), tmp_path, Silent())
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("damage", ["missing", "short", "manifest", "version"])
def test_a_damaged_store_is_refused_with_the_way_to_rebuild_it(
    damage: str, tiny_corpus: Path, tiny_roberta: Path, tmp_path: Path
):
    out = tmp_path / "tokens"
    build_tokens(tiny_corpus, load_tokenizer(str(tiny_roberta)), out, Silent())
    manifest = out / "manifest.json"
    if damage == "missing":
        (out / "train.ids").unlink()
    elif damage == "short":
        (out / "train.ids").write_bytes((out / "train.ids").read_bytes()[:-2])
    elif damage == "manifest":
        manifest.write_text(manifest.read_text()[:-30])
    else:
        manifest.write_text(manifest.read_text().replace('"version": 3', '"version": 99'))
    with pytest.raises(ArtifactError, match="biolm tokenize"):
        open_tokens(out)


@pytest.mark.slow
def test_killed_at_any_moment_and_run_again_it_is_the_same_store(tiny_roberta: Path, tmp_path: Path):
    from biolm.corpus.build import CorpusConfig, build_corpus

    papers = write_papers(tmp_path / "papers", 1500)
    build_corpus([papers], tmp_path / "corpus", CorpusConfig(), Silent())
    whole = build_tokens(tmp_path / "corpus", load_tokenizer(str(tiny_roberta)), tmp_path / "whole", Silent())
    out = tmp_path / "killed" / "tokens"
    command = [sys.executable, "-m", "biolm", "tokenize", str(tmp_path / "corpus")]
    command += ["--tokenizer", str(tiny_roberta), "--out", str(out), "--quiet"]
    delays = random.Random(7)
    partial = out.with_name(".tokens.partial")
    killed_at_work = 0
    for _ in range(4):
        kill_after(command, delays.uniform(0.0, 0.3), begun=partial.exists)
        killed_at_work += partial.exists() and not out.exists()
        if out.exists():
            assert open_tokens(out).fingerprint == whole.fingerprint
    assert killed_at_work
    assert not kill_after(command, 120)
    assert folder_bytes(out) == folder_bytes(whole.folder)
