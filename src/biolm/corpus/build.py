"""Papers to a corpus folder: read in shards, resolved together, written by split."""

import dataclasses
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import biolm
from biolm.artifacts import (
    sha256_file,
    sha256_json,
    write_json,
    write_manifest,
    write_text,
)
from biolm.corpus.card import PRETTY_NAME, render_card
from biolm.corpus.config import CorpusConfig
from biolm.corpus.croissant import CROISSANT, croissant
from biolm.corpus.documents import Documents
from biolm.corpus.engines import Engine, available_cores
from biolm.corpus.extract import code_hash
from biolm.corpus.held_out_texts import HeldOutTexts
from biolm.corpus.inputs import Input, resolve_input
from biolm.corpus.places import Place, kind_at, place_of, spelled
from biolm.corpus.put import check_free_at, new_corpus
from biolm.corpus.reader import KIND, VERSION, open_corpus
from biolm.corpus.reasons import Reason
from biolm.corpus.resolve import resolve
from biolm.corpus.stage import Extracted, ExtractShard, extract_all
from biolm.corpus.workspace import Workspace
from biolm.corpus.write import REPORT, write_corpus, write_report
from biolm.errors import ArtifactError, InputError
from biolm.progress import Progress
from biolm.sources.remote import shown


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """How the work is done; it never changes what comes out."""

    workers: int | None = None
    """Processes that read papers; None for one a core."""
    engine: Engine = "local"
    """"ray" reads the papers on a Ray cluster."""
    work: str | None = None
    """Folder of extracts, or a URL that fsspec knows; None for `extracts` in the cache folder. A corpus that goes to
    an address is written on its disk first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Earlier:
    """What an update takes over from the corpus before it."""

    sources: Sequence[dict[str, Any]]
    """Facts of the sources whose extracts are there already."""
    pin: Callable[[Documents], NDArray[np.int8]]
    """See `resolve`."""
    fingerprint: str
    """Of that corpus."""
    command: str
    """What makes the new corpus of it."""


def build_corpus(
    sources: Sequence[str | Path],
    out: str | Path,
    config: CorpusConfig,
    progress: Progress,
    running: Running | None = None,
    held_out_texts: Sequence[Path] = (),
) -> dict[str, Any]:
    """Read papers, write the corpus folder `out`, here or at an address, and return its manifest.

    A source is a file, folder or URL that `read_source` reads, or `@sample`. Where `out` holds the corpus of the
    same sources, settings and biolm version already, its manifest is returned and nothing is written. The same
    sources give the same bytes, in whatever order they are given and however many workers read them. A build
    that was stopped takes up after the last finished shard. `held_out_texts`: files of texts that must not occur
    in any passage, see `HeldOutTexts`. Raises InputError where a source cannot be used or
    no passage is kept, and ArtifactError where `out` holds anything else.
    """
    place = place_of(out)
    inputs = inputs_of(sources, place, progress)
    config = dataclasses.replace(config, hold_out_texts=files_named(held_out_texts))
    if kind_at(place) == KIND:
        _check_same(place, settings=config.settings())
    else:
        check_free_at(place)
    texts = HeldOutTexts(held_out_texts) if held_out_texts else None
    return write_whole_corpus(inputs, place, config, texts, progress, running or Running())


def files_named(texts: Sequence[Path]) -> tuple[str, ...]:
    """Files by name and SHA-256, sorted."""
    for path in texts:
        if not path.is_file():
            raise InputError(f"--hold-out-text {path} is no file; give texts one a line, PubTator or CoNLL")
    return tuple(sorted(f"{path.name} {sha256_file(path)}" for path in texts))


def inputs_of(sources: Sequence[str | Path], out: Place, progress: Progress) -> list[Input]:
    """The sources, each once. Raises InputError where one cannot be used, or `out` lies inside it."""
    if not sources:
        raise InputError("no source given; give files or folders of papers, or @sample")
    inputs = {found.address: found for found in (resolve_input(source, progress) for source in sources)}
    for source in inputs.values():
        if isinstance(out, str):
            inside = f"{out}/".startswith(f"{source.address.rstrip('/')}/")
        else:
            folder = source.folder and source.folder.resolve()
            inside = folder is not None and out.absolute().resolve().is_relative_to(folder)
        if inside:
            raise InputError(
                f"{spelled(out)} lies inside the source {shown(source.address)}; choose another --out"
            )
    return list(inputs.values())


def write_whole_corpus(
    inputs: list[Input],
    out: Place,
    config: CorpusConfig,
    texts: HeldOutTexts | None,
    progress: Progress,
    running: Running,
    earlier: Earlier | None = None,
) -> dict[str, Any]:
    """The corpus of `inputs` and of what is taken over from an `earlier` one; returns its manifest."""
    workspace = Workspace(running.work)
    workspace.sweep()
    shards = [shard for source in inputs for shard in source.shards]
    work = ExtractShard(workspace=workspace.address, config=config.extraction())
    workers = available_cores() if running.workers is None else running.workers
    extracted = extract_all(shards, work, workers=workers, engine=running.engine, progress=progress)
    facts = _source_facts(inputs, extracted)
    before = earlier.sources if earlier else ()
    sources = sorted([*facts, *before], key=lambda source: (source["name"], source["sha256"]))
    names = [source["name"] for source in sources]
    made_from = {
        "settings": config.settings(),
        "sources": sources,
        "command": earlier.command if earlier else _command(names, config),
        "code": code_hash(),
    }
    if earlier:
        made_from["updates"] = earlier.fingerprint
    if kind_at(out) == KIND:
        return _reuse(out, made_from, progress)
    keys = [key for source in sources for key in source["extracts"]]
    found = [workspace.facts(key) for key in keys]
    said = [extract for extract in found if extract is not None]
    if len(said) < len(keys):
        raise ArtifactError(
            f"extracts in {workspace.address} were removed meanwhile; run the same command again"
        )
    with new_corpus(out, kind=KIND, workspace=workspace, progress=progress) as folder:
        failed, first = write_report(
            folder / REPORT, (pair for extract in said for pair in extract.unreadable)
        )
        deletions = [deletion for extract in said for deletion in extract.deletions]
        progress.start("resolve", None, "passages")
        resolution = resolve(workspace, keys, deletions, config, texts, earlier.pin if earlier else None)
        progress.finish(
            f"{len(resolution.fate):,} passages of {len(resolution.documents.document):,} articles"
        )
        counts = write_corpus(folder, workspace, keys, resolution, config, resolution.pinned, progress)
        outcome = counts.facts(
            articles=len(resolution.documents.document), failed=failed, fate=resolution.fate
        )
        if not outcome["counts"]["passages_kept"]:
            raise InputError(_nothing_kept(names, outcome["counts"], first))
        everything = {**outcome, **made_from}
        if config.hold_out:
            known = resolution.documents.known(config.hold_out)
            everything["held_out"] = {"ids": len(config.hold_out), "found": known}
        write_text(folder / "README.md", render_card(everything))
        data = {path.name: sha256_file(path) for path in folder.glob("*-of-*.parquet")}
        write_json(folder / CROISSANT, croissant(everything, data, PRETTY_NAME))
        return write_manifest(folder, kind=KIND, version=VERSION, **everything)


def _source_facts(inputs: list[Input], extracted: list[Extracted]) -> list[dict[str, Any]]:
    """What the manifest says of each source; its hash is that of its shards' identities."""
    facts, begin = [], 0
    for source in inputs:
        mine = extracted[begin : begin + len(source.shards)]
        begin += len(source.shards)
        files = sum(shard.count for shard in source.shards)
        said: dict[str, Any] = {"name": source.name, "bytes": sum(shard.size for shard in source.shards)}
        if source.folder or files > 1:
            said["files"] = files
        if source.shards[0].files[0].members is not None:  # of an archive: then all have them
            said["members"] = [
                member for shard in source.shards for file in shard.files for member in file.members or ()
            ]
        if source.attribution:
            said["attribution"] = list(source.attribution)
        said["sha256"] = sha256_json([extract.identity for extract in mine])
        facts.append(said | {"extracts": [extract.key for extract in mine]})
    return facts


