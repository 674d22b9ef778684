"""README.md and the samples say what the code does: settings, defaults, files and commands."""

import json
import re
import subprocess
from dataclasses import MISSING, Field
from pathlib import Path
from typing import Any

import pytest

from mint import __version__
from mint.settings import Settings, app_settings
from tests.hosting import ROOT

README = (ROOT / "README.md").read_text("utf-8")
SAMPLE = json.loads((ROOT / "local.settings.sample.json").read_text("utf-8"))
TRACKED = subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard"],  # noqa: S607 - git is found where the tester's shell finds it
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
).stdout.split()


def test_the_settings_table_is_the_code() -> None:
    """Every setting is in the table, in order, with its default and what it takes; and nothing else is."""
    table = README.partition("## App settings")[2].partition("\n## ")[0]

    rows = re.findall(r"^\| `([A-Z_]+)` \| (required|unset|`.+?`).*? \| (.+?) \|$", table, re.MULTILINE)
    assert rows == [
        (declared.metadata["name"], default_of(declared), declared.metadata["takes"])
        for declared in app_settings()
    ]


def default_of(declared: Field[Any]) -> str:
    if declared.default is MISSING:
        return "required"
    if declared.default is None:
        return "unset"
    return f"`{declared.default:g}`" if isinstance(declared.default, float) else f"`{declared.default}`"


def test_the_sample_settings_hold_every_setting_and_are_valid() -> None:
    """A copy of the sample is a working local.settings.json once the resource's name is filled in."""
    values = SAMPLE["Values"]

    ours = [declared.metadata["name"] for declared in app_settings()]
    assert [name for name in values if name not in ("FUNCTIONS_WORKER_RUNTIME", "AzureWebJobsStorage")] == ours
    assert Settings.read(values).transcription_mode == "post_connect"
    for declared in app_settings():
        if values[declared.metadata["name"]] and declared.default not in (MISSING, None):
            assert declared.metadata["parse"](values[declared.metadata["name"]]) == declared.default


def test_the_version_is_in_one_place() -> None:
    """`mint/__init__.py` has it; the changelog tells of it first, and what is generated repeats it."""
    release = re.search(
        r"^## (\S+) — (\d{4}-\d\d-\d\d)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE
    )
    texts = [
        name for name in TRACKED if Path(name).suffix in {".py", ".md", ".yaml", ".yml", ".bicep", ".txt", ".toml"}
    ]
    whole = re.compile(rf"(?<![\d.]){re.escape(__version__)}(?!\.?\d)")
    holding = [name for name in texts if (ROOT / name).exists() and whole.search((ROOT / name).read_text("utf-8"))]

    assert release is not None
    assert release[1] == __version__
    assert set(holding) == {"mint/__init__.py", "CHANGELOG.md", "docs/diagnose-report.md"}


@pytest.mark.parametrize("document", [name for name in TRACKED if name.endswith(".md")])
def test_every_link_inside_the_repository_resolves(document: str) -> None:
    """A renamed file takes its links along."""
    targets = re.findall(r"\]\((?!https?://)([^)#]+)[^)]*\)", (ROOT / document).read_text("utf-8"))

    missing = [target for target in targets if not (ROOT / Path(document).parent / target).exists()]
    assert missing == []


@pytest.mark.parametrize("command", sorted(set(re.findall(r"^(?:\| )?(make \w+)", README, re.MULTILINE))))
def test_every_make_target_exists(command: str) -> None:
    """Make knows each target that README.md names."""
    done = subprocess.run([*command.split(), "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
