"""`biolm recipes`: which whole configurations there are, and why each value is what it is."""

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from biolm.recipes import Recipe


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def recipes(name: str | None, as_json: bool) -> None:
    """List recipes for `biolm pretrain --recipe`, or show the settings of NAME with their reasons."""
    from biolm.recipes import RECIPES, recipe_named

    if name is None:
        known = [recipe_named(each) for each in RECIPES]
        if as_json:
            click.echo(json.dumps([{"name": r.name, "summary": r.summary, "base": r.base} for r in known]))
            return
        for recipe in known:
            click.echo(f"{recipe.name:<8}{recipe.summary}")
        click.echo(
            "\nbiolm recipes NAME shows its settings; biolm pretrain CORPUS --recipe NAME --out RUN trains."
        )
        return
    recipe = recipe_named(name)
    facts = recipe_facts(recipe)
    if as_json:
        click.echo(json.dumps(facts))
        return
    _show(recipe, facts)


def recipe_facts(recipe: "Recipe") -> dict[str, Any]:
    """A recipe as JSON: of each setting its value, whether the recipe decides it, and the reason or the meaning."""
    from biolm.cli.settings import field_docs
    from biolm.training.config import PretrainConfig

    docs = field_docs(PretrainConfig)
    return {
        "name": recipe.name,
        "summary": recipe.summary,
        "base": recipe.base,
        "settings": {
            name: {
                "value": value,
                "decided": name in recipe.reasons,
                "reason": recipe.reasons.get(name, f"biolm's default: {docs[name]}"),
            }
            for name, value in dataclasses.asdict(recipe.config).items()
        },
    }


def _show(recipe: "Recipe", facts: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    from biolm.cli.settings import spell
    from biolm.cli.tables import wide_console

    table = Table(title=f"{recipe.name}: {recipe.summary}", title_justify="left", pad_edge=False)
    for heading in ("setting", "value", "why"):
        table.add_column(heading, overflow="fold")
    table.add_row("base", Text(recipe.base), "")
    for decided in (True, False):
        for name, setting in facts["settings"].items():
            if setting["decided"] is decided:
                table.add_row(name, Text(spell(setting["value"])), Text(setting["reason"]))
        table.add_section()
    wide_console().print(table)
