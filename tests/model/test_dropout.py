"""biolm's dropout: torch's, with other random bits."""

import pytest
import torch

from biolm.model.dropout import Dropout, draw_kept
from biolm.model.families import family_of
from biolm.model.loading import load_model
from biolm.model.masked_lm import cross_entropy_sum, packed_logits
from biolm.tokens.tokenizer import load_tokenizer
from conftest import rows_of, sentences


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.9])
def test_the_rate_is_dropped_anywhere_and_the_mean_is_kept(rate: float):
    torch.manual_seed(3)
    kept, factor = draw_kept((500, 1001), rate)
    spread = (rate * (1 - rate)) ** 0.5
    assert kept.shape == (500, 1001)
    assert abs(float(kept.double().mean()) - (1 - rate)) < 5 * spread / kept.numel() ** 0.5
    for side, count in ((0, 500), (1, 1001)):  # rows and columns are not alike
        assert float(kept.double().mean(side).std()) == pytest.approx(spread / count**0.5, rel=0.2)
    assert factor == pytest.approx(1 / (1 - rate), rel=1e-4 / (1 - rate))


def test_neighbours_and_layers_are_dropped_independently():
    torch.manual_seed(4)
    first, second = (draw_kept((200_000,), 0.25)[0].double() - 0.75 for _ in range(2))
    spread = 0.25 * 0.75 / 200_000**0.5
    for apart in (1, 2, 3, 4, 8):
        assert abs(float((first[apart:] * first[:-apart]).mean())) < 5 * spread
    assert abs(float((first * second).mean())) < 5 * spread


def test_what_is_kept_is_scaled_and_so_is_its_gradient():
    torch.manual_seed(5)
    drop, states = Dropout(0.3), torch.full((3, 7, 5), 2.0, dtype=torch.float64, requires_grad=True)
    out = drop(states)
    factor = float(out.detach().max()) / 2
    assert set(out.detach().unique().tolist()) == {0.0, 2 * factor}
    out.sum().backward()
    torch.testing.assert_close(states.grad * 2, out.detach())
    assert drop.eval()(states) is states


def test_the_draws_follow_from_torchs_generator():
    drop, ones = Dropout(0.5), torch.ones(4, 100)
    torch.manual_seed(6)
    state = torch.get_rng_state()
    first, second = drop(ones), drop(ones)
    assert not torch.equal(first, second)
    torch.set_rng_state(state)
    assert torch.equal(drop(ones), first)
    torch.manual_seed(7)
    assert not torch.equal(drop(ones), first)


@pytest.mark.parametrize("family", ["roberta", "bert", "modernbert"])
def test_a_models_every_dropout_is_this_one(family: str, request: pytest.FixtureRequest):
    model = load_model(request.getfixturevalue(f"tiny_{family}"), hidden_dropout=0.2)
    drops = [module for module in model.modules() if isinstance(module, torch.nn.Dropout)]
    assert drops
    assert all(type(drop) is Dropout for drop in drops)
    assert 0.2 in {drop.p for drop in drops}


@pytest.mark.parametrize("family", ["roberta", "bert"])
def test_a_fused_layer_drops_what_the_stock_layer_drops(family: str, request: pytest.FixtureRequest):
    folder = request.getfixturevalue(f"tiny_{family}")
    tokenizer, found = load_tokenizer(str(folder)), []
    for fused in (True, False):
        model = load_model(folder, hidden_dropout=0.3).double().train()
        layers = [layer for layer in family_of(model.config).layers(model) if hasattr(layer, "unfused")]
        assert layers
        if not fused:
            for layer in layers:
                layer.forward = layer.unfused
        (row,) = rows_of(tokenizer, sentences(4), 100, max_row_tokens=100_000)
        torch.manual_seed(8)
        loss = cross_entropy_sum(packed_logits(model, row), torch.from_numpy(row.labels))
        loss.backward()
        found.append((loss.detach(), {name: weight.grad for name, weight in model.named_parameters()}))
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-10, rtol=1e-10)
    for name, gradient in found[0][1].items():
        torch.testing.assert_close(gradient, found[1][1][name], atol=1e-10, rtol=1e-8, msg=name)
    without = load_model(folder).double().train()
    plain = cross_entropy_sum(packed_logits(without, row), torch.from_numpy(row.labels))
    assert abs(float(plain.detach() - found[0][0])) > 1e-3
