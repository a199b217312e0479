"""`biolm score-mentions`: how well predicted mentions agree with gold ones, for people or as JSON."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from biolm.cli.options import LocalPath

if TYPE_CHECKING:
    from biolm.mentions import Document


@click.command("score-mentions")
@click.argument("gold", type=LocalPath())
@click.argument("predicted", type=LocalPath())
@click.option(
    "--train",
    type=LocalPath(),
    default=None,
    help="Annotated documents trained on: also give recall on names that do not occur there, and on those that do.",
)
@click.option(
    "--compare",
    type=LocalPath(),
    default=None,
    metavar="PREDICTED",
    help="Another prediction of GOLD: also give its scores and the difference, paired by document.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@click.option(
    "--errors",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Also list the first N mentions that PREDICTED has not right.",
)
@click.option(
    "--form-gold", default=None, metavar="FORM", help="Form of GOLD and --train.  [default: told by content]"
)
@click.option(
    "--form",
    default=None,
    metavar="FORM",
    help="Form of PREDICTED and --compare.  [default: told by content]",
)
def score_mentions(
    gold: Path,
    predicted: Path,
    train: Path | None,
    compare: Path | None,
    as_json: bool,
    errors: int,
    form_gold: str | None,
    form: str | None,
) -> None:
    """Score the mentions of PREDICTED against those of GOLD: the same documents, by id, with the same texts.

    Files that have no ids of their own (CoNLL), whose documents are named by the files, are compared in their order.

    A mention is right where start, end and type are the same; other readings, from the span alone to any overlap, stand
    beside. Brackets: 95 % intervals by the bootstrap over documents.
    """
    from biolm.annotations.read import read_documents
    from biolm.cli.mention_tables import difference_line, error_json, error_lines, report_tables
    from biolm.tagging.intervals import compare as difference_of
    from biolm.tagging.pairs import paired
    from biolm.tagging.report import score
    from biolm.tagging.schemes import differences
    from biolm.tagging.seen import names_in

    remarks: dict[str, dict[str, int]] = {}

    def documents_of(path: Path, form: str | None) -> "list[Document]":
        data = read_documents(path, form=form)
        if data.counts:
            remarks[str(path)] = dict(data.counts)
        return data.documents

    golden = documents_of(gold, form_gold)
    known = names_in(documents_of(train, form_gold)) if train else None
    pairs = paired(golden, by_place(golden, documents_of(predicted, form)))
    others = paired(golden, by_place(golden, documents_of(compare, form))) if compare else None
    report = score(pairs, known=known)
    wrong = []
    if errors:
        by_id = {document.id: document for document in golden}
        wrong = [(by_id[id_], match) for id_, match in differences(pairs)]
    compared = score(others, known=known) if others is not None else None
    difference = difference_of(pairs, others) if others is not None else None

    if as_json:
        results: dict[str, Any] = {"gold": str(gold), "predicted": str(predicted), **report.as_dict()}
        results["reading"] = remarks
        if compared and difference:
            results["compare"] = {
                "predicted": str(compare),
                **compared.as_dict(),
                "difference": {name: each.as_dict() for name, each in difference.items()},
            }
        if errors:
            results["errors"] = [error_json(*each) for each in wrong[:errors]]
        click.echo(json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False))
        return
    for path, counts in remarks.items():
        told = ", ".join(f"{count:,} {reason}" for reason, count in counts.items())
        click.echo(f"reading {path}: {told}", err=True)
    documents = f"{report.documents:,} document{'s' * (report.documents != 1)}"
    report_tables(report, f"{predicted.name} against {gold.name}, {documents}")
    if compare and compared and difference:
        report_tables(compared, f"{compare.name} against {gold.name}")
        click.echo(difference_line(compare.name, difference))
    for line in error_lines(wrong[:errors]):
        click.echo(line)
    if len(wrong) > errors:
        click.echo(f"and {len(wrong) - errors:,} more")


def by_place(gold: "Sequence[Document]", found: "Sequence[Document]") -> "Sequence[Document]":
    """The documents by the ids of gold's in the same places, where they share no id but have the same texts."""
    from dataclasses import replace

    ids = {document.id for document in gold}
    if any(document.id in ids for document in found):
        return found
    if [document.text for document in gold] != [document.text for document in found]:
        return found
    return [replace(one, id=other.id) for one, other in zip(found, gold, strict=True)]
