"""Options and reading of annotated documents, for the commands that take them."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from biolm.mentions import Document

logger = logging.getLogger(__name__)


def types_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--types`: handed on as a tuple of names, empty for all."""
    return click.option(
        "--types",
        default="",
        metavar="NAME,...",
        callback=lambda _context, _parameter, value: names_in(value),
        help="Only mentions of these types.  [default: all]",
    )(command)


def as_type_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--as-type`: handed on as `as_type`."""
    return click.option(
        "--as-type",
        default=None,
        metavar="NAME",
        help="Call all mentions (of --types) so: four kinds of diseases become one.",
    )(command)


def names_in(words: str) -> tuple[str, ...]:
    """Names separated by commas."""
    return tuple(part.strip() for part in words.split(",") if part.strip())


def spacing_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--spacing`: handed on as `spacing`."""
    return click.option(
        "--spacing",
        type=click.Choice(["reconstructed", "words"]),
        default="reconstructed",
        show_default=True,
        help="How words that came apart are joined: as they were printed, or by a space each.",
    )(command)


def read_annotated(
    path: Path,
    *,
    split: str | None = None,
    spacing: str = "reconstructed",
    labels: Sequence[str] | None = None,
    types: Sequence[str] = (),
    all_types: bool = False,
    as_type: str | None = None,
    say: bool = True,
) -> "list[Document]":
    """The documents of a file or folder, with the mentions of `types` (all where none are named).

    `as_type`: what they are called instead of their types. What the file held besides is `say`d. Raises InputError,
    with `all_types` also where one does not occur.
    """
    from dataclasses import replace

    from biolm.annotations.read import read_documents
    from biolm.errors import InputError

    data = read_documents(path, split=split, spacing=spacing, labels=labels)
    documents = data.documents
    if types:
        there = {mention.type for document in documents for mention in document.mentions}
        absent = [name for name in types if name not in there]
        if absent and all_types:
            raise InputError(
                f"{path} has no mentions of the type {absent[0]}; it has {', '.join(sorted(there)) or 'none at all'}"
            )
        documents = [
            replace(document, mentions=tuple(each for each in document.mentions if each.type in types))
            for document in documents
        ]
    if as_type is not None:
        documents = [
            replace(document, mentions=tuple(replace(each, type=as_type) for each in document.mentions))
            for document in documents
        ]
    if say:
        mentions = sum(len(document.mentions) for document in documents)
        besides = ", ".join(f"{count:,} {why}" for why, count in sorted(data.counts.items()))
        logger.info(
            "%s (%s): %s documents, %s mentions%s",
            path.name + (f", {split}" if split else ""),
            data.form,
            f"{len(documents):,}",
            f"{mentions:,}",
            f"; {besides}" if besides else "",
        )
    return documents
