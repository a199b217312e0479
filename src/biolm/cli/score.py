"""`biolm score`: how likely each line of a file is to a model."""

import json
from collections.abc import Iterator
from typing import TextIO

import click

from biolm.errors import InputError
from biolm.evaluation.pseudo_likelihood import METRICS


@click.command()
@click.argument("model")
@click.argument("file", type=click.File("r", encoding="utf-8"))
@click.option(
    "--metric",
    type=click.Choice(METRICS),
    default="within-word-l2r",
    show_default=True,
    help="within-word-l2r: while a token is scored, the later tokens of its word are hidden too (Kauf and "
    "Ivanova 2023); original: that token alone (Salazar et al. 2020).",
)
@click.option("--words", is_flag=True, help="A line for each word instead of one for each text.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line of FILE, its words included.")
@click.option("--tokenizer", default=None, help="Tokenizer, where the model's folder holds none.")
@click.option(
    "--max-row-tokens",
    type=click.IntRange(min=1),
    default=None,
    help="Tokens computed at once; changes speed and memory, not the scores.  [default: 4,096 on a CPU, 16,384 on a "
    "GPU]",
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
def score(
    model: str,
    file: TextIO,
    metric: str,
    words: bool,
    as_json: bool,
    tokenizer: str | None,
    max_row_tokens: int | None,
    device: str,
) -> None:
    """Give the pseudo-log-likelihood of each line of FILE (- for standard input) under MODEL (folder or Hub name).

    In nats, the sum over a line's tokens, each hidden in turn: higher is likelier. Tab-separated: the score, tokens,
    words, and the line; with --words the line's number, where the word begins and ends, its score, tokens, and the
    word. A line longer than the model's limit is scored in parts, each alone, and a message says how many were.
    """
    from biolm.evaluation.pseudo_likelihood import pseudo_log_likelihoods
    from biolm.model.device import choose_device
    from biolm.model.loading import load_model
    from biolm.tokens.tokenizer import resolve_model

    where = choose_device(device)
    folder, own = resolve_model(model, tokenizer)
    divided = 0
    for number, scored in enumerate(
        pseudo_log_likelihoods(
            load_model(folder).to(where),
            own,
            _lines(file),
            metric=metric,  # type: ignore[arg-type]
            max_row_tokens=max_row_tokens,
        ),
        start=1,
    ):
        divided += scored.windows > 1
        found = scored.words()
        total, tokens = scored.pseudo_log_likelihood, len(scored.log_probabilities)
        if as_json:
            each = [
                {
                    "text": word.text,
                    "start": word.start,
                    "end": word.end,
                    "log_probability": word.log_probability,
                    "tokens": word.tokens,
                }
                for word in found
            ]
            facts = {
                "text": scored.text,
                "pseudo_log_likelihood": total,
                "tokens": tokens,
                "metric": metric,
                "words": each,
            }
            click.echo(json.dumps(facts, ensure_ascii=False))
        elif words:
            for word in found:
                click.echo(
                    f"{number}\t{word.start}\t{word.end}\t{word.log_probability:.4f}\t{word.tokens}\t{word.text}"
                )
        else:
            click.echo(f"{total:.4f}\t{tokens}\t{len(found)}\t{scored.text}")
    if divided:
        click.echo(
            f"{divided} {'lines are' if divided > 1 else 'line is'} longer than the model's limit, "
            "scored in parts",
            err=True,
        )


def _lines(file: TextIO) -> Iterator[str]:
    try:
        for line in file:
            yield line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{file.name} is not UTF-8 text ({error.reason}); convert it first") from None
