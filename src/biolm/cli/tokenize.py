"""`biolm tokenize`, and how other commands come by the tokens of a corpus."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from biolm.cli.options import CorpusPlace, LocalPath, progress_for, quiet_option
from biolm.progress import Progress

if TYPE_CHECKING:
    from biolm.corpus.places import Place
    from biolm.tokens.store import TokenStore
    from biolm.tokens.tokenizer import Tokenizer


@click.command()
@click.argument("corpus", type=CorpusPlace())
@click.option("--tokenizer", required=True, help="Folder or Hub name of a model or tokenizer.")
@click.option("--out", required=True, type=LocalPath(), help="Folder to write.")
@quiet_option
def tokenize(corpus: "Place", tokenizer: str, out: Path, quiet: bool) -> None:
    """Turn CORPUS (a folder, or an address such as s3://bucket/corpus) into a memory-mapped token store.

    `biolm pretrain` and `biolm evaluate` do this by themselves, into the cache folder; a store of one's own
    can be given to them in place of the corpus.
    """
    from biolm.tokens.build import build_tokens
    from biolm.tokens.tokenizer import load_tokenizer

    store = build_tokens(corpus, load_tokenizer(tokenizer), out, progress_for(quiet))
    for split in store.splits:
        facts = store.manifest["splits"][split]
        click.echo(
            f"{split:<12}{facts['passages']:>12,} passages{facts['tokens']:>16,} tokens"
            f"{facts['documents']:>12,} documents"
        )


def tokens_of(data: "Place", tokenizer: "Tokenizer", progress: Progress) -> "TokenStore":
    """The token store that `data` is, or that of the corpus that it is: made in the cache folder on first use.

    Raises ArtifactError for any other folder, ModelError for the store of another tokenizer.
    """
    from biolm.artifacts import cache_folder, kind_of
    from biolm.corpus.places import kind_at, spelled
    from biolm.corpus.reader import open_corpus
    from biolm.errors import ArtifactError, ModelError
    from biolm.tokens.build import build_tokens
    from biolm.tokens.store import KIND, open_tokens

    if kind_at(data) == KIND:
        if not isinstance(data, Path):
            raise ArtifactError(
                f"{spelled(data)} is a token store, which is mapped into memory; copy it here, or give the corpus"
            )
        store = open_tokens(data)
        if store.vocabulary.hash != tokenizer.vocabulary.hash:
            raise ModelError(
                f"{data} was tokenized by another tokenizer than {tokenizer.name}; "
                "give the corpus itself, or tokenize it anew"
            )
        return store
    corpus = open_corpus(data)
    name = f"{corpus.fingerprint[:16]}-{tokenizer.vocabulary.hash[:16]}"
    cached = cache_folder() / "tokens" / name
    if kind_of(cached) == KIND:
        try:
            return open_tokens(cached)
        except ArtifactError:
            shutil.rmtree(cached)  # damaged; what lies in the cache can be made again
    return build_tokens(data, tokenizer, cached, progress)
