"""`biolm cloze`: how often a model fills the blanks of prompts with the right answers."""

import json
from pathlib import Path

import click

from biolm.cli.options import LocalPath, progress_for, quiet_option


@click.command()
@click.argument("model")
@click.argument("file", type=LocalPath())
@click.option(
    "--max-pieces",
    type=click.IntRange(min=1, max=10),
    default=3,
    show_default=True,
    help="Longest answer that is searched for, in tokens of the model, for each blank.",
)
@click.option(
    "--beam",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="Fillings kept after each token; more finds more and takes longer.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object: the accuracies, and each probe's answers."
)
@click.option("--tokenizer", default=None, help="Tokenizer, where the model's folder holds none.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@quiet_option
def cloze(
    model: str,
    file: Path,
    max_pieces: int,
    beam: int,
    as_json: bool,
    tokenizer: str | None,
    device: str,
    quiet: bool,
) -> None:
    """Ask MODEL (folder or Hub name) the prompts of FILE, and count how often the right answer is among the first k.

    FILE is tab-separated with the columns prompt and answer. A blank is written <mask>; several right answers are
    divided by |; the second blank of a prompt has its answer in the column answer2.
    """
    from biolm.evaluation.cloze import accuracies, answer, read_probes
    from biolm.model.device import choose_device
    from biolm.model.loading import load_model
    from biolm.tokens.tokenizer import resolve_model

    probes = read_probes(file)
    where = choose_device(device)
    folder, own = resolve_model(model, tokenizer)
    loaded = load_model(folder).to(where)
    progress = progress_for(quiet or as_json)
    progress.start("cloze", len(probes), "probes")
    answered = []
    for probe in probes:
        answered.append(answer(loaded, own, probe, max_pieces=max_pieces, beam=beam))
        progress.update(len(answered))
    progress.finish(f"{len(answered):,} probes")
    found = accuracies(answered)
    if as_json:
        each = [
            {
                "prompt": one.probe.prompt,
                "answers": one.probe.answers,
                "rank": one.rank,
                "found": [
                    {"texts": filling.texts, "score": filling.score, "pieces": filling.pieces}
                    for filling in one.fillings[:10]
                ],
            }
            for one in answered
        ]
        facts = {"model": model, **found, "probes": each, "max_pieces": max_pieces, "beam": beam}
        click.echo(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    for one in answered:
        rank = "–" if one.rank is None else str(one.rank)
        said = ", ".join(" … ".join(filling.texts) for filling in one.fillings[:3])
        click.echo(f"{rank:>4}  {one.probe.prompt}  ({said})")
    for name, value in found.items():
        click.echo(f"{name}  {value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]")
