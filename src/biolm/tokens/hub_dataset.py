"""Data sets at the Hugging Face Hub: `hf://datasets/OWNER/NAME`, with `@REVISION` and `/CONFIG` where wanted."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any
from urllib.parse import unquote

from biolm.errors import InputError
from biolm.hub import CONNECT_SECONDS
from biolm.tokens.data_files import common_format, known_splits, split_in

_ADDRESS = re.compile(
    r"hf://datasets/(?P<repo>[^/@]+/[^/@]+)(?:@(?P<revision>refs/(?:convert|pr)/[^/]+|[^/]+))?(?:/(?P<rest>.+))?"
)
_COMMIT = re.compile("[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class HubAddress:
    """What an address names."""

    repo: str
    """"OWNER/NAME"."""
    revision: str | None
    """Branch, tag or commit; None for the main branch."""
    config: str | None
    """One of its configurations; None where it has one."""

    @property
    def name(self) -> str:
        """The address without revision and configuration."""
        return f"hf://datasets/{self.repo}"

    @property
    def commit(self) -> str | None:
        """Its revision, where that is a commit, which no one can move."""
        return self.revision if self.revision and _COMMIT.fullmatch(self.revision) else None

    def check_online(self) -> None:
        """Raise InputError where the Hub must not be asked (HF_HUB_OFFLINE)."""
        if is_offline():
            raise InputError(
                f"{self.name} lies at the Hub, and HF_HUB_OFFLINE is set; give its token store (`biolm tokenize`), a "
                "folder, or, where its tokens are in the cache folder, @ and the commit that they are of"
            )

    def ask(self) -> "HubAnswer":
        """What the Hub knows of it. Raises InputError where the Hub cannot be asked or has no such data set."""
        import httpx2
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError

        self.check_online()
        try:
            info = HfApi().dataset_info(self.repo, revision=self.revision, timeout=CONNECT_SECONDS)
        except HFValidationError:
            raise InputError(f"{self.name} is no valid name of a data set; check it") from None
        except HfHubHTTPError as error:
            status = error.response.status_code if error.response is not None else None
            if status in (401, 403, 404):
                raise InputError(
                    f"{self.name} is no data set that the Hub shows you (HTTP {status}); check name and revision, or "
                    "log in with `hf auth login`"
                ) from None
            raise InputError(f"{self.name}: the Hub answered HTTP {status}; try again") from None
        except (httpx2.HTTPError, OSError) as error:
            raise InputError(
                f"{self.name}: the Hub cannot be reached ({type(error).__name__}); check the connection, or give a "
                "folder or a token store"
            ) from None
        card = info.card_data
        return HubAnswer(
            str(info.sha),
            frozenset(file.rfilename for file in info.siblings or ()),
            bool(card and card.get("configs")),
        )


@dataclass(frozen=True, slots=True)
class HubAnswer:
    """What the Hub says of a data set."""

    commit: str
    """What its revision is now."""
    files: frozenset[str]
    """Names of all its files."""
    card_has_configs: bool
    """Whether its card says which files are of which split."""


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE was set when the process started."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def parse_address(place: str) -> HubAddress | None:
    """What an address of a data set at the Hub names; None for any other address."""
    found = _ADDRESS.fullmatch(place)
    if found is None:
        return None
    revision = found["revision"]
    return HubAddress(found["repo"], None if revision is None else unquote(revision), found["rest"])


@dataclass(frozen=True, slots=True)
class HubFiles:
    """The files of a data set at one commit."""

    format: str
    """As in `data_files.FORMATS`."""
    splits: Mapping[str, list[str]]
    """Split → addresses of its files."""
    other_splits: tuple[str, ...]
    """Splits that are left out, being neither train nor validation nor test."""


def find_files(address: HubAddress, answer: HubAnswer, library: Any) -> HubFiles:
    """Which files belong to which split, as the datasets library says (by its card, or by their names).

    Raises InputError where it has several configurations, code of its own, or files that are not read.
    """
    try:
        builder = library.load_dataset_builder(address.repo, address.config, revision=answer.commit)
    except RuntimeError as error:
        if "script" not in str(error):
            raise
        raise InputError(
            f"{address.name} is read by code of its own, which biolm never runs; download its files, unpack them and "
            "give their folder, or try @refs/convert/parquet"
        ) from None
    except ValueError as error:
        reason = " ".join(str(error).partition("Example of usage")[0].split())
        raise InputError(f"{address.name}: {reason}; give {address.name}/CONFIG") from None
    listed: dict[str, list[str]] = {}
    for split, files in (builder.config.data_files or {}).items():
        for file in map(str, files):
            word = str(split)
            if word == "test" and not answer.card_has_configs:
                # Going by names, the library takes eval.jsonl for a test split.
                named = split_in(file.rpartition(f"@{answer.commit}/")[2])
                word = "eval" if named is not None and named[1] == "eval" else word
            listed.setdefault(word, []).append(file)
    known, others = known_splits(listed, address.name)
    splits = {split: listed[word] for split, word in known.items()}
    return HubFiles(common_format(chain.from_iterable(splits.values()), address.name), splits, others)
