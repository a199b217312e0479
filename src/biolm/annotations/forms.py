"""Which layout a file or folder is in, and which file of a folder a split is."""

import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from biolm.annotations.files import read_bytes
from biolm.annotations.pubtator import TEXT_LINE
from biolm.annotations.rows import SPANS, WORDS
from biolm.annotations.tables import SAVED, SPLIT_WORDS, chosen_split, same_split, saved_splits
from biolm.errors import InputError

FORMS = {
    "jsonl": "JSON lines of biolm's own: text and mentions",
    "conll": "a word and its tag a line (IOB1, IOB2, IOBES, BILOU or plain types)",
    "pubtator": "PubTator: title, abstract and mentions by their characters",
    "bioc": "BioC, as XML or JSON",
    "brat": "a folder of .txt and .ann",
    "sourcedata": "EMBO SourceData XML",
    "table": "Parquet, JSON or JSON lines of tokens and ner_tags, or of text and spans",
    "datasets": "a folder that the Hugging Face datasets library saved",
}
"""What `read_documents` reads, by name."""
_SUFFIXES = {
    ".parquet": "table",
    **dict.fromkeys((".pubtator",), "pubtator"),
    **dict.fromkeys((".conll", ".iob", ".iob2", ".bio", ".bioes", ".iobes", ".bilou"), "conll"),
}
_TEXTUAL = (".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".xml", *_SUFFIXES)
_KEYS = re.compile(r'"(\w+)"\s*:')
_CONTENT = re.compile(r"[^\s,]")
_HEAD = 1 << 16
_HEAD_OF_JSON = 1 << 22
"""Bytes of JSON that are looked at for its first objects."""
_OBJECTS = 50
"""How many objects of JSON, or JSON lines, tell which keys there are: the first may be without mentions."""


def file_of_split(path: Path, form: str | None, split: str | None) -> Path:
    """The file of a folder that a split is; the path itself where it is no folder of files of splits.

    Raises InputError where there is no such split, or it is not clear which.
    """
    kind = form if form in ("brat", "datasets") else _folder_form(path) if path.is_dir() else "file"
    if kind is not None:
        if split is not None and kind != "datasets":
            raise InputError(f"{path} is one {kind}, so there is no split {split} in it; leave the split out")
        return path
    files = _files_in(path)
    splits = _named_for_splits(files)
    if len(set(splits.values())) != len(splits):
        raise InputError(f"{path} has several files of one split; name one file")
    if not splits and len(files) == 1 and split is None:
        return files[0]
    chosen = chosen_split(list(splits.values()), split, str(path))
    return next(file for file, name in splits.items() if name == chosen)


def splits_in(path: Path) -> tuple[str, ...]:
    """Which of train, validation and test a folder of splits holds; none of what is a single one.

    Raises InputError where it does not exist.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path")
    if not path.is_dir():
        return ()
    words: list[str] = []
    if (path / SAVED[1]).is_file():
        words = saved_splits(path)
    else:
        named = _named_for_splits(_files_in(path))
        if named and _folder_form(path) is None:  # asked second: it looks at all that lies below
            words = list(named.values())
    return tuple(split for split in SPLIT_WORDS if any(same_split(word, split) for word in words))


def _files_in(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.is_file() and plain_suffix(file) in _TEXTUAL)


def _named_for_splits(files: list[Path]) -> dict[Path, str]:
    """The split that each file is named for, where it is: train.tsv, train.conll.gz, train-00000-of-00001.parquet.

    BioBERT's folders hold a train_dev.tsv, of both, beside train.tsv.
    """
    known = "|".join(word for words in SPLIT_WORDS.values() for word in sorted(words, key=len, reverse=True))
    pattern = re.compile(rf"({known})(?:-\d+-of-\d+)?(?:\.\w+)*", re.IGNORECASE)
    named = {file: pattern.fullmatch(file.name) for file in files}
    return {file: match[1].lower() for file, match in named.items() if match}


def _folder_form(folder: Path) -> str | None:
    if any((folder / name).is_file() for name in SAVED):
        return "datasets"
    return "brat" if next(folder.rglob("*.ann"), None) is not None else None


def plain_suffix(path: Path) -> str:
    """A file's ending, in small letters, without that of gzip."""
    return Path(path.name.lower().removesuffix(".gz")).suffix


def form_of(path: Path) -> str:
    """The form of a file or folder, from its name and, where that does not tell, its contents.

    Raises InputError where it is none.
    """
    if path.is_dir():
        found = _folder_form(path)
        if found is None:
            raise InputError(f"{path} holds no annotated data; choose a form: {', '.join(FORMS)}")
        return found
    suffix = plain_suffix(path)
    if suffix == ".parquet":
        return "table"
    if suffix == ".csv":
        raise InputError(
            f"{path}: CSV is not read; give a word and its tag a line, with a tab between (.tsv), or JSON lines"
        )
    data = read_bytes(path).removeprefix(b"\xef\xbb\xbf").lstrip()
    if data.startswith(b"<"):
        return _xml_form(data, path)
    head = data[:_HEAD].decode("utf-8", "replace")
    if TEXT_LINE.fullmatch(head.split("\n", 1)[0]):
        return "pubtator"
    if suffix not in _SUFFIXES and head[:1] in ("{", "["):
        return _json_form(data, head)
    if path.with_suffix(".ann").is_file() and suffix == ".txt":
        raise InputError(f"{path} has an .ann beside it; give the folder {path.parent}")
    return _SUFFIXES.get(suffix, "conll")


def _xml_form(data: bytes, path: Path) -> str:
    if b"<sd-panel" in data:
        return "sourcedata"
    if b"<collection" in data[:_HEAD]:
        return "bioc"
    raise InputError(f"{path} is XML, but neither BioC nor SourceData, so no mentions are in it")


def _json_form(data: bytes, head: str) -> str:
    found = list(islice(_objects(data), _OBJECTS))
    # An object that is too long to be looked at whole begins with the keys that matter.
    keys = {key for each in found for key in each} if found else set(_KEYS.findall(head))
    if keys & {"documents", "PubTator3"}:
        return "bioc"
    of_rows = set(WORDS[:1]) | {"ner_tags"} | set(SPANS[:2])
    return "table" if head[0] == "[" or (keys & of_rows and "mentions" not in keys) else "jsonl"


def _objects(data: bytes) -> Iterator[dict[str, Any]]:
    """The objects that JSON begins with: lines of them, a list, or the list that an object has as its "data"."""
    text = data[:_HEAD_OF_JSON].decode("utf-8", "replace")
    place = 1 if text.startswith("[") else 0
    decoder = json.JSONDecoder()
    while begin := _CONTENT.search(text, place):
        try:
            each, place = decoder.raw_decode(text, begin.start())
        except (ValueError, RecursionError):  # the end, or what the reader will name
            return
        rows = each.get("data") if isinstance(each, dict) and "text" not in each else None
        yield from (row for row in (rows if isinstance(rows, list) else [each]) if isinstance(row, dict))
