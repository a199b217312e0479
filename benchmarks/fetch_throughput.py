"""Articles per second from a server on loopback that is laid out as the PMC Cloud Service: biolm's fetch and its peers.

Arms, alternating, each in a fresh process, with 1, 16, 64 and 256 requests in flight:

  biolm     `biolm papers fetch`: inventory, each article's metadata, the XML that they name, its MD5, the store
  boto3     threads over one client: the same two requests an article, the second by the first, the MD5, two files
  s5cmd     a list of copies for its workers: the same two objects an article, known beforehand, two files, no MD5

The server (tests/papers/replica.py) is a process of its own and answers after --latency-ms, the same for all arms; it
takes its share of the machine, as no distant server would. Articles are those of --papers with other ids (without it,
invented ones of 110 kB, which pack better than real ones do). What is timed is the whole command, start included;
articles a cell are chosen so that a cell ends in seconds. CPU and memory are the client's. Ratios are medians of
rounds at the same number in flight. Cells are kept, and an interrupted run goes on.

    python benchmarks/fetch_throughput.py [--rounds 3] [--papers FOLDER] [--latency-ms 30] [--save]
"""

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness import cell, finish, median

NAME = "fetch_throughput"
ARTICLES = {1: 150, 16: 1500, 64: 3000, 256: 3000}
"""Articles of a cell by requests in flight."""
ARMS = ("biolm", "boto3", "s5cmd")
ALL_OF_PMC = 8_000_000
MEAN_BYTES = 110_000
REPLICA = Path(__file__).parents[1] / "tests" / "papers"


def serve(papers: str | None, latency_ms: float) -> None:
    """The server's process: says its address, then answers until it is killed."""
    sys.path.insert(0, str(REPLICA))
    from replica import Replica, invented_article, serving

    replica = Replica(keep_log=False)
    replica.faults.latency_seconds = latency_ms / 1000
    real = [path.read_bytes() for path in sorted(Path(papers).glob("*.xml"))] if papers else []
    sizes = random.Random(0)  # noqa: S311  sizes of invented papers
    for pmcid in range(1, max(ARTICLES.values()) + 1):
        if real:
            xml = real[pmcid % len(real)]
        else:
            xml = invented_article(pmcid, paragraphs=round(MEAN_BYTES * sizes.uniform(0.5, 1.5) / 640))
        replica.put_article(f"PMC{pmcid}.1", xml, pmid=pmcid, doi=f"10.1/{pmcid}")
    replica.take_inventory("2026-11-25")
    with serving(replica) as url:
        print(url, flush=True)
        threading.Event().wait()


@contextmanager
def server(papers: str | None, latency_ms: float) -> Iterator[str]:
    """The address of such a process."""
    command = [sys.executable, __file__, "--serve", "--latency-ms", str(latency_ms)]
    command += ["--papers", papers] if papers else []
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def command_of(arm: str, url: str, count: int, in_flight: int, folder: Path) -> list[str]:
    """The arm's whole command."""
    if arm == "biolm":
        words = [
            "papers",
            "fetch",
            "--quiet",
            "--out",
            str(folder / "store"),
            "--endpoint",
            f"{url}/pmc-oa-opendata",
        ]
        words += ["--pmcids", f"PMC1-PMC{count}", "--in-flight", str(in_flight)]
        return [sys.executable, "-m", "biolm", *words]
    if arm == "boto3":
        return [sys.executable, __file__, "--boto3", url, str(count), str(in_flight), str(folder)]
    copies = folder / "copies.txt"
    keys = [
        key
        for pmcid in range(1, count + 1)
        for key in (f"metadata/PMC{pmcid}.1.json", f"PMC{pmcid}.1/PMC{pmcid}.1.xml")
    ]
    copies.write_text("".join(f"cp s3://pmc-oa-opendata/{key} {folder}/{Path(key).name}\n" for key in keys))
    s5cmd = str(Path(sys.executable).with_name("s5cmd"))
    return [
        s5cmd,
        "--no-sign-request",
        "--endpoint-url",
        url,
        "--numworkers",
        str(in_flight),
        "run",
        str(copies),
    ]


def with_boto3(url: str, count: int, in_flight: int, folder: Path) -> None:
    """What one writes with boto3: an article's metadata, then the XML that they name, checked, into two files."""
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config

    config = Config(
        signature_version=UNSIGNED, max_pool_connections=in_flight, s3={"addressing_style": "path"}
    )
    client = boto3.client("s3", endpoint_url=url, region_name="us-east-1", config=config)
    bucket = "pmc-oa-opendata"

    def fetch(name: str) -> None:
        metadata = client.get_object(Bucket=bucket, Key=f"metadata/{name}.json")["Body"].read()
        address, _, md5 = json.loads(metadata)["xml_url"].partition("?md5=")
        xml = client.get_object(Bucket=bucket, Key=address.removeprefix(f"s3://{bucket}/"))["Body"].read()
        if hashlib.md5(xml, usedforsecurity=False).hexdigest() != md5:
            raise RuntimeError(f"{name}: wrong MD5")
        (folder / f"{name}.json").write_bytes(metadata)
        (folder / f"{name}.xml").write_bytes(xml)

    with ThreadPoolExecutor(in_flight) as pool:
        list(pool.map(fetch, (f"PMC{pmcid}.1" for pmcid in range(1, count + 1))))


