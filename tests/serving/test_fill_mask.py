"""Fill-mask against the stock pipeline, in a process that never imports biolm."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from biolm.errors import InputError, ModelError
from biolm.serving.fill_mask import FillMask

STOCK = """
import json, sys, warnings
warnings.simplefilter("ignore")
from transformers import pipeline
fills = pipeline("fill-mask", model=sys.argv[1])(sys.argv[2])
assert not [name for name in sys.modules if name.split(".")[0] == "biolm"]
print(json.dumps(fills))
"""


def stock_fills(model: Path, text: str) -> list:
    done = subprocess.run(
        [sys.executable, "-c", STOCK, str(model), text],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("family", ["roberta", "bert"])
@pytest.mark.parametrize("text", ["The protein <mask> binds DNA.", "<mask> cells and <mask> neurons"])
def test_fills_are_the_stock_pipelines(family: str, text: str, request: pytest.FixtureRequest):
    folder = request.getfixturevalue(f"tiny_{family}")
    ours = FillMask.load(str(folder))
    stock = stock_fills(folder, text.replace("<mask>", ours.tokenizer.stock.mask_token))
    found = [[fill.as_json() for fill in fills] for fills in ours(text)]
    stock = stock if isinstance(stock[0], list) else [stock]
    assert [[fill["token"] for fill in fills] for fills in found] == [
        [fill["token"] for fill in fills] for fills in stock
    ]
    for mine, theirs in zip(found, stock, strict=True):
        assert [fill["score"] for fill in mine] == pytest.approx([fill["score"] for fill in theirs], abs=1e-4)
        for key in ("token_str", "sequence"):
            assert [fill[key] for fill in mine] == [fill[key] for fill in theirs]


def test_the_models_own_mask_token_is_understood(tiny_bert: Path):
    model = FillMask.load(str(tiny_bert))
    assert model("the [MASK] cells") == model("the <mask> cells")


def test_top_k_is_honoured_up_to_the_vocabulary(tiny_bert: Path):
    model = FillMask.load(str(tiny_bert))
    assert len(model("the <mask> cells", top_k=3)[0]) == 3
    assert len(model("the <mask> cells", top_k=10**6)[0]) == model.tokenizer.vocabulary.size


def test_a_text_without_mask_and_one_too_long_are_refused(tiny_bert: Path):
    model = FillMask.load(str(tiny_bert))
    with pytest.raises(InputError, match=r"has no mask; write \[MASK\]"):
        model("no gap here")
    with pytest.raises(InputError, match="the model takes 128"):
        model("cells " * 300 + "<mask>")


def test_another_models_tokenizer_is_refused(tiny_roberta: Path, tiny_bert: Path):
    with pytest.raises(ModelError, match="not the one"):
        FillMask.load(str(tiny_bert), str(tiny_roberta))
