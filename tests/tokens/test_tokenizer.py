"""Tokenizers: the published example, special tokens spelled in text, and who belongs to whom."""

import json
from pathlib import Path

import pytest

from biolm.errors import ModelError
from biolm.tokens.tokenizer import check_belongs, load_tokenizer
from conftest import save_tiny, sentences


def test_the_published_biolang_example_gives_its_166_ids(shared: Path):
    tokenizer = load_tokenizer(str(shared / "roberta-base-tokenizer"))
    example = json.loads((shared / "biolang/sample.jsonl").read_text(encoding="utf-8").splitlines()[0])
    text = (shared / "biolang/sample_text.txt").read_text(encoding="utf-8").rstrip("\n")
    (ids,) = tokenizer.encode([text])
    vocabulary = tokenizer.vocabulary
    assert [*vocabulary.prefix, *ids, *vocabulary.suffix] == example["input_ids"]
    assert len(example["input_ids"]) == 166


def test_roberta_bases_special_ids_are_its_own(shared: Path):
    vocabulary = load_tokenizer(str(shared / "roberta-base-tokenizer")).vocabulary
    assert (vocabulary.size, vocabulary.prefix, vocabulary.suffix) == (50265, (0,), (2,))
    assert vocabulary.mask_id == 50264
    assert vocabulary.special_ids == (0, 1, 2, 3, 50264)


@pytest.mark.parametrize("family", ["roberta", "bert"])
def test_a_text_that_spells_special_tokens_holds_characters_not_tokens(
    family: str, request: pytest.FixtureRequest
):
    tokenizer = load_tokenizer(str(request.getfixturevalue(f"tiny_{family}")))
    (ids,) = tokenizer.encode(["cells <mask> [MASK] </s> [SEP] <pad> in protein"])
    unknown = tokenizer.stock.unk_token_id
    assert not set(ids) & (set(tokenizer.vocabulary.special_ids) - {unknown})


def test_a_mask_asked_for_is_the_mask(tiny_bert: Path, tiny_roberta: Path):
    for folder, mask in ((tiny_bert, "[MASK]"), (tiny_roberta, "<mask>")):
        tokenizer = load_tokenizer(str(folder))
        tokenizer.encode(["switched for a moment"])
        ids = tokenizer.encode_with_mask(f"the {mask} cells")
        assert ids.count(tokenizer.vocabulary.mask_id) == 1


@pytest.mark.parametrize("family", ["roberta", "bert"])
def test_the_hash_survives_saving_and_ignores_truncation(family: str, tmp_path: Path, request):
    tokenizer = load_tokenizer(str(request.getfixturevalue(f"tiny_{family}")))
    tokenizer.stock.model_max_length = 77
    tokenizer.stock.save_pretrained(tmp_path)
    assert load_tokenizer(str(tmp_path)).vocabulary.hash == tokenizer.vocabulary.hash


def test_another_bpe_of_the_same_size_is_refused(tiny_roberta: Path, tmp_path: Path):
    """Swap two ordinary tokens: same size, same special ids, other ids for the same text."""
    save_tiny(tmp_path / "other", "roberta")
    path = tmp_path / "other" / "tokenizer.json"
    state = json.loads(path.read_text(encoding="utf-8"))
    vocabulary = state["model"]["vocab"]
    vocabulary["a"], vocabulary["e"] = vocabulary["e"], vocabulary["a"]
    path.write_text(json.dumps(state), encoding="utf-8")
    other = load_tokenizer(str(tmp_path / "other"))
    assert other.vocabulary.size == load_tokenizer(str(tiny_roberta)).vocabulary.size
    with pytest.raises(ModelError, match="not the one"):
        check_belongs(other, tiny_roberta)


def test_a_tokenizer_replaced_inside_a_folder_of_ours_is_refused(tiny_roberta: Path, tmp_path: Path):
    from biolm.model.folder import save_model
    from biolm.model.loading import load_model

    tokenizer = load_tokenizer(str(tiny_roberta))
    out = tmp_path / "model"
    save_model(load_model(tiny_roberta), tokenizer.stock, out, tokenizer_hash=tokenizer.vocabulary.hash)
    check_belongs(load_tokenizer(str(out)), out)
    path = out / "tokenizer.json"
    state = json.loads(path.read_text(encoding="utf-8"))
    vocabulary = state["model"]["vocab"]
    vocabulary["a"], vocabulary["e"] = vocabulary["e"], vocabulary["a"]
    path.write_text(json.dumps(state), encoding="utf-8")
    with pytest.raises(ModelError, match="not the one"):
        check_belongs(load_tokenizer(str(out)), out)


def test_a_tokenizer_with_other_sizes_or_padding_is_refused(
    tiny_roberta: Path, tiny_bert: Path, tmp_path: Path
):
    (tmp_path / "config.json").write_text((tiny_bert / "config.json").read_text())  # weights' folder, bare
    with pytest.raises(ModelError, match="embeddings"):
        check_belongs(load_tokenizer(str(tiny_roberta)), tmp_path)
    (tmp_path / "config.json").write_text((tiny_roberta / "config.json").read_text())
    with pytest.raises(ModelError, match="pads with"):
        check_belongs(load_tokenizer(str(tiny_bert)), tmp_path)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("/no/such/folder", "check the path"),
        ("./nothing-here", "check the path"),
        ("roberta-base", "HF_HUB_OFFLINE"),
        ("two words", "valid model name"),
        ("", "check the path"),
    ],
)
def test_a_name_that_leads_nowhere_fails_at_once_with_one_line(name: str, says: str):
    with pytest.raises(ModelError, match=says) as error:
        load_tokenizer(name)
    assert "\n" not in str(error.value)


def test_a_folder_without_tokenizer_or_with_a_broken_one_is_named(tmp_path: Path):
    with pytest.raises(ModelError, match="holds no tokenizer"):
        load_tokenizer(str(tmp_path))
    (tmp_path / "tokenizer.json").write_text("{broken")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_tokenizer(str(tmp_path))


def test_encoding_in_a_batch_is_encoding_one_by_one(tiny_roberta: Path):
    tokenizer = load_tokenizer(str(tiny_roberta))
    texts = sentences(40)
    assert tokenizer.encode(texts) == [tokenizer.encode([text])[0] for text in texts]
