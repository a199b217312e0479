"""A corpus built on a Ray cluster of two nodes, one of which is killed on the way, is the corpus of one process."""

import sys
import threading
import time
from pathlib import Path

import pytest
from corpus_papers import write_pubmed

from biolm.corpus import ray_engine
from biolm.corpus.build import Running, build_corpus
from biolm.corpus.config import CorpusConfig
from biolm.corpus.split import parse_shares
from biolm.errors import InputError
from biolm.progress import Silent
from conftest import folder_bytes, write_papers

ray = pytest.importorskip("ray", reason="Ray is not installed (extra cluster)")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # Ray's own
]
CONFIG = CorpusConfig(shares=parse_shares("8/1/1"))


@pytest.fixture
def cluster():
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.victim = made.add_node(num_cpus=1)
    ray.init(address=made.address, log_to_driver=False)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the nodes cannot import a test
    yield made
    ray.shutdown()
    made.shutdown()


class SlowShard:
    """The real function, that says where it begins and leaves time to be killed."""

    def __init__(self, work, log: Path, seconds: float) -> None:
        self.work, self.log, self.seconds = work, log, seconds

    def __call__(self, shard, tick):
        name = shard.files[0].name.replace("/", "_")
        (self.log / f"{name}-{time.time_ns()}").write_text(ray.get_runtime_context().get_node_id())
        time.sleep(self.seconds)
        return self.work(shard, tick)


def test_a_node_that_is_lost_changes_no_byte(cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    papers = write_papers(tmp_path / "papers", 2500)
    write_pubmed(papers / "pubmed20n0001.xml", range(1, 300))
    alone = Running(workers=1, work=str(tmp_path / "alone"))
    build_corpus([papers], tmp_path / "expected", CONFIG, Silent(), alone)
    log = tmp_path / "log"
    log.mkdir()
    whole = ray_engine.on_ray
    monkeypatch.setattr(
        ray_engine, "on_ray", lambda work, items, order: whole(SlowShard(work, log, 1.0), items, order)
    )
    lost: list[str] = []

    def kill_a_node() -> None:
        victim = cluster.victim.unique_id
        while not any(path.read_text() for path in log.iterdir()):
            time.sleep(0.05)
        for _ in range(200):
            if mine := [path for path in log.iterdir() if path.read_text() != head]:
                cluster.remove_node(cluster.victim, allow_graceful=False)
                lost.extend(path.name for path in mine)
                return
            time.sleep(0.05)
        lost.append(f"nothing ran on {victim}")

    head = ray.get_runtime_context().get_node_id()
    killer = threading.Thread(target=kill_a_node)
    killer.start()
    running = Running(engine="ray", work=str(tmp_path / "shared"))
    build_corpus([papers], tmp_path / "corpus", CONFIG, Silent(), running)
    killer.join()
    begun = [path.name.rpartition("-")[0] for path in log.iterdir()]
    assert len(begun) > len(set(begun)), "the lost node's shard was begun again"
    assert lost
    assert not lost[0].startswith("nothing")
    assert folder_bytes(tmp_path / "corpus") == folder_bytes(tmp_path / "expected")


def test_wrong_input_on_a_node_is_the_same_one_line(cluster, tmp_path: Path):
    (tmp_path / "bad.xml").write_text("no XML")
    running = Running(engine="ray", work=str(tmp_path / "work"))
    with pytest.raises(InputError, match=r"bad.xml: not XML"):
        build_corpus([tmp_path / "bad.xml"], tmp_path / "corpus", CONFIG, Silent(), running)
