"""Token ids in JSON lines, as EMBO/biolang has them: `{"input_ids": [0, …, 2], "special_tokens_mask": [1, …, 1]}`.

They go into the store as they are, without the special tokens at both ends; other keys (`label_ids`) are ignored.
"""

import io
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json
from isal import igzip, isal_zlib
from numpy.typing import NDArray

from biolm.errors import InputError, ModelError
from biolm.progress import Progress
from biolm.tokens.data_files import SPLITS, DataFiles, contents_hash
from biolm.tokens.source import Batch, Origin, TextColumns, flat
from biolm.tokens.tokenizer import Tokenizer

_BLOCK_BYTES = 8 << 20
"""Lines read at once; about 2,000 passages, and 40 MB while they are parsed."""
_LONGEST_LINE = 16 << 20
_PEEK_BYTES = 1 << 20
_SCHEMA = pa.schema({"input_ids": pa.list_(pa.int32()), "special_tokens_mask": pa.list_(pa.int8())})
_AGAIN = "write the file again, or take the line out"


class IdLines:
    """JSON lines of ids as a source; each line is a document of its own."""

    unit = "MB"

    def __init__(self, files: DataFiles, progress: Progress) -> None:
        described = files.described(progress)
        self._files = files
        self.total = sum(path.stat().st_size for paths in files.splits.values() for path in paths) / 1e6
        self.fingerprint = contents_hash(described, kind="ids")
        self._origin = Origin(
            kind="ids", name=files.name, fingerprint=self.fingerprint, sources=described, settings={}
        )

    @property
    def splits(self) -> tuple[str, ...]:
        """Those that have files."""
        return tuple(split for split in SPLITS if split in self._files.splits)

    def facts(
        self, splits: Mapping[str, Mapping[str, int]], left_out: Mapping[str, int]
    ) -> Mapping[str, Any]:
        """`Source.facts`."""
        return self._origin.facts(splits, left_out)

    def batches(self, split: str, tokenizer: Tokenizer) -> Iterator[Batch]:
        """The passages of a split; empty lines, and those of special tokens only, are left out as "empty".

        Raises InputError for a line that is no such record, and ModelError for one of another tokenizer; both name
        file and line.
        """
        for path in self._files.splits[split]:
            for first, lines, amount in _blocks(path):
                full = [line for line in lines if line.strip()]
                passages = _passages_at_once(full, tokenizer)
                if passages is None:
                    passages = flat(list(_passages_one_by_one(path, first, lines, tokenizer)))
                ids, lengths = passages
                kept = lengths[lengths > 0]
                yield Batch(
                    ids=ids,
                    lengths=kept,
                    sections=["text"] * len(kept),
                    documents=None,
                    left_out={"empty": len(lines) - len(kept)},
                    amount=amount,
                )


def holds_ids(path: Path, columns: TextColumns) -> bool:
    """Whether a JSON file is of ids: its first line has `input_ids` and not the column that texts are asked of."""
    with _opened(path) as (file, _):
        head = file.read(_PEEK_BYTES).lstrip().split(b"\n", 1)[0]
    column = json.dumps(columns.text_or_default).encode()
    return bool(re.search(rb'"input_ids"\s*:', head)) and not re.search(re.escape(column) + rb"\s*:", head)


def _blocks(path: Path) -> Iterator[tuple[int, list[bytes], float]]:
    """The lines of a file, some at a time: (number of the first, lines, MB of the file that they took)."""
    number, before = 1, 0
    with _opened(path) as (file, raw):
        while block := file.read(_BLOCK_BYTES):
            if not block.endswith(b"\n"):
                block += file.readline(_LONGEST_LINE)
            lines = block.removesuffix(b"\n").split(b"\n")
            if len(lines[-1]) >= _LONGEST_LINE:
                raise InputError(
                    f"{path}, line {number + len(lines) - 1} is no line of ids: it has no end; {_AGAIN}"
                )
            if number == 1:
                lines[0] = lines[0].removeprefix(b"\xef\xbb\xbf")
            yield number, lines, (raw.tell() - before) / 1e6
            number, before = number + len(lines), raw.tell()


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """A file, unpacked where its name says so, and the file as it lies on disk."""
    try:
        with path.open("rb") as raw:
            if path.suffix.lower() != ".gz":
                yield raw, raw
                return
            with igzip.IGzipFile(fileobj=raw) as file:
                yield file, raw
    except (OSError, EOFError, zlib.error, isal_zlib.error) as error:
        raise InputError(f"{path} cannot be read ({error}); fetch it again") from None


