"""Cloze probes: the search is exhaustive where the beam is wide, and right where it is not; files are checked."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForMaskedLM

from biolm.cli import main
from biolm.errors import InputError
from biolm.evaluation.cloze import Answered, Probe, accuracies, answer, read_probes
from biolm.model.loading import load_model
from biolm.tokens.tokenizer import load_tokenizer


def probability_of(stock, tokenizer, ids: list[int], chosen: tuple[int, ...]) -> float:
    """Of tokens for the masks, each given those before it, through the stock model."""
    row, total = torch.tensor([ids]), 0.0
    places = [i for i, token in enumerate(ids) if token == tokenizer.vocabulary.mask_id]
    for place, token in zip(places, chosen, strict=True):
        with torch.no_grad():
            total += float(stock(input_ids=row).logits[0, place].double().log_softmax(-1)[token])
        row[0, place] = token
    return total


@pytest.mark.parametrize("family", ["roberta", "bert"])
def test_a_wide_beam_finds_the_likeliest_pair_of_all(family: str, request: pytest.FixtureRequest):
    folder = request.getfixturevalue(f"tiny_{family}")
    tokenizer, stock = load_tokenizer(str(folder)), AutoModelForMaskedLM.from_pretrained(folder).eval()
    prompt = "the <mask> of protein"
    found = answer(
        load_model(folder),
        tokenizer,
        Probe(prompt, (("kinase",),)),
        max_pieces=2,
        beam=tokenizer.vocabulary.size,
    )
    ids = tokenizer.encode_with_mask(prompt.replace("<mask>", 2 * tokenizer.stock.mask_token))
    place = ids.index(tokenizer.vocabulary.mask_id)
    usual = [i for i in range(tokenizer.vocabulary.size) if i not in tokenizer.vocabulary.special_ids]
    with torch.no_grad():
        first = stock(input_ids=torch.tensor([ids])).logits[0, place].double().log_softmax(-1)
        rows = torch.tensor([ids]).repeat(len(usual), 1)
        rows[:, place] = torch.tensor(usual)
        second = torch.cat([stock(input_ids=part).logits[:, place + 1] for part in rows.split(100)])
        begins = torch.tensor([not tokenizer.pieces([i])[0].startswith("##") for i in usual])
        first[torch.tensor(usual)[~begins]] = -torch.inf
        both = first[usual][:, None] + second.double().log_softmax(-1)[:, usual]
    best = int(both.argmax())
    pair = usual[best // len(usual)], usual[best % len(usual)]
    ours = max((filling for filling in found.fillings if filling.pieces == 2), key=lambda one: one.score)
    assert ours.log_probability == pytest.approx(float(both.max()), abs=1e-4)
    assert ours.texts == (tokenizer.stock.decode(list(pair)).strip(),)
    assert ours.log_probability == pytest.approx(probability_of(stock, tokenizer, ids, pair), abs=1e-4)


def test_fillings_are_ranked_by_mean_log_probability_and_each_text_stands_once(tiny_roberta: Path):
    tokenizer, model = load_tokenizer(str(tiny_roberta)), load_model(tiny_roberta)
    found = answer(model, tokenizer, Probe("cells <mask> DNA", (("binds",),)), max_pieces=3, beam=15)
    scores = [filling.score for filling in found.fillings]
    assert scores == sorted(scores, reverse=True)
    assert {filling.pieces for filling in found.fillings} == {1, 2, 3}
    assert len({filling.texts for filling in found.fillings}) == len(found.fillings)


def test_an_answer_is_found_at_its_rank(tiny_bert: Path):
    """Whatever the search says first is, taken as the answer, found first; the fifth fifth."""
    tokenizer, model = load_tokenizer(str(tiny_bert)), load_model(tiny_bert)
    prompt = "cells <mask> DNA"
    said = answer(model, tokenizer, Probe(prompt, (("x",),))).fillings
    for place in (0, 4):
        (text,) = said[place].texts
        again = answer(
            model, tokenizer, Probe(prompt, ((text.upper(), "zzz"),))
        )  # this tokenizer has no capitals
        assert again.rank is not None
        assert again.rank <= place + 1
        assert again.fillings[again.rank - 1].texts[0].replace(" ", "") == text.replace(" ", "")
    assert answer(model, tokenizer, Probe(prompt, (("zzzz zzzz zzzz",),))).rank is None


def test_several_blanks_are_searched_together(tiny_roberta: Path):
    tokenizer, model = load_tokenizer(str(tiny_roberta)), load_model(tiny_roberta)
    found = answer(
        model, tokenizer, Probe("the <mask> binds <mask>", (("a",), ("b",))), max_pieces=2, beam=10
    )
    assert all(len(filling.texts) == 2 for filling in found.fillings)
    assert {filling.pieces for filling in found.fillings} == {2, 3, 4}
    stock = AutoModelForMaskedLM.from_pretrained(tiny_roberta).eval()
    one = next(x for x in found.fillings if x.pieces == 2 and "\ufffd" not in "".join(x.texts))
    ids = tokenizer.encode_with_mask("the <mask> binds <mask>")
    choices = [
        [
            token
            for token in range(tokenizer.vocabulary.size)
            if tokenizer.stock.decode([token]).strip() == text
        ]
        for text in one.texts
    ]
    wanted = [probability_of(stock, tokenizer, ids, chosen) for chosen in itertools.product(*choices)]
    assert min(abs(one.log_probability - value) for value in wanted) < 1e-4


def test_accuracies_by_hand():
    ranks = [1, 1, 3, 7, None, 20]
    found = accuracies([Answered(Probe("", ()), [], rank) for rank in ranks])
    assert found["accuracy_at_1"]["value"] == 2 / 6
    assert found["accuracy_at_5"]["value"] == 3 / 6
    assert found["accuracy_at_10"]["value"] == 4 / 6
    assert found["mean_reciprocal_rank"]["value"] == pytest.approx((2 + 1 / 3 + 1 / 7 + 1 / 20) / 6)
    for value in found.values():
        assert 0 <= value["low"] <= value["value"] <= value["high"] <= 1
    assert np.isfinite(found["accuracy_at_1"]["low"])


def test_probes_are_read_from_tab_separated_text(tmp_path: Path):
    file = tmp_path / "probes.tsv"
    file.write_text(
        "prompt\tanswer\tanswer2\n"
        'Mutations in "<mask>" cause cancer.\tp53|TP53\t\n'
        "<mask> binds <mask>.\tIL-6\tIL-6R | gp130\n",
        encoding="utf-8",
    )
    assert read_probes(file) == [
        Probe('Mutations in "<mask>" cause cancer.', (("p53", "TP53"),)),
        Probe("<mask> binds <mask>.", (("IL-6",), ("IL-6R", "gp130"))),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no columns prompt and answer"),
        ("a\tb\nc\td\n", "no columns prompt and answer"),
        ("prompt\tanswer\n", "has no probe"),
        ("prompt\tanswer\nno blank here\tx\n", "line 2: the prompt has no blank"),
        ("prompt\tanswer\n<mask> and <mask>\tx\n", "line 2: 2 blanks and 1 answers"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path: Path, text: str, message: str):
    file = tmp_path / "probes.tsv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_probes(file)
    with pytest.raises(InputError, match="cannot be read"):
        read_probes(tmp_path / "absent.tsv")


def test_cloze_from_the_command_line(tiny_roberta: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "probes.tsv"
    file.write_text(
        "prompt\tanswer\ncells <mask> DNA\tbinds\nthe <mask> of cells\tprotein\n", encoding="utf-8"
    )
    for arguments in ([], ["--json"]):
        with pytest.raises(SystemExit) as end:
            main(["cloze", str(tiny_roberta), str(file), "--quiet", "--max-pieces", "2", *arguments])
        assert end.value.code == 0
    text = capsys.readouterr().out
    lines, facts = text[: text.index("{")].splitlines(), json.loads(text[text.index("{") :])
    assert len(lines) == 2 + 4
    assert lines[0].split()[1:4] == ["cells", "<mask>", "DNA"]
    assert len(facts["probes"]) == 2
    assert len(facts["probes"][0]["found"]) == 10
    assert set(facts["accuracy_at_1"]) == {"value", "low", "high"}
