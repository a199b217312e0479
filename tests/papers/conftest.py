"""A served replica of PMC with 40 invented articles.

Every test here gets an environment of its own: BIOLM_CACHE lies in its tmp_path, so that no test is served from the
inventories and metadata of another; proxies, NCBI_API_KEY and BIOLM_CONTACT are unset. This folder is a package only
so that this file does not take the name of tests/conftest.py.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from pmc import DAY
from replica import Replica, invented_article, serving

ARTICLES = 40


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the docstring of this file says."""
    monkeypatch.setenv("BIOLM_CACHE", str(tmp_path / "cache"))
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("NCBI_API_KEY", "BIOLM_CONTACT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def replica() -> Replica:
    """PMC1.1 to PMC40.1 under CC BY, with an inventory of DAY."""
    made = Replica()
    for number in range(1, ARTICLES + 1):
        made.put_article(f"PMC{number}.1", invented_article(number, paragraphs=1))
    made.take_inventory(DAY)
    return made


@pytest.fixture
def url(replica: Replica) -> Iterator[str]:
    """Where the replica is served."""
    with serving(replica) as place:
        yield place
