"""Installs the peers under build/, once: into an environment and a directory of their own, never the app's."""

import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from benchmarks.processes import BUILD, ROOT, CannotRunError

INSTALL_SECONDS = 300
NPM_PACKAGES = ("@navai/voice-backend@0.1.3", "express@5")


@cache
def python() -> Path:
    """Return the interpreter of an environment with requirements-bench.txt in it."""
    directory = BUILD / "peers" / "python"
    interpreter = directory / "bin" / "python"
    wanted = (ROOT / "requirements-bench.txt").read_text("utf-8")
    stamp = directory / "installed.txt"
    if not (stamp.exists() and stamp.read_text("utf-8") == wanted):
        _run([sys.executable, "-m", "venv", "--clear", str(directory)])
        options = ["--quiet", "--disable-pip-version-check"]
        _run([str(interpreter), "-m", "pip", "install", *options, "-r", str(ROOT / "requirements-bench.txt")])
        stamp.write_text(wanted, "utf-8")
    return interpreter


@cache
def node() -> Path:
    """Return a directory with NPM_PACKAGES in its node_modules."""
    directory = BUILD / "peers" / "node"
    stamp = directory / "installed.txt"
    wanted = "\n".join(NPM_PACKAGES)
    if not (stamp.exists() and stamp.read_text("utf-8") == wanted):
        directory.mkdir(parents=True, exist_ok=True)
        # Scripts of other people's packages need not run for a benchmark.
        options = ["--no-audit", "--no-fund", "--silent", "--ignore-scripts"]
        _run(["npm", "install", "--prefix", str(directory), *options, *NPM_PACKAGES])
        stamp.write_text(wanted, "utf-8")
    return directory


def _run(command: Sequence[str]) -> None:
    print(f"\nInstalling: {' '.join(command)}", file=sys.stderr)
    try:
        # With the environment as it is: it may name a package index or a proxy.
        subprocess.run(  # noqa: S603 - commands from this file
            command, env=dict(os.environ), capture_output=True, text=True, timeout=INSTALL_SECONDS, check=True
        )
    except FileNotFoundError as error:
        raise CannotRunError(f"{command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise CannotRunError(f"not installed within {INSTALL_SECONDS} s") from error
    except subprocess.CalledProcessError as error:
        raise CannotRunError(f"it cannot be installed: {error.stderr.strip()[-500:]}") from error
