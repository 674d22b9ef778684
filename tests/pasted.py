"""What is there to be pasted besides the documents' blocks: by the doctor's steps, its help and the workflows.

Imports nothing but the standard library, what is pure in diagnose/, and PyYAML, which azure-cli brings too: `make
infra-check` reads this from an environment that has none of the tests' packages.
"""

import re
from collections.abc import Iterator

import yaml

from diagnose import app_words
from diagnose.app_words import judged, no_health, not_let_in, why
from diagnose.records import Ack, Current, Fault, Help, Update, Who
from diagnose.remedies import help_for, set_command, unset_command
from tests.documents import ROOT, Block

_NOW = Current(
    "https://resource.openai.azure.com", "gpt-realtime", "post_connect", "f", "https://ai.azure.com/.default"
)
_WHO = Who("11111111-2222-3333-4444-555555555555", "a-tenant", "https://ai.azure.com", "User")


def pasted() -> list[Block]:
    """Return each as a block of a shell script."""
    steps = sorted({line for help_ in _helps() for line in help_.paste})
    steps += [set_command({"TRANSCRIPTION_MODE": "auto", "TRANSCRIPTION_FIELD": "f"}), unset_command("NAME")]
    told = (ROOT / "docs/diagnose-help.txt").read_text("utf-8")
    examples = told.partition("examples:\n")[2].partition("\n\nexit status:")[0]
    return [
        *(Block("diagnose", number, "sh", line) for number, line in enumerate(steps)),
        Block("docs/diagnose-help.txt", 0, "sh", examples),
        *_workflows(),
    ]


def _helps() -> Iterator[Help]:
    yield from (help_for(fault, _NOW, who) for fault in Fault for who in (None, _WHO))
    yield from (one for one in vars(app_words).values() if isinstance(one, Help))
    yield from (no_health(status) for status in (302, 401, 404, 500))
    yield from (why(401, {}), not_let_in("https://web.example"))
    yield from (help_ for ack in Ack for help_ in judged(Update("f", ack), off=False, sent=True)[2:] if help_)


def _workflows() -> Iterator[Block]:
    for file in sorted((ROOT / ".github/workflows").glob("*.yml")):
        for job in yaml.safe_load(file.read_text("utf-8"))["jobs"].values():
            urls = {"ORIGIN": "https://WEB.APP"}
            given = "".join(f"{name}={urls.get(name, name)}\n" for name in job.get("env", {}))
            for number, step in enumerate(job.get("steps", [])):
                if re.search(r"^ *(\w+=\$\()?az ", step.get("run", ""), re.MULTILINE):
                    yield Block(str(file.relative_to(ROOT)), number, "sh", given + step["run"])
