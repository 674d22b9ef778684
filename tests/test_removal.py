"""Removing the workaround, rehearsed: the steps of docs/decisions.md on a copy, and the remaining tests there."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hosting import ROOT

pytestmark = pytest.mark.workaround
STEPS = (ROOT / "docs" / "decisions.md").read_text("utf-8").partition("# Removing the workaround")[2]
SETTINGS = ("TRANSCRIPTION_MODE", "TRANSCRIPTION_PROBE_SECONDS")
FIELDS = r"    (transcription_mode|probe_seconds): [^\n]*_setting\(.*?\n    \)\n"


def without_workaround(tree: Path) -> None:
    """Do the three steps."""
    for name in re.findall(r"^   - `(\S+)`$", STEPS, re.MULTILINE):
        (tree / name).unlink()
    edit(tree / "mint" / "service.py", r"from mint\.transcription import Transcription\n", "", 1)
    edit(
        tree / "mint" / "service.py",
        r"return Transcription\(.*# the workaround.*",
        "return upstream",
        1,
    )
    edit(tree / "mint" / "settings.py", FIELDS, "", 2)
    for name in ("README.md", "local.settings.sample.json", "tests/test_settings.py"):
        edit(tree / name, rf'^(\| `|\s*")({"|".join(SETTINGS)})[`"].*\n', "", None)
    edit(tree / "tests" / "test_settings.py", r'.*\.transcription_mode == "post_connect"\n', "", 2)
    edit(tree / "tests" / "test_docs.py", r"(Settings\.read\(values\)).*", r"\1", 1)


def edit(file: Path, pattern: str, replacement: str, times: int | None) -> None:
    text, changed = re.subn(
        pattern, replacement, file.read_text("utf-8"), flags=re.DOTALL if "?" in pattern else re.MULTILINE
    )
    assert changed == times if times else changed
    file.write_text(text, "utf-8")


def test_removing_the_workaround_leaves_a_working_product(tmp_path: Path) -> None:
    """Three steps, a minute's work: what is left is typed, linted and passes the tests that it touches."""
    tree = tmp_path / "tree"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".*", "node_modules", "build", "__pycache__"))
    shutil.copy(ROOT / ".funcignore", tree)
    without_workaround(tree)

    def run(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=tree, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("mypy", "function_app.py", "mint")
    run("ruff", "check", "--select", "F", "function_app.py", "mint")
    mint_tests = [
        f"tests/test_{name}.py"
        for name in ("body", "settings", "session", "upstream", "replies", "errors", "endpoint", "connect")
    ]
    told = run("pytest", "-m", "not workaround", *mint_tests)

    assert "TRANSCRIPTION_MODE" not in "".join(file.read_text("utf-8") for file in (tree / "mint").glob("*.py"))
    assert int(re.findall(r"(\d+) passed", told)[-1]) > 250
