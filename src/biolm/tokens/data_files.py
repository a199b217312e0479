"""Files of texts or ids that others wrote: which ones a folder holds, and which split each is of."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from biolm.artifacts import sha256_file, sha256_json
from biolm.errors import InputError
from biolm.progress import Progress

SPLITS = ("train", "validation", "test")
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "eval"), "validation"),
    "test": "test",
}
"""What others call the splits. `eval` is EMBO/biolang's; the datasets library would take it for a test split."""
FORMATS = {
    ".parquet": "parquet",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
}
_NO_DATA = frozenset(
    {
        *("README.json", "config.json", "croissant.json", "dataset_dict.json"),
        *("dataset_info.json", "dataset_infos.json", "state.json"),
    }
)
"""Files that say something of a data set and hold none of it."""


@dataclass(frozen=True, slots=True)
class DataFiles:
    """The files of a data set here or at the Hub."""

    name: str
    """Of the file or folder."""
    format: str
    """Among the values of `FORMATS`."""
    splits: Mapping[str, tuple[Path, ...]]
    """Split → its files, in order."""

    def described(self, progress: Progress) -> list[dict[str, Any]]:
        """For each file its `split`, `name`, `bytes` and `sha256`. Reads all of them."""
        files = [(split, path) for split in self.splits for path in self.splits[split]]
        sizes = [path.stat().st_size for _, path in files]
        progress.start("checksum", sum(sizes) / 1e6, "MB")
        described: list[dict[str, Any]] = []
        for done, ((split, path), size) in enumerate(zip(files, sizes, strict=True), 1):
            described.append({"split": split, "name": path.name, "bytes": size, "sha256": sha256_file(path)})
            progress.update(sum(sizes[:done]) / 1e6)
        progress.finish(f"{len(files):,} file{'s' * (len(files) > 1)}, {sum(sizes) / 1e6:,.1f} MB")
        return described


def contents_hash(described: Iterable[Mapping[str, Any]], **settings: Any) -> str:
    """A fingerprint of files' contents in their splits, whatever they are called, and of how they are read."""
    return sha256_json({"files": [[file["split"], file["sha256"]] for file in described], **settings})


def find_data_files(place: Path) -> DataFiles | None:
    """The data that a file or folder holds; None where there is none.

    Raises InputError where files are of several formats, or it is not clear which split they are of.
    """
    name = place.resolve().name
    if place.is_file():
        found = format_of(place.name)
        if found is None:
            return None
        named = split_in(place.name)
        return DataFiles(name, found, {named[0] if named else "train": (place,)})
    names = _data_names(place)
    if not names:
        return None
    grouped = by_split(names, str(place))
    return DataFiles(
        name,
        common_format(names, str(place)),
        {split: tuple(place / file for file in files) for split, files in grouped.items()},
    )


def format_of(name: str) -> str | None:
    """The format that a file's name ends in, packed or not; None where it is no data."""
    path = PurePosixPath(name.lower())
    packed = path.suffix == ".gz"
    found = FORMATS.get(path.with_suffix("").suffix if packed else path.suffix)
    return None if packed and found == "parquet" else found


def common_format(names: Iterable[str], where: str) -> str:
    """The format that all files have. Raises InputError where there are several, or one that is not read."""
    formats = {name: format_of(name) for name in names}
    if unread := [name for name, found in formats.items() if found is None]:
        raise InputError(
            f"{where}: {unread[0]} is not read; give Parquet, JSON or CSV ({', '.join(FORMATS)})"
        )
    several = sorted({str(found) for found in formats.values()})
    if len(several) > 1:
        raise InputError(f"{where} holds files of several formats ({', '.join(several)}); give those of one")
    return several[0]


def by_split(names: Iterable[str], where: str) -> dict[str, list[str]]:
    """Split → the files whose names, or folders, say that they are of it; all are of train where none says so.

    Raises InputError where only some say so, or where they are of several data sets.
    """
    found = {name: split_in(name) for name in sorted(names)}
    named = {name: place for name, place in found.items() if place is not None}
    if not named:
        return {"train": list(found)}
    if silent := [name for name in found if name not in named]:
        raise InputError(
            f"{where}: the name of {silent[0]} says of no split ({', '.join(SPLITS)}) that it is of it, "
            "as others do; rename it or leave it out"
        )
    if len(bases := sorted({base for _, _, base in named.values()})) > 1:
        raise InputError(
            f"{where} holds several data sets ({', '.join(base or '.' for base in bases[:5])}); give one of them"
        )
    known, _ = known_splits((word for _, word, _ in named.values()), where)
    return {split: [name for name, (of, _, _) in named.items() if of == split] for split in known}


def known_splits(words: Iterable[str], where: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """(split → what it is called here, what is none of the three splits).

    Raises InputError where a split goes by two names ("dev" and "validation": which is meant?), or there is none.
    """
    known: dict[str, str] = {}
    others = []
    for word in dict.fromkeys(words):
        split = SPLIT_WORDS.get(word)
        if split is None:
            others.append(word)
        elif split in known:
            raise InputError(f"{where} has {known[split]} and {word}, which both mean {split}; leave one out")
        else:
            known[split] = word
    if not known:
        raise InputError(f"{where} has no split {', '.join(SPLITS)} (it has {', '.join(others)}); rename one")
    return {split: known[split] for split in SPLITS if split in known}, tuple(others)


def split_in(name: str) -> tuple[str, str, str] | None:
    """What the name of a file says of its split: (split, the word for it, the folder that the word stands in).

    The file's own name goes before its folders'. Raises InputError for a name such as "train-test.csv".
    """
    parts = PurePosixPath(name).parts
    for place in reversed(range(len(parts))):
        words = [word for word in re.split("[^a-z]+", parts[place].lower()) if word in SPLIT_WORDS]
        splits = {SPLIT_WORDS[word] for word in words}
        if len(splits) > 1:
            raise InputError(f"{name} names several splits ({', '.join(words)}); rename it")
        if words:
            return SPLIT_WORDS[words[0]], words[0], "/".join(parts[:place])
    return None


def _data_names(folder: Path) -> list[str]:
    names = []
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "_")))
        names += [
            (Path(root) / name).relative_to(folder).as_posix()
            for name in files
            if not name.startswith((".", "_")) and name not in _NO_DATA and format_of(name)
        ]
    return names
