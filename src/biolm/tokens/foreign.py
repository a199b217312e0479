"""What a user gave as a corpus: one of biolm's, or texts or token ids that others wrote."""

import json
import os
from pathlib import Path

from biolm.artifacts import MANIFEST
from biolm.corpus.places import Place, place_of
from biolm.corpus.reader import open_corpus
from biolm.errors import ConfigError, InputError
from biolm.progress import Progress
from biolm.sources.files import PAPER_ENDINGS, TAR_ENDINGS, ZIP_ENDINGS
from biolm.tokens.data_files import FORMATS, find_data_files
from biolm.tokens.hub_dataset import is_offline, parse_address
from biolm.tokens.source import CorpusSource, Source, TextColumns

SAVED = ("dataset_dict.json", "state.json")
"""One of these lies in a folder that `save_to_disk` of the datasets library wrote."""
_WEIGHTS = (".safetensors", ".onnx", "pytorch_model.bin")
_BUILD = "`biolm corpus build {} --out corpus`"
_GIVE = (
    f"give a corpus, or texts or token ids ({', '.join(FORMATS)}); "
    + _BUILD.format("PAPERS")
    + " makes a corpus"
)


def open_source(data: str | Path, columns: TextColumns, progress: Progress) -> Source:
    """A corpus here or at an address; a file or folder of EMBO/biolang's JSON lines, or of Parquet, JSON or CSV with a
    column of texts; what `save_to_disk` wrote; a data set at the Hub ("hf://datasets/OWNER/NAME@REVISION/CONFIG").

    Raises ArtifactError, InputError or ConfigError, saying what it is and what to do, for anything else.
    """
    place = place_of(data)
    if isinstance(place, str):
        return _at_address(place, columns)
    if (place / MANIFEST).is_file():
        return _corpus(place, columns)
    if any((place / name).is_file() for name in SAVED):
        from biolm.tokens.hf_dataset import texts_saved

        return texts_saved(place, columns, progress)
    if (what := _no_data(place)) is not None:
        raise InputError(f"{place} {what}")
    files = find_data_files(place)
    if files is None:
        raise InputError(f"{place} {_nothing_read(place)}")
    if files.format == "json":
        from biolm.tokens.biolang import IdLines, holds_ids

        if holds_ids(next(iter(files.splits.values()))[0], columns):
            if columns.named:
                raise ConfigError(
                    f"{place} holds token ids, which have no columns; leave the column options out"
                )
            return IdLines(files, progress)
    from biolm.tokens.hf_dataset import texts_of_files

    return texts_of_files(files, columns, progress)


def _at_address(place: str, columns: TextColumns) -> Source:
    address = parse_address(place)
    if address is None:
        return _corpus(place, columns)
    from biolm.tokens.hf_dataset import texts_at_hub

    if address.commit is not None and is_offline():
        return texts_at_hub(address, address.commit, None, columns)
    answer = address.ask()
    if f"{address.config or ''}/{MANIFEST}".lstrip("/") in answer.files:
        return _corpus(place, columns)
    return texts_at_hub(address, answer.commit, answer, columns)


def _corpus(place: Place, columns: TextColumns) -> CorpusSource:
    corpus = open_corpus(place)
    if columns.named:
        raise ConfigError(
            "a corpus of biolm's has its own columns; leave --text-column and --document-column out"
        )
    return CorpusSource(corpus)


def _no_data(place: Path) -> str | None:
    """What a place is that has files which might be taken for data, and what to do; None where it is none of that."""
    if not place.exists():
        return f"does not exist; {_GIVE}"
    if place.is_file():
        if place.name.lower().endswith(PAPER_ENDINGS):
            return f"holds papers, not a corpus; build one first, with {_BUILD.format(place)}"
        return None
    try:
        config = json.loads((place / "config.json").read_bytes())
    except (OSError, ValueError):
        config = None
    if isinstance(config, dict) and config.get("kind") == "run":
        return f"is a run of biolm's, whose model is {place / 'model'}; {_GIVE}"
    if (
        (isinstance(config, dict) and "model_type" in config)
        or (place / "tokenizer_config.json").is_file()
        or any(path.name.endswith(_WEIGHTS) for path in place.iterdir())
    ):
        return f"is a model or tokenizer, no data; {_GIVE}"
    if _holds(place, PAPER_ENDINGS):
        return f"holds papers, not a corpus; build one first, with {_BUILD.format(place)}"
    return None


def _nothing_read(place: Path) -> str:
    """What a place without a file of data is, and what to do."""
    if place.is_file():
        if place.name.lower().endswith((*TAR_ENDINGS, *ZIP_ENDINGS)):
            build = _BUILD.format(place)
            return f"is an archive; unpack it if it holds texts, or build a corpus of its papers with {build}"
        return f"is neither a corpus nor a file of texts or token ids; {_GIVE}"
    if _holds(place, (*TAR_ENDINGS, *ZIP_ENDINGS)):
        return (
            "holds archives; unpack them if they hold texts, or build a corpus of their papers with "
            f"{_BUILD.format(place)}"
        )
    if not any(place.iterdir()):
        return f"is an empty folder; {_GIVE}"
    return f"holds neither a corpus nor files of texts or token ids; {_GIVE}"


def _holds(folder: Path, endings: tuple[str, ...]) -> bool:
    return any(name.lower().endswith(endings) for _, _, names in os.walk(folder) for name in names)
