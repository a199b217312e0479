"""Start-up: what is imported, and what is not."""

import subprocess
import sys

import biolm


def imported_by(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_import_loads_neither_torch_nor_lxml():
    assert not imported_by("import biolm") & {"torch", "lxml", "transformers", "pyarrow", "numpy", "rich"}


def test_help_loads_no_command_and_nothing_heavy():
    code = "from biolm.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    loaded = imported_by(code)
    assert not loaded & {"torch", "lxml", "transformers", "pyarrow", "numpy", "rich", "biolm.cli.pretrain"}


def test_every_command_is_there_with_its_own_help():
    from biolm.cli import COMMANDS, SUMMARIES

    assert COMMANDS.keys() == SUMMARIES.keys()
    for command in COMMANDS:
        done = subprocess.run(
            [sys.executable, "-m", "biolm", command, "--help"], capture_output=True, text=True, check=True
        )
        assert done.stdout.startswith(f"Usage: biolm {command}")


def test_version():
    done = subprocess.run(
        [sys.executable, "-m", "biolm", "--version"], capture_output=True, text=True, check=True
    )
    assert biolm.__version__ in done.stdout


def test_import_rules_hold():
    from pathlib import Path

    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert done.returncode == 0, done.stdout
