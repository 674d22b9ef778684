"""docs/operations.md says what the code does: its events, their fields, the queries over them, the runbook."""

import ast
import re
from pathlib import Path

import pytest

from diagnose.docs import OPERATIONS, QUERIES, operations
from mint.errors import CODES
from tests.conftest import Endpoint
from tests.hosting import ROOT
from tests.simulated import SimulatedAzure

TEXT = OPERATIONS.read_text("utf-8")
FILES = sorted(QUERIES.glob("*.kql"))
CODE = [ROOT / "function_app.py", *sorted((ROOT / "mint").glob("*.py"))]

# The columns of Application Insights' `traces` that the queries may use.
COLUMNS = {"timestamp", "message", "itemCount", "cloud_RoleInstance"}


def _calls(tree: ast.AST, name: str) -> list[ast.Call]:
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
    ]


def _dicts(tree: ast.AST) -> list[dict[str, ast.expr]]:
    """Return the dict displays that have the key `event`, by their constant keys."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            named = {
                key.value: value
                for key, value in zip(node.keys, node.values, strict=True)
                if isinstance(key, ast.Constant)
            }
            if "event" in named:
                found.append(named)
    return found


def written() -> dict[str, set[str]]:
    """Return each event that the code can write, with its fields, as read from the source."""
    events: dict[str, set[str]] = {}
    trees = [ast.parse(file.read_text("utf-8")) for file in CODE]
    (every_mint,) = [one for tree in trees for one in _dicts(tree) if isinstance(one["event"], ast.Name)]
    for tree in trees:
        for call in _calls(tree, "record"):
            name = call.args[2]
            assert isinstance(name, ast.Constant)
            events[str(name.value)] = {*every_mint, *(word.arg for word in call.keywords if word.arg)}
        for call in _calls(tree, "refuse"):
            events["mint_failed"] |= {word.arg for word in call.keywords if word.arg}
        for named in _dicts(tree):
            if isinstance(named["event"], ast.Constant):
                events[str(named["event"].value)] = set(named)
    return {name: fields - {"event"} for name, fields in events.items()}


WRITTEN = written()


def test_every_event_is_in_the_table_with_its_fields() -> None:
    """The table of log events is what the code can write."""
    table = TEXT.partition("## Log events")[2].partition("\n\n`request_id`")[0]
    rows = re.findall(r"^\| `(\w+)` \| .+? \| (.+) \|$", table, re.MULTILINE)
    told = {name: set(re.findall(r"`(\w+)`", fields)) for name, fields in rows}
    told["mint_failed"] |= told["minted"]
    told["transcription_evidence"] -= {"resource", "fallback"}  # added where there is a second resource

    assert told == WRITTEN


def test_the_events_are_those_of_a_run(endpoint: Endpoint, azure: SimulatedAzure) -> None:
    """A mint and a failed mint write the fields that the table says, and no others."""
    minted = endpoint.log_line(endpoint.mint())
    azure.set(fault="429-bare")
    failed = endpoint.log_line(endpoint.mint())

    assert (minted["event"], failed["event"]) == ("minted", "mint_failed")
    assert set(minted) - {"event"} == WRITTEN["minted"]
    assert set(failed) - {"event"} <= WRITTEN["mint_failed"]


def test_the_document_has_every_query_and_every_code() -> None:
    """docs/operations.md is what `make docs` makes of the queries and of the runbook."""
    assert operations(TEXT) == TEXT, "run: make docs"
    assert re.findall(r"^### `(\w+)`$", TEXT, re.MULTILINE) == list(CODES)
    assert re.findall(r"<!-- query: ([\w-]+) -->", TEXT) != []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_query_is_shown_or_watched(file: Path) -> None:
    """No query is left lying about: the document shows it, or an alert loads it."""
    alerts = (ROOT / "infra/alerts.bicep").read_text("utf-8")

    assert f"<!-- query: {file.stem} -->" in TEXT or f"queries/{file.name}" in alerts


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_query_uses_only_what_is_there(file: Path) -> None:
    """Each event and field that a query names is one that the code writes, each code one that there is."""
    text = file.read_text("utf-8")
    conditions = re.findall(r"event == ('\w+')|event in \(([^)]*)\)", text)
    events = set(re.findall(r"'(\w+)'", str(conditions).replace('"', "")))
    fields = set(re.findall(r"\bline\.(\w+)", text)) - {"event"}
    codes = set(re.findall(r"line\.code\) == '(\w+)'", text))

    assert events
    assert events <= set(WRITTEN)
    assert fields <= set().union(*(WRITTEN[event] for event in events)) | {"resource"}
    assert codes <= set(CODES)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_query_is_of_one_piece(file: Path) -> None:
    """Over `traces` and its columns, brackets and quotes closed, each further line a step or part of one."""
    text = file.read_text("utf-8")
    bare = re.sub(r"'[^'\n]*'", "''", text)
    first, *steps = text.splitlines()

    assert first == "traces"
    assert all(re.match(r"\| (where|extend|summarize|project|order by|top|render)\b|    ", step) for step in steps)
    assert all(bare.count(opening) == bare.count(closing) for opening, closing in ("()", "[]", "{}"))
    assert bare.count("'") % 2 == 0
    used = set(re.findall(r"\b(timestamp|message|itemCount|cloud_\w+|severityLevel|customDimensions)\b", bare))
    assert used - {"message"} <= COLUMNS


def test_counts_survive_sampling() -> None:
    """What counts mints sums itemCount: should host.json be changed to sample traces, count() would be too few."""
    for file in FILES:
        text = file.read_text("utf-8")
        if "minted" in text and "percentile" not in text:
            assert "itemCount" in text, file.name
            assert not re.search(r"\bcount(if)?\(", text), file.name
