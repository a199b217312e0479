"""What a long tagging has done so far, beside the file it will become, so that a stopped one goes on."""

import hashlib
import json
import logging
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from biolm.annotations.json_lines import document_of_json, json_of
from biolm.artifacts import clear_leftovers_of, exclusive, sha256_file, writing
from biolm.errors import ArtifactError, ConfigError, InputError
from biolm.mentions import Document
from biolm.tagging.chain import AT_ONCE, Chain
from biolm.tagging.tagger import Tagger

logger = logging.getLogger(__name__)
_VERSION = 1
_FILES = ("config.json", "tagger.json", "tokenizer.json", "model.safetensors", "crf.safetensors")


def tagger_identity(tagger: Tagger) -> dict[str, str]:
    """What mentions follow from: hashes of the files of a tagger from a folder, and the precision it computes in."""
    assert tagger.folder is not None
    files = {name: sha256_file(tagger.folder / name) for name in _FILES if (tagger.folder / name).is_file()}
    return {**files, "precision": tagger.precision}


class Journal:
    """The file `.OUT.unfinished`: a line that says which taggers, then {"given": hash, "found": document} a line."""

    def __init__(self, file: IO[bytes], path: Path, done: int) -> None:
        """From `open_journal`. `file` stands behind its first line."""
        self._file, self._path = file, path
        self.done = done
        """Documents in it."""

    def tag(self, together: Chain, documents: Iterable[Document]) -> Iterator[Document]:
        """What `together.tag(documents)` gives, the documents that are done already from the file.

        Raises ConfigError where these are not the ones that were tagged.
        """
        waiting = iter(documents)
        for number in range(1, self.done + 1):
            kept, of = self._read(number)
            given = next(waiting, None)
            if given is None or _hash(given) != of:
                now = "is missing" if given is None else f"is {given.id}"
                if given is not None and given.id == kept.id:
                    now = "has changed"
                raise ConfigError(
                    f"document {number} of the input, {kept.id} when it was tagged, {now}; give the same input, "
                    f"or delete {self._path} to start anew"
                )
            yield kept
        hashes: deque[str] = deque()

        def passing() -> Iterator[Document]:
            for document in waiting:
                hashes.append(_hash(document))
                yield document

        for document in together.tag(passing()):
            line = json.dumps({"given": hashes.popleft(), "found": json_of(document)})
            with writing(self._path):
                self._file.write(line.encode() + b"\n")
                self._file.flush()
            self.done += 1
            yield document

    def _read(self, number: int) -> tuple[Document, str]:
        try:
            line = json.loads(self._file.readline())
            return document_of_json(line["found"], "", where=str(self._path)), line["given"]
        except (ValueError, KeyError, TypeError, InputError):
            raise ConfigError(
                f"{self._path} is damaged at document {number}; delete it to start anew"
            ) from None


def _hash(document: Document) -> str:
    return hashlib.sha256(json.dumps(json_of(document)).encode()).hexdigest()


@contextmanager
def open_journal(out: Path, taggers: Sequence[Mapping[str, str]], *, resume: bool) -> Iterator[Journal]:
    """The journal of what becomes `out`; gone on a clean exit, else left if it holds anything of use.

    Whole blocks of documents are gone on with, so that they are tagged beside the same neighbours as they would have
    been: a resumed result is the same, byte for byte. Raises ConfigError where there is one and `resume` is not asked
    for, or where it is of other taggers; ArtifactError where it cannot be written or another process writes it.
    """
    path = out.with_name(f".{out.name}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise ArtifactError(f"{out} cannot be written: {error.strerror}; choose another place") from None
    with exclusive(path, what=out), _opened(path) as file:
        clear_leftovers_of(out)
        header = json.dumps({"version": _VERSION, "taggers": taggers}, sort_keys=True).encode() + b"\n"
        first, done = file.readline(), 0
        if first.endswith(b"\n"):
            done, end = _whole_blocks(file)
            if done:
                _check(path, done, same=first == header, resume=resume)
        if done:
            file.truncate(end)
            file.seek(len(first))
        else:
            with writing(path):
                file.seek(0)
                file.truncate()
                file.write(header)
        journal = Journal(file, path, done)
        try:
            yield journal
        except BaseException:
            if journal.done < AT_ONCE:
                path.unlink()
            elif journal.done > done:
                logger.warning(
                    "stopped after %s documents; the same command with --resume goes on behind them",
                    f"{journal.done // AT_ONCE * AT_ONCE:,}",
                )
            raise
        path.unlink()


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """A file to read and write. What a full disk refuses when it is closed was told when it was written."""
    file = path.open("r+b")
    try:
        yield file
    finally:
        with suppress(OSError):
            file.close()


def _check(path: Path, done: int, *, same: bool, resume: bool) -> None:
    if not resume:
        raise ConfigError(
            f"an earlier call was stopped after {done:,} documents; give --resume to go on behind them, "
            f"or delete {path} to start anew"
        )
    if not same:
        raise ConfigError(
            f"the {done:,} documents in {path} were tagged by other models or in another precision; give those, or "
            "delete it to start anew"
        )


def _whole_blocks(file: IO[bytes]) -> tuple[int, int]:
    """(documents, where they end) of the whole blocks behind the file's position."""
    count = done = 0
    at = end = file.tell()
    while (line := file.readline()).endswith(b"\n"):
        count, at = count + 1, at + len(line)
        if count % AT_ONCE == 0:
            done, end = count, at
    return done, end
