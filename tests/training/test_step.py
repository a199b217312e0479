"""One step is one step: the same loss and gradients however its passages are divided, packed and padded."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine import (
    FAMILIES,
    TOLERANCE,
    assert_alike,
    config_of,
    gradients_of,
    passages,
    rotate_in_full_precision,
    steps_of,
    stock_step,
    trainer_of,
)
from torch._dynamo.utils import counters
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.models.modernbert import modeling_modernbert

from biolm.batches.packing import PackedRow, filler
from biolm.model.families import family_of
from biolm.model.loading import load_model
from biolm.model.masked_lm import score_row


@pytest.fixture
def folder(family: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(modeling_modernbert, "apply_rotary_pos_emb", rotate_in_full_precision)
    return request.getfixturevalue(f"tiny_{family}")


@pytest.mark.parametrize("unit", ["token", "word"])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_64_passages_give_one_gradient_as_1x64_4x16_and_64x1_and_that_of_stock_transformers(
    family: str, dtype: torch.dtype, unit: str, folder
):
    (whole,) = steps_of(folder, passages(), config_of(mask_unit=unit)).rows(0)
    wanted, found = stock_step(folder, [whole], dtype), []
    quarter = len(whole.input_ids) // 4 + 8
    for budget, expected_rows in ((100_000, 1), (quarter, 4), (1, 64)):
        config = config_of(mask_unit=unit, max_row_tokens=budget)
        rows = steps_of(folder, passages(), config).rows(0)
        assert len(rows) == expected_rows
        for fused in (True, False):
            trainer = trainer_of(folder, config, dtype=dtype, fused=fused)
            facts = trainer.step(0, rows, rate=0.0)
            assert facts.windows == 64
            assert facts.loss == pytest.approx(wanted[0], rel=TOLERANCE[dtype])
            assert_alike(gradients_of(trainer), wanted[1], TOLERANCE[dtype])
            found.append(gradients_of(trainer))
    for other in found[1:]:
        assert_alike(other, found[0], TOLERANCE[dtype])


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_of_one_shape_give_the_gradient_of_free_rows_whatever_stands_in_their_padding(
    family: str, folder
):
    texts = passages(20)
    free = config_of(max_row_tokens=300, examples_per_step=20)
    fixed = replace(free, row_shape="fixed")
    whole = trainer_of(folder, free, dtype=torch.float64)
    wanted = whole.step(0, steps_of(folder, texts, free).rows(0), rate=0.0)
    rows = steps_of(folder, texts, fixed).rows(0)
    assert len({row.input_ids.shape + row.segments.shape + row.labels.shape for row in rows}) == 1
    assert any(row.segments[len(row.lengths)] for row in rows)  # there is padding
    other = [replace(row, input_ids=row.input_ids.copy()) for row in rows]
    for row in other:
        row.input_ids[int(row.lengths.sum()) :] = 17
    for padded in (rows, other):
        trainer = trainer_of(folder, fixed, dtype=torch.float64)
        facts = trainer.step(0, padded, rate=0.0)
        assert facts.loss == pytest.approx(wanted.loss, rel=1e-9)
        assert (facts.tokens, facts.masked_tokens) == (wanted.tokens, wanted.masked_tokens)
        assert facts.recall == wanted.recall
        assert_alike(gradients_of(trainer), gradients_of(whole), 1e-9)


@pytest.mark.parametrize("shape", ["free", "fixed"])
@pytest.mark.parametrize("family", FAMILIES)
def test_rows_that_count_for_nothing_change_nothing(family: str, shape: str, folder):
    config = config_of(row_shape=shape, max_row_tokens=400, examples_per_step=10)
    steps = steps_of(folder, passages(10), config)
    rows, nothing = steps.rows(0), filler(steps.examples, steps.shape)
    alone, beside = (trainer_of(folder, config, dtype=torch.float64) for _ in range(2))
    first = alone.step(0, rows, rate=0.0)
    second = beside.step(0, [nothing, *rows, nothing], rate=0.0)
    assert first.loss == pytest.approx(second.loss, rel=1e-12)
    assert (first.tokens, first.windows, first.recall) == (second.tokens, second.windows, second.recall)
    assert_alike(gradients_of(beside), gradients_of(alone), 1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_without_a_masked_token_changes_nothing_and_leaves_every_weight_a_gradient(family: str, folder):
    """DDP and FSDP2 wait for the gradient of every weight."""
    config = config_of(max_row_tokens=400, examples_per_step=10)
    rows = steps_of(folder, passages(10), config).rows(0)
    empty = unmasked(rows[0])
    alone, beside, only = (trainer_of(folder, config, dtype=torch.float64) for _ in range(3))
    alone.step(0, rows, rate=0.0)
    beside.step(0, [empty, *rows, empty], rate=0.0)
    assert_alike(gradients_of(beside), gradients_of(alone), 1e-9)
    facts = only.step(0, [empty], rate=1.0)
    assert (facts.loss, facts.recall, facts.masked_tokens, facts.gradient_norm) == (0.0, 0.0, 0, 0.0)
    assert gradients_of(only).keys() == gradients_of(alone).keys() == only.parallel.parameters.keys()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_without_a_masked_token_is_scored_as_nothing(family: str, folder):
    (row,) = steps_of(folder, passages(2), config_of()).rows(0)
    scores = score_row(load_model(folder).eval(), unmasked(row), np.empty(0, np.int64))
    assert len(scores.loss) == len(scores.rank) == len(scores.predicted) == 0


def test_dropout_follows_from_seed_step_and_rank(tiny_roberta: Path):
    config = config_of(hidden_dropout=0.2, attention_dropout=0.2, max_row_tokens=300)
    rows = steps_of(tiny_roberta, passages(), config).rows(0)

    def losses(**changes: Any) -> list[float]:
        trainer = trainer_of(tiny_roberta, replace(config, **changes))
        torch.rand(7)  # what was drawn before does not count
        return [trainer.step(number, rows, rate=0.0).loss for number in (0, 1, 0)]

    first, second, again = losses()
    assert first == again != second
    assert losses() == [first, second, again]
    assert losses(seed=2)[0] not in (first, second)


class Activations(TorchDispatchMode):
    """How often a GELU was computed."""

    count = 0

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        self.count += function is torch.ops.aten.gelu.default
        return function(*arguments, **named or {})


@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("family", FAMILIES)
def test_activations_computed_again_are_the_same(family: str, dropout: float, folder):
    found = []
    for checkpointing in (False, True):
        config = config_of(
            activation_checkpointing=checkpointing,
            hidden_dropout=dropout,
            attention_dropout=dropout,
            max_row_tokens=400,
        )
        trainer = trainer_of(folder, config)
        layers = family_of(trainer.model.config).layers(trainer.model)
        rows = steps_of(folder, passages(), config).rows(0)
        with Activations() as activations:
            facts = trainer.step(0, rows, rate=0.0)
        assert activations.count == len(rows) * (
            len(layers) * (2 if checkpointing else 1) + 1
        )  # 1: the head's
        found.append((facts, gradients_of(trainer)))
    assert found[0][0] == found[1][0]
    assert_alike(found[1][1], found[0][1], 1e-6)


def unmasked(row: PackedRow) -> PackedRow:
    """The row where chance has hidden nothing."""
    nothing = np.empty(0, np.int64)
    return replace(
        row, masked_positions=nothing, labels=nothing, masked_per_window=np.zeros_like(row.masked_per_window)
    )


def check_compiled(family: str, mode: str, folder: Path) -> None:
    config = config_of(row_shape="fixed", max_row_tokens=300, examples_per_step=20)
    steps = steps_of(folder, passages(60), config)
    plain, compiled = trainer_of(folder, config), trainer_of(folder, replace(config, compile=mode))
    counters.clear()
    graphs = []
    for number in range(3):
        rows = steps.rows(number)
        wanted = plain.step(number, rows, rate=1e-3)
        facts = compiled.step(number, rows, rate=1e-3)
        assert facts.loss == pytest.approx(wanted.loss, rel=1e-4)
        assert facts.gradient_norm == pytest.approx(wanted.gradient_norm, rel=1e-4)
        assert_alike(gradients_of(compiled), gradients_of(plain), 1e-3 if number else 1e-4)
        graphs.append((counters["stats"]["unique_graphs"], counters["frames"]["total"]))
    assert graphs[0][0] > 0
    assert graphs[0] == graphs[1] == graphs[2]
    assert not any("inductor" in reason for reason in counters["graph_break"])


@pytest.mark.slow
@pytest.mark.parametrize(("family", "mode"), [("roberta", "default"), ("bert", "reduce-overhead")])
def test_compiled_gives_the_same_gradients_and_compiles_once_for_rows_of_one_shape(
    family: str, mode: str, folder
):
    """In a process of its own: the compiler cannot be loaded beside the setuptools that Ray's tests bring along."""
    code = "import sys; import test_step as t; t.check_compiled(*sys.argv[1:3], t.Path(sys.argv[3]))"
    places = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    subprocess.run([sys.executable, "-c", code, family, mode, str(folder)], env=environment, check=True)
