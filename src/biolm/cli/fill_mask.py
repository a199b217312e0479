"""`biolm fill-mask`."""

import json

import click


@click.command("fill-mask")
@click.argument("model")
@click.argument("text")
@click.option(
    "--top-k", type=click.IntRange(min=1), default=5, show_default=True, help="Candidates for each mask."
)
@click.option("--tokenizer", default=None, help="Tokenizer, where the model's folder holds none.")
@click.option("--json", "as_json", is_flag=True, help="A list of candidates for each mask, as JSON.")
def fill_mask(model: str, text: str, top_k: int, tokenizer: str | None, as_json: bool) -> None:
    """Fill each mask of TEXT with MODEL (folder or Hub name).

    Write a mask as <mask>, or as the model's own mask token: "Mutations in <mask> cause cancer."
    """
    from biolm.serving.fill_mask import FillMask

    masks = FillMask.load(model, tokenizer)(text, top_k)
    if as_json:
        click.echo(json.dumps([[fill.as_json() for fill in fills] for fills in masks], ensure_ascii=False))
        return
    for number, fills in enumerate(masks, start=1):
        if len(masks) > 1:
            click.echo(f"mask {number}")
        for fill in fills:
            click.echo(f"{fill.score:8.4f}  {fill.token_str.strip():<20}  {fill.sequence}")
