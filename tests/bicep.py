"""Reads the Bicep files, with a grammar of Bicep that is not Microsoft's: structure, and no types."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pycep import BicepParser

INFRA = Path(__file__).resolve().parent.parent / "infra"
FILES = sorted(INFRA.glob("*.bicep"))


@dataclass(frozen=True)
class Resource:
    """One resource: `body` is what stands between its braces, expressions as pycep's trees."""

    file: str
    name: str
    type: str
    api_version: str
    existing: bool
    conditional: bool
    body: dict[str, Any]


@cache
def parse(file: Path) -> dict[str, Any]:
    """Return pycep's tree of one file; pycep takes about a second for one."""
    return dict(BicepParser().parse(file_path=file))


def resources() -> list[Resource]:
    """Return every resource of every file."""
    return [
        _resource(file.name, name, declared)
        for file in FILES
        for name, declared in parse(file).get("resources", {}).items()
    ]


def _resource(file: str, name: str, declared: dict[str, Any]) -> Resource:
    body, conditional = declared["config"], False
    while "config" in body:  # if (...) {...} and [for ...: {...}]
        conditional = conditional or bool(body.get("condition"))
        body = body["config"]
    return Resource(file, name, declared["type"], declared["api_version"], declared["existing"], conditional, body)