def measure(arm: str, url: str, count: int, in_flight: int) -> dict[str, float]:
    """One run of an arm: articles a second, CPU seconds an article, peak memory, and that all is there."""
    folder = Path(tempfile.mkdtemp(prefix="fetch-"))
    try:
        command = command_of(arm, url, count, in_flight, folder)
        environment = {
            **os.environ,
            "BIOLM_CACHE": str(folder / "cache"),
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.monotonic()
        with (folder / "output").open("w") as output:
            process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
            peak = 0
            while process.poll() is None:
                peak = max(peak, _resident(process.pid))
                time.sleep(0.02)
        seconds = time.monotonic() - started
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if process.returncode:
            raise SystemExit(f"{arm} failed: {(folder / 'output').read_text()[-2000:]}")
        brought = _brought(arm, folder)
        if brought != count:
            raise SystemExit(f"{arm} brought {brought} of {count} articles")
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        disk = sum(path.stat().st_size for path in (folder / "store").rglob("*") if path.is_file())
        return {
            "articles_per_second": count / seconds,
            "cpu_ms_per_article": 1000 * cpu / count,
            "peak_mib": peak / 1024,
            "disk_bytes_per_article": disk / count,
        }
    finally:
        shutil.rmtree(folder)


def _brought(arm: str, folder: Path) -> int:
    if arm != "biolm":
        return len(list(folder.glob("*.xml")))
    from biolm.papers.store import open_store

    return int(open_store(folder / "store").index().num_rows)


def _resident(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return int((status.partition("VmRSS:")[2].split() or ["0"])[0])


def main() -> None:
    """Run the grid, print the table and the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--papers", help="folder of JATS articles")
    parser.add_argument("--latency-ms", type=float, default=30.0)
    parser.add_argument("--save", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--boto3", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.papers, options.latency_ms)
        return
    if options.boto3:
        url, count, in_flight, folder = options.boto3
        with_boto3(url, int(count), int(in_flight), Path(folder))
        return
    results: dict[str, list[dict[str, float]]] = {}
    with server(options.papers, options.latency_ms) as url:
        for number in range(options.rounds):
            for in_flight, count in ARTICLES.items():
                for arm in ARMS:
                    settings = {"arm": arm, "in_flight": in_flight, "articles": count, "round": number}
                    settings |= {"latency_ms": options.latency_ms, "papers": bool(options.papers)}
                    name = f"{arm}-{in_flight}-{number}"
                    found = cell(NAME, name, settings, lambda: measure(arm, url, count, in_flight))  # noqa: B023
                    results.setdefault(f"{arm}-{in_flight}", []).append(found)
                    print(f"{name}: {found['articles_per_second']:.0f} articles/s", file=sys.stderr)
    finish(NAME, summary(results, options), ("aiohttp", "boto3", "pyarrow", "s5cmd"), save=options.save)


def summary(results: dict[str, list[dict[str, float]]], options: Any) -> dict[str, Any]:
    """Medians by arm and requests in flight, ratios, and what they mean for all of PMC."""
    medians = {
        name: {key: round(median([found[key] for found in cells]), 2) for key in cells[0]}
        for name, cells in results.items()
    }
    print(f"{'arm':<8}{'in flight':>10}{'articles/s':>12}{'CPU ms':>10}{'peak MiB':>10}")
    for name, found in medians.items():
        arm, in_flight = name.split("-")
        numbers = (found["articles_per_second"], found["cpu_ms_per_article"], found["peak_mib"])
        print(f"{arm:<8}{in_flight:>10}{numbers[0]:>12.0f}{numbers[1]:>10.2f}{numbers[2]:>10.0f}")
    best = max(found["articles_per_second"] for name, found in medians.items() if name.startswith("biolm-"))
    ratios = {
        f"ratio_{peer}_{in_flight}": round(
            median(
                [
                    mine["articles_per_second"] / other["articles_per_second"]
                    for mine, other in zip(
                        results[f"biolm-{in_flight}"], results[f"{peer}-{in_flight}"], strict=True
                    )
                ]
            ),
            2,
        )
        for peer in ARMS[1:]
        for in_flight in ARTICLES
    }
    return {
        "rounds": options.rounds,
        "latency_ms": options.latency_ms,
        "real_papers": bool(options.papers),
        "articles": ARTICLES,
        "medians": medians,
        **ratios,
        "best_articles_per_second": best,
        "hours_for_all_of_pmc": round(ALL_OF_PMC / best / 3600, 2),
        "megabits_per_second_needed": round(best * MEAN_BYTES * 8 / 1e6),
    }


if __name__ == "__main__":
    main()
