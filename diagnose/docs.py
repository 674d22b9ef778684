"""`python -m diagnose.docs`: writes docs/diagnose-help.txt, a sample report, and parts of docs/operations.md.

The sample shows the form of a report; its numbers are the simulator's and say nothing about Azure.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from diagnose.options import parser
from diagnose.runbook import markdown

ROOT = Path(__file__).resolve().parent.parent
HELP, SAMPLE = ROOT / "docs" / "diagnose-help.txt", ROOT / "docs" / "diagnose-report.md"
OPERATIONS = ROOT / "docs" / "operations.md"
QUERIES = ROOT / "infra" / "queries"
_NOTE = "<!-- A sample, made against the simulated resource by `python -m diagnose.docs`. -->\n\n"
_READY = "Simulated Azure OpenAI listening on "
_SECONDS = 120
_RUNBOOK = "<!-- runbook -->"


def help_text() -> str:
    """Return what `--help` prints."""
    return parser().format_help()


def sample(url: str, identity: Mapping[str, str]) -> str:
    """Return the report of a run against the simulated resource at `url`, which is its own second region too."""
    settings = {
        **identity,
        "AZURE_OPENAI_ENDPOINT": url,
        "AZURE_OPENAI_REALTIME_DEPLOYMENT": "gpt-realtime",
        "AZURE_OPENAI_TRANSCRIPTION_DEPLOYMENT": "gpt-4o-transcribe",
        "AZURE_OPENAI_API_KEY": "simulated-api-key",
    }
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report.md"
        subprocess.run(  # noqa: S603 - our own module
            [
                *(sys.executable, "-m", "diagnose"),
                *("--repeat", "3"),
                *("--compare-endpoint", url),
                *("--report", str(report)),
            ],
            cwd=ROOT,
            env=settings,
            stdout=subprocess.DEVNULL,
            timeout=_SECONDS,
            check=True,
        )
        return _NOTE + report.read_text("utf-8")


def shape(report: str) -> str:
    """Return a report without what differs from run to run: ids, times and milliseconds."""
    report = re.sub(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", report)
    report = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", "TIME", report)
    return re.sub(r"\d+(\**) \|$", r"MS\1 |", report, flags=re.MULTILINE)


def operations(document: str) -> str:
    """Return docs/operations.md with its runbook, and each query from its file, as they are now."""

    def query(marker: re.Match[str]) -> str:
        return f"{marker[1]}\n\n```kql\n{(QUERIES / f'{marker[2]}.kql').read_text('utf-8')}```\n"

    marker = re.compile(r"(<!-- query: ([\w-]+) -->)\n(?:\n```kql\n.*?^```\n)?", re.MULTILINE | re.DOTALL)
    return marker.sub(query, document.partition(_RUNBOOK)[0]) + f"{_RUNBOOK}\n\n{markdown()}"


def main() -> None:
    """Write all three."""
    HELP.write_text(help_text(), "utf-8")
    OPERATIONS.write_text(operations(OPERATIONS.read_text("utf-8")), "utf-8")
    with subprocess.Popen(
        [sys.executable, "-m", "local.azure", "--port", "0"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as azure:
        try:
            url = azure.stdout.readline().strip().removeprefix(_READY) if azure.stdout else ""
            identity = {
                "IDENTITY_ENDPOINT": f"{url}/msi/token",
                "IDENTITY_HEADER": "simulated-identity-header",
            }
            SAMPLE.write_text(sample(url, identity), "utf-8")
        finally:
            azure.terminate()


if __name__ == "__main__":
    main()
