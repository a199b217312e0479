"""`biolm evaluate`: numbers with intervals, for people or as JSON."""

import json
import logging
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from biolm.cli.options import CorpusPlace, LocalPath, column_options, progress_for, quiet_option

if TYPE_CHECKING:
    from biolm.corpus.places import Place
    from biolm.corpus.reader import Corpus

logger = logging.getLogger(__name__)


@click.command()
@click.argument("model")
@click.argument("corpus", type=CorpusPlace())
@click.option(
    "--split", type=click.Choice(["test", "validation", "train"]), default="test", show_default=True
)
@click.option(
    "--compare",
    multiple=True,
    metavar="MODEL",
    help="Another model: of the same tokenizer on the same masks, of another one on the same hidden words of CORPUS, "
    "which must then be a corpus of biolm's; may be given several times.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@click.option(
    "--save-predictions",
    type=LocalPath(),
    default=None,
    help="Write each masked position of MODEL to this .parquet or .tsv file.",
)
@click.option(
    "--by",
    multiple=True,
    metavar="COLUMN",
    help="Also give figures by a column of CORPUS, which must then be a corpus of biolm's: year, journal, licence, "
    "...; may be given several times.",
)
@click.option(
    "--pos",
    metavar="PIPELINE",
    help="Also give figures by part of speech, told by this spaCy pipeline (name or folder; `pip install "
    "'biolm[pos]'`).",
)
@click.option(
    "--spans",
    "span_files",
    multiple=True,
    type=LocalPath(),
    help='Also give figures by spans of the texts, entities for instance: JSON lines of {"passage": row of the split, '
    '"spans": [[first, last, "label"], ...]}; may be given several times.',
)
@click.option(
    "--seen",
    metavar="FILE|CORPUS",
    help="Also give figures by whether a paper was seen in training: a text file of ids (PMID, PMCID, DOI), one a "
    "line, or the corpus trained on.",
)
@click.option(
    "--out",
    type=LocalPath(),
    default=None,
    help="Write report.html, report.md and report.json into this folder.",
)
@click.option(
    "--leakage",
    is_flag=True,
    help="Also count the passages of the split that occur in the training split, as a whole or by runs of 13 words.",
)
@click.option(
    "--benchmark",
    "benchmarks",
    multiple=True,
    type=LocalPath(),
    help="With --leakage: texts of a benchmark (one a line, a table, PubTator or CoNLL), which are looked for in both "
    "splits; may be given several times.",
)
@click.option("--tokenizer", default=None, help="Tokenizer, where the model's folder holds none.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=None,
    help="Measure only the first so many windows and their passages.",
)
@click.option(
    "--max-row-tokens",
    type=click.IntRange(min=1),
    default=None,
    help="Tokens computed at once; changes memory, not results.  [default: 4,096 on a CPU, 16,384 on a GPU]",
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@column_options
@quiet_option
def evaluate(
    model: str,
    corpus: "Place",
    split: str,
    compare: tuple[str, ...],
    as_json: bool,
    save_predictions: Path | None,
    by: tuple[str, ...],
    pos: str | None,
    span_files: tuple[Path, ...],
    seen: str | None,
    out: Path | None,
    leakage: bool,
    benchmarks: tuple[Path, ...],
    tokenizer: str | None,
    limit: int | None,
    max_row_tokens: int | None,
    device: str,
    text_column: str | None,
    document_column: str | None,
    quiet: bool,
) -> None:
    """Measure MODEL (folder or Hub name) on CORPUS (a corpus, its token store, or data of others: `biolm tokenize`).

    15 % of the tokens are hidden, the same for all models of one tokenizer; loss, perplexity, recall and more
    (docs/formats.md) stand with 95 % intervals over documents, beside a baseline that knows only token frequencies.
    """
    from biolm.cli.tokenize import tokens_of
    from biolm.errors import ConfigError
    from biolm.evaluation.hidden_words import Contender, evaluate_hidden_words
    from biolm.evaluation.leakage import leakage_json
    from biolm.evaluation.masked import PositionSink, passages_within
    from biolm.evaluation.masked import evaluate as measure
    from biolm.evaluation.predictions import check_predictions_path, predictions_file
    from biolm.evaluation.results import finite_json, results_json
    from biolm.evaluation.spans import PartsOfSpeech, SpanFile, Spans, span_strata
    from biolm.evaluation.strata import SeenDocument, Stratum, columns_of, texts_of
    from biolm.model.device import choose_device
    from biolm.model.loading import has_head, load_model
    from biolm.publishing.examples import Examples
    from biolm.publishing.report import check_report_folder, write_report
    from biolm.tokens.source import TextColumns
    from biolm.tokens.tokenizer import resolve_model
    from biolm.tokens.words import word_table_or_none

    # What is wrong with the command is said before anything that takes long.
    if save_predictions is not None:
        check_predictions_path(save_predictions)
    asked = [*by, *(["part_of_speech"] if pos else []), *(path.stem for path in span_files)]
    asked += [SeenDocument.name] if seen else []
    _check_names(asked)
    if benchmarks and not leakage:
        raise ConfigError("--benchmark says where to look for leakage; give --leakage too")
    if out is not None:
        check_report_folder(out)
    where = choose_device(device)
    progress = progress_for(quiet or as_json)
    folder, own = resolve_model(model, tokenizer)
    others = {another: resolve_model(another, tokenizer, instead=True) for another in compare}
    alike = {
        another: theirs.vocabulary.hash == own.vocabulary.hash for another, (_, theirs) in others.items()
    }
    needs = [f"--compare {another}, of another tokenizer," for another in compare if not alike[another]]
    needs += [f"--by {name}" for name in by] + ["--pos"] * bool(pos) + ["--spans"] * bool(span_files)
    texts = _corpus_for([*needs, *(["--seen"] * bool(seen))], corpus, look=bool(benchmarks))
    sources: dict[str, Spans] = {}
    if pos:
        sources["part_of_speech"] = PartsOfSpeech(pos)
    if texts is not None and span_files:
        texts.files(split)  # or there is no such split
        passages = texts.manifest["splits"][split]["passages"]
        sources |= {path.stem: SpanFile(path, passages) for path in span_files}

    models: dict[str, Any] = {"model": load_model(folder).to(where)}
    names: dict[str, str | None] = {"model": model}
    store = tokens_of(corpus, own, progress, TextColumns(text=text_column, document=document_column))
    contenders = {"model": Contender(models["model"], own)}
    for place, (another, (other, theirs)) in enumerate(others.items()):
        name = f"compare {place}"
        counts = store.unigram_counts() if alike[another] else None
        contenders[name] = Contender(load_model(other, unigram_counts=counts).to(where), theirs)
        names[name] = another
        if alike[another]:
            models[name] = contenders[name].model
            if not has_head(other):
                logger.info("%s has no language-model head: it gets one that knows the unigrams", another)
    words = word_table_or_none(own)
    data = store.split(split)
    count = passages_within(models, store, split, limit)
    strata: list[Stratum] = []
    if texts is not None:
        strata += columns_of(texts, split, by)
        if sources:
            strata += span_strata(data, own, islice(texts_of(texts, split), count), sources)
        if seen:
            strata.append(SeenDocument(texts, split, seen))
    leaks = leakage_json(store, split, own, benchmarks, texts) if leakage else None
    with predictions_file(save_predictions, data, own) if save_predictions else nullcontext() as predictions:
        sinks: list[PositionSink] = [predictions] if predictions else []
        examples = None
        if out is not None and words is not None:
            examples = Examples(data, own, words)
            sinks.append(examples)
        measured = measure(
            models,
            store,
            split,
            progress,
            max_row_tokens=max_row_tokens,
            limit=limit,
            predictions=sinks,
            words=words,
            by=strata,
        )
    results = results_json(measured, split=split, names=names)
    if len(contenders) > len(models) and texts is not None:
        pairs = islice(zip(map(int, data.documents), texts_of(texts, split), strict=True), count)
        hidden = evaluate_hidden_words(
            contenders, pairs, progress, count=count, max_row_tokens=max_row_tokens
        )
        results["hidden_words"] = finite_json(hidden.as_json(names))
    if leaks is not None:
        results["leakage"] = leaks
    if out is not None:
        write_report(out, results, examples.passages if examples else (), _runs_of(results))
    if as_json:
        click.echo(json.dumps(results, indent=2, ensure_ascii=False))
        return
    from biolm.cli.tables import hidden_words_table, leakage_lines, results_table
    from biolm.corpus.places import last_name

    compared = results.get("compare", [])
    named = {
        model: results,
        **{result["model"]: result for result in compared},
        "unigram baseline": results["unigram"],
    }
    results_table(named, title=f"{split} split of {last_name(corpus)}", strata=asked)
    for result in compared:
        lines = [
            f"{name} {value['value']:+.4f} [{value['low']:+.4f}, {value['high']:+.4f}], p {value['p']:.3f}"
            for name, value in result["difference"]["overall"].items()
            if value["p"] is not None
        ]
        click.echo(f"difference to {result['model']}, paired by document: " + "; ".join(lines))
    if "hidden_words" in results:
        hidden_words_table(results["hidden_words"])
    if leakage:
        for line in leakage_lines(results["leakage"], split):
            click.echo(line)
    if out is not None:
        click.echo(f"report  {out / 'report.html'}")
    if save_predictions:
        click.echo(f"predictions  {save_predictions}")


def _check_names(asked: list[str]) -> None:
    """Raise ConfigError where figures would go by one name twice, or by that of figures that are always given."""
    from biolm.errors import ConfigError
    from biolm.evaluation.strata import STRATA_BY_WORD

    taken = {"section", *STRATA_BY_WORD}
    for name in asked:
        if name in taken:
            raise ConfigError(
                f"figures by {name} are given already; leave out the second --by, or rename a file of --spans"
            )
        taken.add(name)


def _corpus_for(needs: list[str], place: "Place", *, look: bool) -> "Corpus | None":
    """The corpus that `place` is: where something needs it, or `look` asks whether it is one. Raises ArtifactError."""
    from biolm.corpus.places import kind_at, spelled
    from biolm.corpus.reader import KIND, open_corpus
    from biolm.errors import ArtifactError
    from biolm.tokens.hub_dataset import parse_address

    if not needs and not look:
        return None
    if (isinstance(place, Path) or parse_address(place) is None) and kind_at(place) == KIND:
        return open_corpus(place)
    if needs:
        raise ArtifactError(
            f"{needs[0]} needs papers and their texts, and {spelled(place)} is no corpus of biolm's; give the corpus"
        )
    return None


def _runs_of(results: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The metrics of the runs in whose folders the models lie."""
    from biolm.training.metrics import read_metrics

    names = [results["model"], *(other["model"] for other in results.get("compare", []))]
    found = {name: read_metrics(Path(name).resolve().parent) for name in names if Path(name).is_dir()}
    return {name: lines for name, lines in found.items() if lines}
