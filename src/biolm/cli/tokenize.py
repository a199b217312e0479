"""`biolm tokenize`, and how other commands come by the tokens of a corpus."""

import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from biolm.cli.options import CorpusPlace, LocalPath, column_options, progress_for, quiet_option
from biolm.progress import Progress

if TYPE_CHECKING:
    from biolm.corpus.places import Place
    from biolm.tokens.source import TextColumns
    from biolm.tokens.store import TokenStore
    from biolm.tokens.tokenizer import Tokenizer

logger = logging.getLogger(__name__)


@click.command()
@click.argument("corpus", type=CorpusPlace())
@click.option("--tokenizer", required=True, help="Folder or Hub name of a model or tokenizer.")
@click.option("--out", required=True, type=LocalPath(), help="Folder to write.")
@column_options
@quiet_option
def tokenize(
    corpus: "Place",
    tokenizer: str,
    out: Path,
    text_column: str | None,
    document_column: str | None,
    quiet: bool,
) -> None:
    """Turn CORPUS (a folder, or an address such as s3://bucket/corpus) into a memory-mapped token store.

    CORPUS may also be data of others: JSON lines of token ids as EMBO/biolang has them, texts in Parquet, JSON or
    CSV, a folder that the datasets library saved, or hf://datasets/OWNER/NAME@REVISION/CONFIG.

    `biolm pretrain` and `biolm evaluate` do this by themselves, into the cache folder; a store of one's own
    can be given to them in place of the corpus.
    """
    from biolm.tokens.build import build_tokens
    from biolm.tokens.source import TextColumns
    from biolm.tokens.tokenizer import load_tokenizer

    columns = TextColumns(text=text_column, document=document_column)
    store = build_tokens(corpus, load_tokenizer(tokenizer), out, progress_for(quiet), columns=columns)
    for split in store.splits:
        facts = store.manifest["splits"][split]
        click.echo(
            f"{split:<12}{facts['passages']:>12,} passages{facts['tokens']:>16,} tokens"
            f"{facts['documents']:>12,} documents"
        )


def tokens_of(
    data: "Place", tokenizer: "Tokenizer", progress: Progress, columns: "TextColumns | None" = None
) -> "TokenStore":
    """The token store that `data` is, or that of the corpus or data set that it is: made in the cache on first use.

    Raises ArtifactError or InputError for any other place, ModelError for the store or ids of another tokenizer,
    ConfigError for columns of what has none.
    """
    from biolm.artifacts import cache_folder, kind_of
    from biolm.corpus.places import kind_at, spelled
    from biolm.errors import ArtifactError, ConfigError, ModelError
    from biolm.tokens.build import store_tokens
    from biolm.tokens.foreign import open_source
    from biolm.tokens.hub_dataset import parse_address
    from biolm.tokens.source import TextColumns
    from biolm.tokens.store import KIND, open_tokens

    columns = columns or TextColumns()
    if (isinstance(data, Path) or parse_address(data) is None) and kind_at(data) == KIND:
        if not isinstance(data, Path):
            raise ArtifactError(
                f"{spelled(data)} is a token store, which is mapped into memory; copy it here, or give the corpus"
            )
        if columns.named:
            raise ConfigError(f"{data} is a token store, which has no columns; leave the column options out")
        store = open_tokens(data)
        if store.vocabulary.hash != tokenizer.vocabulary.hash:
            raise ModelError(
                f"{data} was tokenized by another tokenizer than {tokenizer.name}; "
                "give the corpus itself, or tokenize it anew"
            )
        return store
    source = open_source(data, columns, progress)
    name = f"{source.fingerprint[:16]}-{tokenizer.vocabulary.hash[:16]}"
    cached = cache_folder() / "tokens" / name
    if kind_of(cached) == KIND:
        try:
            return open_tokens(cached)
        except ArtifactError:
            shutil.rmtree(cached)  # damaged; what lies in the cache can be made again
    return store_tokens(source, tokenizer, cached, progress)


def say_missing(store: "TokenStore", evaluate_split: str) -> None:
    """A line for each split that a training will miss: for validation, and for measuring its result."""
    if "validation" not in store.splits:
        logger.info("there is no validation split: nothing is validated while training")
    if evaluate_split not in (*store.splits, "none"):
        logger.info("there is no %s split: the model will not be measured", evaluate_split)
