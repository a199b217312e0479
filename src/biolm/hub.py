"""Models and tokenizers by name: a local folder, or a repository of the Hugging Face Hub.

Only safetensors, JSON and vocabulary files are ever fetched: nothing that could run code.
"""

import json
from pathlib import Path
from typing import Any

from biolm.errors import ModelError

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
)
WEIGHT_FILES = ("config.json", "manifest.json", "model.safetensors", "model-*.safetensors", "*.index.json")
CONNECT_SECONDS = 10.0
"""How long an unreachable Hub may keep us waiting."""


def resolve_folder(name: str, *, weights: bool) -> Path:
    """The local folder of a model or tokenizer given by folder or Hub name.

    A name is fetched into the Hub's own cache (`weights` or the tokenizer's files alone); without a
    reachable Hub the cached copy serves. Raises ModelError at once when there is neither.
    """
    folder = Path(name).expanduser()
    if name.strip() and folder.is_dir():
        return folder
    if folder.is_file():
        raise ModelError(f"{name} is a file; give the folder that holds the model")
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or not name.strip():
        raise ModelError(f"no model folder at {name}; check the path")
    return _fetch(name, [*TOKENIZER_FILES, "config.json", *(WEIGHT_FILES if weights else ())])


def _fetch(name: str, patterns: list[str]) -> Path:
    import httpx2
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    reachable, why = True, ""
    if constants.HF_HUB_OFFLINE:
        reachable, why = False, "HF_HUB_OFFLINE is set"
    else:
        try:
            HfApi().model_info(name, timeout=CONNECT_SECONDS)
        except HFValidationError:
            raise ModelError(f"{name} is neither a folder here nor a valid model name") from None
        except HfHubHTTPError as error:
            status = error.response.status_code if error.response is not None else None
            if status in (401, 403, 404):
                raise ModelError(
                    f"{name} is neither a folder here nor a model that the Hub shows you (HTTP {status}); "
                    "check the name, or log in with `hf auth login`"
                ) from None
            reachable, why = False, f"the Hub answered HTTP {status}"
        except (httpx2.HTTPError, OSError) as error:
            reachable, why = False, f"the Hub cannot be reached ({type(error).__name__})"
    try:
        return Path(snapshot_download(name, allow_patterns=patterns, local_files_only=not reachable))
    except (LocalEntryNotFoundError, FileNotFoundError):
        raise ModelError(
            f"{name} is neither a folder here nor in the Hub's cache, and {why}; give a local folder"
        ) from None
    except HFValidationError:
        raise ModelError(f"{name} is neither a folder here nor a valid model name") from None
    except (HfHubHTTPError, httpx2.HTTPError, OSError) as error:
        raise ModelError(f"fetching {name} from the Hub failed: {error}; try again") from None


def read_config(folder: Path) -> dict[str, Any]:
    """The `config.json` of a model folder. Raises ModelError where it has none that can be read."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{folder} has no config.json, so it is no Hugging Face model folder") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from None
    if not isinstance(config, dict):
        raise ModelError(f"{path} is not a JSON object")
    return config
