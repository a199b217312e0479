"""How services are asked, and what comes of it: an answer, or a reason why there is none."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import biolm
from biolm.errors import ConfigError


class Gone(Exception):  # noqa: N818  it is an answer, not an error
    """Nothing lies at the address (404, 410)."""


class Refused(Exception):  # noqa: N818
    """The service answers, and will not give it: another 4xx."""


class Unanswered(Exception):  # noqa: N818
    """No usable answer after all tries; the message says what the last one was."""


class Damaged(Exception):  # noqa: N818
    """What the service gives is not what it says it gives, several times."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpConfig:
    """How services are asked."""

    in_flight: int = 128
    """Requests at the same time."""
    attempts: int = 8
    """Tries of one request."""
    backoff_seconds: float = 0.5
    """Longest pause before the second try; doubled before each further one, and drawn anew between 0 and it."""
    backoff_most_seconds: float = 60.0
    """Where the doubling ends."""
    connect_seconds: float = 15.0
    """Until a connection must be there."""
    silence_seconds: float = 60.0
    """Until the next byte must come."""
    slowest_bytes_per_second: float = 2048.0
    """An answer that takes longer than the silence and its size at this speed is asked for again."""
    contact: str | None = None
    """An address where the services may reach whoever runs this; goes into the User-Agent."""

    def __post_init__(self) -> None:
        if self.in_flight < 1:
            raise ConfigError(f"{self.in_flight} requests in flight are impossible; give 1 or more")
        if self.contact is not None and (not self.contact.isprintable() or len(self.contact) > 200):
            raise ConfigError(
                "--contact must be one line of at most 200 characters, such as an e-mail address"
            )

    @property
    def user_agent(self) -> str:
        """What every request says of who asks."""
        return f"biolm/{biolm.__version__}" + (f" ({self.contact})" if self.contact else "")


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; `headers` by their lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def etag(self) -> str:
        """Without quotes; empty where none is given."""
        return self.headers.get("etag", "").removeprefix("W/").strip('"')


def seconds_of(retry_after: str | None) -> float:
    """The pause that a Retry-After asks for, in seconds; 0 where it is none."""
    if retry_after is None:
        return 0.0
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0
