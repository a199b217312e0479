"""A corpus built on a Ray cluster of two nodes, one of which is killed on the way, is the corpus of one process."""

import multiprocessing
import sys
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

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


def on_a_cluster(work: Callable[..., None], *args: Any) -> None:
    """Run a test's work in a process of its own, on a cluster of two nodes; raise what it raised.

    Ray ends the process that drives a cluster, with status 1 and no word, when a node or the cluster's own
    service is gone at the wrong moment: that must not be the process that runs all tests.
    """
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    child = context.Process(target=_drive, args=(send, work, *args))
    child.start()
    send.close()
    try:
        trouble = receive.recv()
    except EOFError:
        child.join()
        trouble = f"Ray ended the process that drives it: status {child.exitcode}"
    child.join(60)  # what becomes of it from here on is no longer about biolm
    if child.is_alive():
        child.kill()
    assert trouble is None, trouble


def _drive(send: Connection, work: Callable[..., None], *args: Any) -> None:
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.victim = made.add_node(num_cpus=1)
    ray.init(address=made.address, log_to_driver=False)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the nodes cannot import a test
    try:
        work(made, *args)
        send.send(None)
    except BaseException:
        send.send(traceback.format_exc())
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


def test_a_node_that_is_lost_changes_no_byte(tmp_path: Path):
    on_a_cluster(lose_a_node, tmp_path)


def test_wrong_input_on_a_node_is_the_same_one_line(tmp_path: Path):
    on_a_cluster(read_what_is_no_xml, tmp_path)


def lose_a_node(cluster, tmp_path: Path) -> None:
    papers = write_papers(tmp_path / "papers", 2500)
    write_pubmed(papers / "pubmed20n0001.xml", range(1, 300))
    alone = Running(workers=1, work=str(tmp_path / "alone"))
    build_corpus([papers], tmp_path / "expected", CONFIG, Silent(), alone)
    log = tmp_path / "log"
    log.mkdir()
    whole = ray_engine.on_ray
    ray_engine.on_ray = lambda work, items, order: whole(SlowShard(work, log, 1.0), items, order)
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


def read_what_is_no_xml(cluster, tmp_path: Path) -> None:
    (tmp_path / "bad.xml").write_text("no XML")
    running = Running(engine="ray", work=str(tmp_path / "work"))
    with pytest.raises(InputError, match=r"bad.xml: not XML"):
        build_corpus([tmp_path / "bad.xml"], tmp_path / "corpus", CONFIG, Silent(), running)