def _passages_at_once(
    lines: list[bytes], tokenizer: Tokenizer
) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """(ids end to end, length of each) without special tokens, or None where not every line is as it must be."""
    if not lines:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    data = b"\n".join(lines)
    try:
        table = pyarrow.json.read_json(
            io.BytesIO(data),
            read_options=pyarrow.json.ReadOptions(block_size=len(data) + 1),
            parse_options=pyarrow.json.ParseOptions(
                explicit_schema=_SCHEMA, unexpected_field_behavior="ignore"
            ),
        ).combine_chunks()
    except pa.ArrowException:
        return None
    columns = [table.column(name).combine_chunks() for name in _SCHEMA.names]
    values = [column.flatten() for column in columns]
    if table.num_rows != len(lines) or any(part.null_count for part in (*columns, *values)):
        return None
    lengths, of_mask = (pc.list_value_length(column).to_numpy().astype(np.int64) for column in columns)
    ids, mask = (part.to_numpy(zero_copy_only=False) for part in values)
    prefix, suffix = tokenizer.vocabulary.prefix, tokenizer.vocabulary.suffix
    if not np.array_equal(lengths, of_mask) or lengths.min() < tokenizer.vocabulary.around:
        return None
    ends = np.cumsum(lengths)
    special = np.zeros(len(ids), np.int8)
    agree = ids.min() >= 0 and ids.max() < tokenizer.vocabulary.size
    for place, token in enumerate(prefix):
        special[ends - lengths + place] = 1
        agree = agree and bool((ids[ends - lengths + place] == token).all())
    for place, token in enumerate(reversed(suffix), 1):
        special[ends - place] = 1
        agree = agree and bool((ids[ends - place] == token).all())
    if not agree or not np.array_equal(special, mask):
        return None
    return ids[special == 0].astype(np.int64), lengths - tokenizer.vocabulary.around


def _passages_one_by_one(
    path: Path, first: int, lines: list[bytes], tokenizer: Tokenizer
) -> Iterator[list[int]]:
    """The ids of each line that is not empty, without special tokens. Raises what `IdLines.batches` says."""
    for number, line in enumerate(lines, first):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            record = json.loads(line)
        except ValueError as error:
            raise InputError(f"{where} is no JSON ({error}); {_AGAIN}") from None
        except RecursionError:
            raise InputError(f"{where} is no line of ids, but JSON of great depth; {_AGAIN}") from None
        if not isinstance(record, dict):
            raise InputError(f"{where} is no JSON object; {_AGAIN}")
        ids, mask = (_integers(record.get(name), name, where) for name in _SCHEMA.names)
        if len(ids) != len(mask):
            raise InputError(
                f"{where} has {len(ids)} input_ids and {len(mask)} special_tokens_mask; {_AGAIN}"
            )
        _check_tokenizer(ids, mask, tokenizer, where)
        prefix, suffix = tokenizer.vocabulary.prefix, tokenizer.vocabulary.suffix
        yield ids[len(prefix) : len(ids) - len(suffix)]


def _integers(value: Any, name: str, where: str) -> list[int]:
    if value is None:
        raise InputError(f"{where} has no {name}; {_AGAIN}")
    if not isinstance(value, list) or any(type(item) is not int for item in value):
        raise InputError(f"{where}: its {name} are no list of whole numbers; {_AGAIN}")
    return value


def _check_tokenizer(ids: list[int], mask: list[int], tokenizer: Tokenizer, where: str) -> None:
    vocabulary = tokenizer.vocabulary
    remedy = "use the model or tokenizer that the ids were made with (roberta-base for EMBO/biolang)"
    if unknown := [token for token in ids if not 0 <= token < vocabulary.size]:
        raise ModelError(
            f"{where} has the id {unknown[0]}, and the tokenizer {tokenizer.name} has {vocabulary.size:,}; {remedy}"
        )
    prefix, suffix = list(vocabulary.prefix), list(vocabulary.suffix)
    begin, end = ids[: len(prefix)], ids[len(ids) - len(suffix) :]
    if len(ids) < vocabulary.around or begin != prefix or end != suffix:
        raise ModelError(
            f"{where} begins with {begin} and ends with {end}, where the tokenizer {tokenizer.name} has {prefix} and "
            f"{suffix}; {remedy}"
        )
    inner = len(ids) - vocabulary.around
    if mask != [1] * len(prefix) + [0] * inner + [1] * len(suffix):
        raise InputError(
            f"{where}: its special_tokens_mask is not 1 at both ends and 0 between them; {_AGAIN}"
        )
