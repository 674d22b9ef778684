"""`make run`, as a newcomer meets it: one command, a secret, and clear words where that cannot be."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest
import requests

from tests.hosting import ROOT


def started(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [".venv/bin/python", "-m", "local", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def printed(process: "subprocess.Popen[str]", last: str = "Ctrl-C ends it.") -> str:
    """Return what it printed up to `last`, which is when it serves."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith(last):
            break
    return "".join(lines)


def replied(output: str) -> dict[str, object]:
    return dict(json.loads(output[output.index("\n{") : output.index("\n}") + 3]))


def shape(value: object) -> object:
    """Return the value with what differs from run to run made equal."""
    text = re.sub(r"(ek_|sess_|evt_)[0-9a-f]+", r"\1", json.dumps(value))
    return json.loads(re.sub(r'("expires_at": )\d+', r"\g<1>0", re.sub(r"127\.0\.0\.1:\d+", "HOST", text)))


@pytest.mark.workaround
def test_it_mints_prints_the_reply_of_the_readme_and_serves() -> None:
    """The first screen of README.md shows what this prints, and the printed addresses answer."""
    with started("--port", "0", "--azure-port", "0") as process:
        output = printed(process)
        (health,) = re.findall(r"curl (http\S+/api/health)", output)
        status = requests.get(health, timeout=10).json()["status"]
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)

    readme = (ROOT / "README.md").read_text("utf-8")
    assert shape(replied(output)) == shape(replied(readme[readme.index("```json") :]))
    assert status == "ok"
    assert process.returncode == 0


def test_the_flag_flips_with_an_argument() -> None:
    """What README.md says to try next: minted with the block, nothing left to send."""
    with started("--port", "0", "--azure-port", "0", "--mode", "mint_time", "--defect", "fixed") as process:
        output = printed(process)
        process.terminate()
        process.communicate(timeout=20)

    assert replied(output)["session_update"] is None
    assert "nothing to send" in output


def test_a_busy_port_is_a_sentence() -> None:
    """Not a traceback: what is in use, and how to choose another."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with started("--port", port, "--azure-port", "0") as process:
            _, errors = process.communicate(timeout=20)

    assert process.returncode == 1
    assert f"Port {port} is in use" in errors
    assert "Traceback" not in errors


def test_a_busy_port_of_the_simulated_azure_names_its_own_option() -> None:
    """--port is the endpoint's here: whoever has a second run wants --azure-port."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with started("--port", "0", "--azure-port", str(taken.getsockname()[1])) as process:
            _, errors = process.communicate(timeout=20)

    assert process.returncode == 1
    assert "--azure-port" in errors


def test_a_port_that_cannot_be_is_a_sentence() -> None:
    """Also without a traceback."""
    with started("--port", "99999") as process:
        _, errors = process.communicate(timeout=20)

    assert process.returncode == 2
    assert "invalid port value" in errors


def test_without_python_3_13_make_says_what_to_do(tmp_path: Path) -> None:
    """An older interpreter alone on the machine is a clear message and no half-made environment."""
    for name in ("Makefile", "requirements.txt", "requirements-dev.txt"):
        shutil.copy(ROOT / name, tmp_path)

    done = subprocess.run(
        ["make", "run", "PYTHON="],  # noqa: S607 - make is found where the tester's shell finds it
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode != 0
    assert "Python 3.13 is needed" in done.stderr
    assert "PYTHON=/path/to/python3.13" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_make_diagnose_prints_what_to_paste() -> None:
    """The doctor against the simulated resource with a fault in it: exit status 1, and what mends it to paste."""
    done = subprocess.run(
        [".venv/bin/python", "-m", "local.diagnose", "--fault", "401-permission-denied", "--", "--no-connect"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1, done.stderr
    assert "az role assignment create" in done.stdout
