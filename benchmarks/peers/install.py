"""Installs the peers under build/, once: into an environment and a directory of their own, never the app's.

What draws the plot goes with them, since the app's environment needs nothing of it.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from benchmarks.processes import BUILD, ROOT, CannotRunError

INSTALL_SECONDS = 300
PLOT = "matplotlib>=3.10,<4"
NPM_PACKAGES = ("@navai/voice-backend@0.1.3", "express@5")


def _once(install: Callable[[], Path]) -> Callable[[], Path]:
    """Keep what came of the first call, an error too: without a network each try takes its time."""

    @cache
    def outcome() -> Path | CannotRunError:
        try:
            return install()
        except CannotRunError as error:
            return error

    def installed() -> Path:
        found = outcome()
        if isinstance(found, CannotRunError):
            raise found
        return found

    return installed


@_once
def python() -> Path:
    """Return the interpreter of an environment with requirements-bench.txt and PLOT in it."""
    directory = BUILD / "peers" / "python"
    interpreter = directory / "bin" / "python"
    requirements = ROOT / "requirements-bench.txt"
    wanted = f"{requirements.read_text('utf-8')}{PLOT}\n"
    stamp = directory / "installed.txt"
    if not (stamp.exists() and stamp.read_text("utf-8") == wanted):
        _run([sys.executable, "-m", "venv", "--clear", str(directory)])
        options = ["--quiet", "--disable-pip-version-check"]
        _run([str(interpreter), "-m", "pip", "install", *options, "-r", str(requirements), PLOT])
        stamp.write_text(wanted, "utf-8")
    return interpreter


@_once
def node() -> Path:
    """Return a directory with NPM_PACKAGES in its node_modules."""
    directory = BUILD / "peers" / "node"
    stamp = directory / "installed.txt"
    wanted = "\n".join(NPM_PACKAGES)
    if not (stamp.exists() and stamp.read_text("utf-8") == wanted):
        directory.mkdir(parents=True, exist_ok=True)
        # Scripts of other people's packages need not run for a benchmark.
        options = ["--no-audit", "--no-fund", "--loglevel=error", "--ignore-scripts"]
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
        why = error.stderr.strip().splitlines()[-1:]
        raise CannotRunError(f"it cannot be installed: {''.join(why)[-300:]}") from error
