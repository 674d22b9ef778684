"""Every command, snippet and link in the documents: run, parsed or looked up."""

import ast
import json
import re
import shutil
import subprocess
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml

from diagnose.options import parser as diagnose_parser
from diagnose.options import target_from
from local.host import parse_arguments
from tests.documents import ROOT, Block, blocks, commands, inline
from tests.hosting import without
from tests.pasted import pasted
from tests.test_docs import TRACKED

DOCUMENTS = sorted(ROOT / name for name in TRACKED if name.endswith(".md") and (ROOT / name).exists())
BLOCKS = [block for document in DOCUMENTS for block in blocks(document)]
PASTED = pasted()
SHELL = [
    *(block for block in BLOCKS if block.language == "sh"),
    *(block for document in DOCUMENTS for block in inline(document)),
    *PASTED,
]

CHECKED = {"sh", "json", "js", "python"}
ELSEWHERE = {"kql", "http"}  # tests/test_operations.py, tests/test_mobile_docs.py


@cache
def run_by(block: Block) -> list[list[str]]:
    """Return the commands of a block, each block run once."""
    return commands(block.text)


def test_every_block_says_its_language() -> None:
    """A block without a language would be checked by nobody."""
    assert [str(block) for block in BLOCKS if block.language not in CHECKED | ELSEWHERE] == []


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_a_shell_block_runs(block: Block) -> None:
    """Bash runs each block to its end, over stand-ins that only note what they are called with."""
    assert run_by(block)


def test_every_command_of_the_doctor_is_among_those() -> None:
    """It has its `az` commands in three files, all of which tests/pasted.py reads."""
    files = (ROOT / "diagnose").glob("*.py")
    having = {file.stem for file in files if re.search(r"\baz [a-z]+ [a-z-]+ ", file.read_text("utf-8"))}

    assert having == {"app_words", "options", "remedies"}
    assert len(PASTED) > 20


@pytest.mark.parametrize("block", [one for one in BLOCKS if one.language == "json"], ids=str)
def test_a_json_block_is_json(block: Block) -> None:
    """What is shown as JSON parses."""
    assert json.loads(block.text)


@pytest.mark.parametrize("block", [one for one in BLOCKS if one.language == "js"], ids=str)
def test_a_javascript_block_parses(block: Block, tmp_path: Path) -> None:
    """Node takes what is shown as JavaScript for a module."""
    node = shutil.which("node")
    if node is None:
        without("Node is needed: on Debian and Ubuntu, apt-get install nodejs")
    (tmp_path / "block.mjs").write_text(block.text, "utf-8")

    done = subprocess.run([node, "--check", tmp_path / "block.mjs"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", [one for one in BLOCKS if one.language == "python"], ids=str)
def test_a_python_block_parses(block: Block) -> None:
    """What is shown as Python is Python."""
    assert ast.parse(block.text)


def test_every_make_target_in_a_document_exists() -> None:
    """Make knows each target that a document's commands name."""
    targets = {
        argument for block in SHELL for name, *rest in run_by(block) if name == "make" for argument in rest[:1]
    }
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))

    assert targets
    assert targets <= known


def test_every_module_that_is_run_exists() -> None:
    """`python -m` is given a module of this repository, or of Python's."""
    named = {
        arguments[1]
        for block in SHELL
        for name, *arguments in run_by(block)
        if name == "python" and arguments[:1] == ["-m"]
    }

    assert len(named) > 5
    assert [name for name in named if find_spec(name) is None] == []


def test_the_doctors_and_the_hosts_options_are_theirs() -> None:
    """`python -m diagnose` and `python -m local.host` take every option that a document gives them."""
    calls = [
        arguments
        for block in SHELL
        for name, *arguments in run_by(block)
        if name == "python" and arguments[:1] == ["-m"]
    ]
    doctor = [arguments[2:] for arguments in calls if arguments[1] == "diagnose"]

    assert len(doctor) > 10
    for arguments in doctor:
        asked = diagnose_parser().parse_args(arguments)
        if asked.app:
            assert target_from(asked, {}).url == "https://APP.azurewebsites.net"
    for arguments in calls:
        if arguments[1] == "local.host":
            parse_arguments(arguments[2:])