def _reuse(out: Place, made_from: dict[str, Any], progress: Progress) -> dict[str, Any]:
    manifest = _check_same(out, settings=made_from["settings"], sources=made_from["sources"])
    progress.start("build corpus", None, "articles")
    progress.finish(f"{spelled(out)} holds this corpus already; nothing to do")
    return manifest


def _check_same(out: Place, **made_from: Any) -> dict[str, Any]:
    """The manifest of a finished corpus. Raises ArtifactError where it was made by or from anything else."""
    try:
        manifest = open_corpus(out).manifest
    except ArtifactError as error:
        raise ArtifactError(f"{error}, after removing {spelled(out)}") from None
    if "updates" in manifest:
        raise ArtifactError(
            f"{spelled(out)} holds a corpus that was updated, whose papers keep their splits; "
            "choose another --out or remove it"
        )

    def compared(name: str, facts: Any) -> Any:
        if name != "sources":
            return facts
        return [{key: value for key, value in source.items() if key != "extracts"} for source in facts]

    expected = {"biolm": biolm.__version__, **made_from}
    differing = [
        name for name, facts in expected.items() if compared(name, facts) != compared(name, manifest[name])
    ]
    if differing:
        raise ArtifactError(
            f"{spelled(out)} holds a corpus built with other {' and '.join(differing)}; "
            "choose another --out or remove it"
        )
    return manifest


def _command(names: list[str], config: CorpusConfig) -> str:
    """The command that makes the corpus again, with the settings that are not the defaults."""
    default, words = CorpusConfig().settings(), ["biolm", "corpus", "build", *names]
    settings = config.settings()
    for name, value in settings.items():
        if value == default[name] and name not in ("min_chars", "split", "seed"):
            continue
        if name == "text":
            for option, chosen in value.items():
                if chosen != default["text"][option]:
                    words += [f"--{option.replace('_', '-')}", *([] if chosen is True else [str(chosen)])]
        elif isinstance(value, bool):
            words.append(f"--{'' if value else 'no-'}{name.replace('_', '-')}")
        elif name in ("hold_out", "hold_out_texts"):
            files = ["ids.txt"] if name == "hold_out" else [text.rpartition(" ")[0] for text in value]
            words += [word for file in files for word in (f"--{name.rstrip('s').replace('_', '-')}", file)]
        elif name != "passages_per_file":
            given = ",".join(value) if isinstance(value, list) else "none" if value is None else str(value)
            words += [f"--{name.replace('_', '-')}", given]
    return shlex.join([*words, "--out", "corpus"])


def _nothing_kept(sources: list[str], counts: dict[str, Any], first_failure: str) -> str:
    read = f"{counts['articles_read']:,} articles read, {counts['articles_failed']:,} files unreadable"
    if first_failure:
        read += f": {first_failure.rstrip('.')}"
    dropped: list[tuple[Reason, int]] = sorted(
        ((reason, count) for reason, count in counts["dropped"].items() if count), key=lambda pair: -pair[1]
    )
    if dropped:
        remedy = "dropped " + ", ".join(f"{count:,} {reason}" for reason, count in dropped)
        remedy += "; lower --min-chars" if counts["dropped"]["too_short"] else "; loosen that filter"
    else:
        remedy = "give JATS or PubMed XML, as files, folders or archives"
    return f"no passages kept from {', '.join(sources)} ({read}); {remedy}"
