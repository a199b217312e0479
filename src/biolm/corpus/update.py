"""A corpus with more papers: read are the new ones, decided is over all, and no paper changes its split."""

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.corpus.build import Earlier, Running, files_named, inputs_of, write_whole_corpus
from biolm.corpus.config import config_of
from biolm.corpus.documents import Documents
from biolm.corpus.extract import code_hash
from biolm.corpus.held_out_texts import HeldOutTexts
from biolm.corpus.inputs import Input
from biolm.corpus.places import place_of, spelled
from biolm.corpus.put import check_free_at
from biolm.corpus.reader import VERSION, Corpus, open_corpus
from biolm.corpus.split import SPLITS
from biolm.corpus.workspace import Workspace
from biolm.errors import ArtifactError
from biolm.progress import Progress

NAMED_SOURCES = 5
"""How many sources an error lists by name."""


def update_corpus(
    old: str | Path,
    sources: Sequence[str | Path],
    out: str | Path,
    progress: Progress,
    running: Running | None = None,
    held_out_texts: Sequence[Path] = (),
    *,
    replace: bool = False,
) -> dict[str, Any]:
    """The corpus `old` with more papers, as the new folder `out`; returns its manifest.

    A source of the same name as one of the old corpus stands for it, and must have all its files with papers in that
    corpus, or `replace` must say that they may go. The others are read from their extracts, so
    their papers need not be there any more, as long as the code that reads papers stays the same. Versions,
    duplicates and retractions are decided anew over all papers; a paper that was in the old corpus stays in its
    split. `held_out_texts`: the files that the old corpus was built with. Raises ArtifactError where they are
    others, extracts of the old corpus are not in the workspace or of other code, or papers would go.
    """
    running = running or Running()
    corpus, place = open_corpus(old), place_of(out)
    if corpus.manifest["version"] != VERSION:
        raise ArtifactError(
            f"{spelled(corpus.folder)} has an old format, which cannot be updated; build a corpus from all papers"
        )
    inputs = inputs_of(sources, place, progress)
    check_free_at(place)
    names = Counter(source.name for source in inputs)
    before = Counter(facts["name"] for facts in corpus.manifest["sources"])
    for name, given in names.items():
        if before[name] > given:
            raise ArtifactError(
                f"{spelled(corpus.folder)} has {before[name]} sources called {name}, and {given} of them would replace "
                "all; give each of them again, or the new one by another name"
            )
    if not replace:
        _check_files(corpus, inputs)
    earlier = [facts for facts in corpus.manifest["sources"] if facts["name"] not in names]
    _check_extracts(corpus, earlier, Workspace(running.work))
    config = config_of(corpus.manifest["settings"])
    if set(files_named(held_out_texts)) != set(config.hold_out_texts):
        said = ", ".join(name.partition(" ")[0] for name in config.hold_out_texts) or "none"
        raise ArtifactError(
            f"{spelled(corpus.folder)} was built with other held-out texts ({said}); give the same --hold-out-text"
        )
    texts = HeldOutTexts(held_out_texts) if held_out_texts else None
    texts_named = sorted(path.name for path in held_out_texts)
    files = [word for name in texts_named for word in ("--hold-out-text", name)]
    words = ["biolm", "corpus", "update", "OLD", *sorted(names.elements()), *files]
    taken_over = Earlier(
        sources=earlier,
        pin=partial(_pinned, corpus),
        fingerprint=corpus.fingerprint,
        command=shlex.join([*words, "--out", "NEW"]),
    )
    return write_whole_corpus(inputs, place, config, texts, progress, running, taken_over)


def _check_files(corpus: Corpus, inputs: Sequence[Input]) -> None:
    """Raise ArtifactError unless the new sources have all files of those of the same names that gave passages."""
    given = {
        name
        for source in inputs
        for shard in source.shards
        for file in shard.files
        for name in ([file.name] if file.rows is None else [row.name for row in file.rows])
    }
    names = {source.name for source in inputs} & {facts["name"] for facts in corpus.manifest["sources"]}
    gone = set[str]()
    for split in corpus.splits if names else ():
        for batch in corpus.iter_batches(split, ["source"], 65_536):
            files: set[str] = {place.partition("#")[0] for place in batch["source"].unique().to_pylist()}
            gone |= {
                file
                for file in files
                if file.partition("/")[0] in names and given.isdisjoint(_with_parents(file))
            }
    if gone:
        name = min(gone).partition("/")[0]
        count = sum(file.partition("/")[0] == name for file in gone)
        raise ArtifactError(
            f"{name} would stand for the source of that name in {spelled(corpus.folder)}, and {count:,} of its files "
            "are not in it; give it another name, or --replace to let their papers go"
        )


def _with_parents(file: str) -> Iterator[str]:
    """A file of a source, and what it lies in: a member of an archive is of the archive."""
    return accumulate(file.split("/"), lambda folder, name: f"{folder}/{name}")


def _check_extracts(corpus: Corpus, earlier: list[dict[str, Any]], workspace: Workspace) -> None:
    """Raise ArtifactError unless the extracts of sources of the old corpus are there, and of today's code."""
    if earlier and corpus.manifest.get("code") != code_hash():
        names = [facts["name"] for facts in earlier]
        more = f" and {len(names) - NAMED_SOURCES:,} more" if len(names) > NAMED_SOURCES else ""
        raise ArtifactError(
            f"{spelled(corpus.folder)} was read by another biolm, or with other libraries, and texts of the two "
            f"must not mix; give its other sources again too: {', '.join(names[:NAMED_SOURCES])}{more}"
        )
    for facts in earlier:
        missing = [key for key in facts["extracts"] if workspace.facts(key) is None]
        if missing:
            raise ArtifactError(
                f"{len(missing)} of {len(facts['extracts'])} extracts of {facts['name']} are not in "
                f"{workspace.address}; give that source again, or another --work, or build a corpus without it"
            )


def _pinned(old: Corpus, documents: Documents) -> NDArray[np.int8]:
    """(articles,) the split in which the old corpus has the article's paper; training goes before the others."""
    pinned = np.full(len(documents.document), -1, np.int8)
    for split in sorted(old.splits, key=SPLITS.index, reverse=True):
        for batch in old.iter_batches(split, ["pmid", "pmcid", "doi"], 65_536):
            names = {
                f"{kind}:{value}"
                for kind in ("pmid", "pmcid", "doi")
                for value in batch[kind].to_pylist()
                if value
            }
            pinned[documents.papers_with(names)] = SPLITS.index(split)
    return pinned
