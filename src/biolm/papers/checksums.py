"""MD5s, as the services state them: against accidents, not against anybody."""

import hashlib
from pathlib import Path
from typing import Any


def md5_of(data: Any) -> str:
    """Hex MD5 of some bytes."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def md5_of_file(path: Path) -> str:
    """Hex MD5 of a file, read piece by piece."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
