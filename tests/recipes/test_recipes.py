"""Recipes are whole: nothing differs from the defaults without a reason, and no reason is for nothing."""

import dataclasses
import json

import pytest

from biolm.errors import ConfigError
from biolm.recipes import RECIPES, Recipe, bio_lm, facts_for_run, fast, recipe_named
from biolm.training.config import PretrainConfig

NOT_IN_THE_WEIGHTS = {
    *("max_row_tokens", "row_shape", "validate_every", "validation_examples", "checkpoint_every"),
    *("keep_checkpoints", "device", "threads", "parallel", "compile", "activation_checkpointing"),
    *("prepare_ahead", "track"),
}
"""Beyond rounding."""
ONLY_WITH_ANOTHER = {"mask_rate_change", "decay_fraction", "max_skipped"}
"""Of no effect beside bio-lm's other settings: with mask_rate_end, wsd and spike_factor alone."""


@pytest.fixture(params=list(RECIPES))
def recipe(request: pytest.FixtureRequest) -> Recipe:
    return recipe_named(request.param)


def test_what_differs_from_the_defaults_has_a_reason_and_each_reason_a_setting(recipe: Recipe):
    default = PretrainConfig()
    fields = {field.name for field in dataclasses.fields(PretrainConfig)}
    differs = {name for name in fields if getattr(recipe.config, name) != getattr(default, name)}
    assert differs <= recipe.reasons.keys() <= fields
    assert all(reason.strip() and "\n" not in reason for reason in recipe.reasons.values())
    assert recipe.name in RECIPES
    assert "\n" not in recipe.summary
    assert recipe.base


def test_bio_lm_decides_everything_that_reaches_the_weights():
    """So that no default of ours, now or later, gets into the original's run."""
    fields = {field.name for field in dataclasses.fields(PretrainConfig)}
    assert bio_lm().reasons.keys() == fields - NOT_IN_THE_WEIGHTS - ONLY_WITH_ANOTHER


def test_bio_lm_is_the_model_card():
    config = bio_lm().config
    assert (config.epochs, config.examples_per_step, config.max_tokens) == (3, 16 * 4, 512)
    assert (config.lr_peak, config.warmup_fraction, config.weight_decay) == (5e-5, 0, 0)
    assert (config.adam_beta1, config.adam_beta2, config.adam_epsilon) == (0.9, 0.999, 1e-8)
    assert (config.clip_norm, config.mask_rate, config.long_passages) == (1.0, 0.15, "truncate")
    assert bio_lm().base == "roberta-base"


def test_what_was_not_measured_says_so():
    claims = {name for name, reason in fast().reasons.items() if "not measured" in reason}
    assert fast().reasons.keys() - claims == {"long_passages", "attention_dropout"}
    assert "literature" in fast().summary


def test_an_unknown_recipe_is_one_line_that_names_the_nearest():
    with pytest.raises(ConfigError, match=r"^no recipe is called 'biolm'; did you mean bio-lm\?"):
        recipe_named("biolm")
    with pytest.raises(ConfigError, match="there are bio-lm, fast, demo"):
        recipe_named("quantum")


def test_a_run_keeps_the_reasons_that_still_hold(recipe: Recipe):
    config = dataclasses.replace(recipe.config, lr_peak=1e-4, ema_decay=0.999)
    facts = json.loads(json.dumps(facts_for_run(recipe, config)))
    assert facts["name"] == recipe.name
    assert facts["changed"] == ["lr_peak", "ema_decay"]
    assert facts["reasons"] == {
        name: reason for name, reason in recipe.reasons.items() if name not in ("lr_peak", "ema_decay")
    }
    assert facts_for_run(recipe, recipe.config)["changed"] == []