def test_azd_is_given_variables_that_the_parameters_read() -> None:
    """What the documents set with azd is read by the parameters file, and all that it reads is in the tutorial."""
    parameters = (ROOT / "infra/main.parameters.json").read_text("utf-8")
    read = set(re.findall(r"\$\{(\w+)", parameters)) - {"AZURE_ENV_NAME", "AZURE_LOCATION"}
    given = {
        call[3] for block in SHELL for call in run_by(block) if call[:3] == ["azd", "env", "set"] and call[3:]
    }
    tutorial = (ROOT / "docs/tutorial.md").read_text("utf-8")

    assert given
    assert given <= read
    assert [name for name in read if name not in tutorial] == []


def slugs(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", document.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    plain = (re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", heading).lower() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_anchor_exists(document: Path) -> None:
    """A link to a heading finds it, in the same document or in another."""
    links = re.findall(r"\]\((?!https?://)((?:[^)#]*\.md)?)#([^)]+)\)", document.read_text("utf-8"))

    missing = [
        (target, anchor)
        for target, anchor in links
        if anchor not in slugs(document.parent / target if target else document)
    ]
    assert missing == []


def test_the_picture_has_words_and_a_dark_scheme() -> None:
    """The picture is XML, tells those who cannot see it what it shows, and has colours for a dark page."""
    text = (ROOT / "docs/architecture.svg").read_text("utf-8")
    root = ET.fromstring(text)  # noqa: S314 - our own file
    named = {child.tag.rpartition("}")[2] for child in root}

    assert {"title", "desc"} <= named
    assert "prefers-color-scheme: dark" in text


def test_the_threat_model_names_tests_that_exist() -> None:
    """Each defence is linked to a function of a test file, and every threat says what of it is tested."""
    text = (ROOT / "docs/security.md").read_text("utf-8")
    linked = re.findall(r"\]\(\.\./(tests/\w+\.py)#?(\w*)\)", text)
    threats = re.findall(r"^## (A .+?)\n(.*?)(?=^## )", text, re.MULTILINE | re.DOTALL)

    missing = [
        (file, name)
        for file, name in linked
        if not name or not re.search(rf"^def {name}\(", (ROOT / file).read_text("utf-8"), re.MULTILINE)
    ]
    assert missing == []
    assert len(threats) >= 6
    assert [threat for threat, told in threats if "](../tests/" not in told] == []


WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_actions_are_pinned_and_permissions_small(file: Path) -> None:
    """Each action is named by a commit; nothing may write, but for the token that signs in to Azure."""
    text = file.read_text("utf-8")
    workflow = yaml.safe_load(text)
    uses = re.findall(r"uses: (\S+)(.*)", text)
    written = [job.get("permissions", {}) for job in workflow["jobs"].values()]

    assert workflow["permissions"] == {"contents": "read"}
    assert all(granted in ({}, {"contents": "read", "id-token": "write"}) for granted in written)
    for action, comment in uses:
        assert action.startswith("./") or re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", action), action
        assert action.startswith("./") or re.fullmatch(r" # v[\d.]+", comment), action
    assert "secrets." not in text


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_a_workflows_scripts_are_bash(file: Path) -> None:
    """Bash takes every step, and no step has an expression in it, which could become code."""
    jobs = yaml.safe_load(file.read_text("utf-8"))["jobs"]
    scripts = [step["run"] for job in jobs.values() for step in job.get("steps", []) if "run" in step]

    for script in scripts:
        assert "${{" not in script
        done = subprocess.run(["/bin/bash", "-n"], input=script, text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr


def test_the_workflow_publishes_the_product() -> None:
    """What is archived for publishing is what .funcignore leaves of a clean checkout."""
    from tests.test_package import PRODUCT  # noqa: PLC0415 - only here

    step = re.search(
        r"git archive --output app\.zip HEAD (.+)", (ROOT / ".github/workflows/deploy.yml").read_text()
    )
    assert step is not None
    named = step[1].split()
    archived = {name for name in TRACKED if any(name == one or name.startswith(f"{one}/") for one in named)}

    assert archived == PRODUCT
