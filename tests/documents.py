"""What the documents hold that can be run or parsed: their fenced blocks, and the commands in those of a shell.

Standard library only: `make infra-check` reads this from an environment that has none of the tests' packages.
"""

import json
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>[\w-]*)[^\n]*\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
_CALLED = re.compile(r"`((?:make|azd?|func|gh|git|curl|npm|npx|openssl|cp|(?:\.venv/bin/)?python) [^`]+)`")
_STUB = """\
#!{python} -IS
import json, sys
with open({record!r}, "a") as record:
    record.write(json.dumps([sys.argv[0].rpartition("/")[2], *sys.argv[1:]]) + "\\n")
print("STUB")
"""
STUBS = [
    *(
        "az",
        "azd",
        "func",
        "curl",
        "git",
        "gh",
        "npm",
        "npx",
        "make",
        "python",
        "openssl",
        "cp",
        "pip",
        "redis-cli",
    ),
    ".venv/bin/python",
]


@dataclass(frozen=True)
class Block:
    """A fenced block: where it is, its language and its text."""

    document: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def blocks(document: Path) -> list[Block]:
    """Return a Markdown document's fenced blocks, less their indentation."""
    text = document.read_text("utf-8")
    found = []
    for match in _FENCE.finditer(text):
        inner = re.sub(rf"^{match['indent']}", "", match["text"], flags=re.MULTILINE)
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(str(document.relative_to(ROOT)), line, match["language"], inner))
    return found


def inline(document: Path) -> list[Block]:
    """Return the commands that stand in a Markdown document's sentences, between backquotes."""
    text = document.read_text("utf-8")
    prose = _FENCE.sub(lambda fenced: "\n" * fenced[0].count("\n"), text)
    return [
        Block(str(document.relative_to(ROOT)), prose.count("\n", 0, match.start()) + 1, "sh", match[1])
        for match in _CALLED.finditer(prose)
    ]


def commands(script: str) -> list[list[str]]:
    """Return what a shell script would run, by running it where every command only writes its arguments down.

    bash itself does the quoting, the continuations and the substitutions. Nothing but `STUBS` is found; another
    command, or one that fails, raises `ValueError`.
    """
    with tempfile.TemporaryDirectory() as directory:
        where, record = Path(directory), Path(directory, "record")
        record.touch()
        for name in STUBS:
            stub = where / ("bin" if "/" not in name else ".") / name
            stub.parent.mkdir(parents=True, exist_ok=True)
            stub.write_text(_STUB.format(python=sys.executable, record=str(record)))
            stub.chmod(0o755)
        done = subprocess.run(
            ["/bin/bash", "--noprofile", "--norc", "-eu", "-c", f"cd() {{ :; }}\n{script}"],
            cwd=where,
            env={"PATH": str(where / "bin")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode or done.stderr:
            raise ValueError(done.stderr or f"exit status {done.returncode}")
        return [json.loads(line) for line in record.read_text().splitlines()]
