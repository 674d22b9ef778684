"""The files in docs/ are what the program prints, so that they cannot drift."""

from diagnose.docs import HELP, SAMPLE, help_text, sample, shape
from tests.simulated import SimulatedAzure

REGENERATE = "run: python -m diagnose.docs"


def test_help() -> None:
    """docs/diagnose-help.txt is the help."""
    assert HELP.read_text("utf-8") == help_text(), REGENERATE


def test_sample(azure: SimulatedAzure) -> None:
    """docs/diagnose-report.md is a report of today's, but for ids, times and milliseconds."""
    assert shape(SAMPLE.read_text("utf-8")) == shape(sample(azure.url, azure.identity_env)), REGENERATE
