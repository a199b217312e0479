"""Whole configurations by name, each value with its source or reason."""

import difflib
from collections.abc import Callable

from biolm.errors import ConfigError
from biolm.recipes.bio_lm import bio_lm
from biolm.recipes.demo import demo
from biolm.recipes.fast import fast
from biolm.recipes.recipe import EMBEDDED, Recipe, facts_for_run

__all__ = ["EMBEDDED", "RECIPES", "Recipe", "bio_lm", "demo", "facts_for_run", "fast", "recipe_named"]

RECIPES: dict[str, Callable[[], Recipe]] = {"bio-lm": bio_lm, "fast": fast, "demo": demo}


def recipe_named(name: str) -> Recipe:
    """The recipe of that name. Raises ConfigError, with the names that are near."""
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, n=1)
        known = f"did you mean {near[0]}? See" if near else f"there are {', '.join(RECIPES)}; see"
        raise ConfigError(f"no recipe is called {name!r}; {known} `biolm recipes`")
    return RECIPES[name]()
