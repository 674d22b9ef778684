"""`python -m diagnose` against each state of the simulated resource: verdict, exit status, nothing leaked."""

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from diagnose.__main__ import main
from mint.settings import app_settings
from tests.conftest import secrets_in
from tests.simulated import SimulatedAzure

ROOT = Path(__file__).resolve().parent.parent
NESTED, FLAT = "audio.input.transcription", "input_audio_transcription"


@dataclass(frozen=True)
class Run:
    """A finished run."""

    returncode: int
    stdout: str


Doctor = Callable[..., Run]


def arguments(*more: str, connect: bool = False) -> list[str]:
    """Three of each kind, and no connection unless asked: quick."""
    return ["--repeat", "3", *([] if connect else ["--no-connect"]), *more]


@pytest.fixture
def doctor(
    required: dict[str, str],
    azure: SimulatedAzure,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Doctor]:
    """`doctor(*args, NAME=value)`: a run in this process, which is quicker by far than one of its own."""
    assert azure.url
    logger = logging.getLogger("azure")
    level = logger.level
    ours = {declared.metadata["name"] for declared in app_settings()} | {"AZURE_OPENAI_API_KEY"}

    def run(*args: str, connect: bool = False, **settings: str) -> Run:
        for name in ours:
            monkeypatch.delenv(name, raising=False)  # a developer's own
        for name, value in (required | settings).items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        status = main(arguments(*args, connect=connect))
        said = capsys.readouterr()
        assert said.err == ""
        return Run(status, said.out)

    yield run
    logger.setLevel(level)


@pytest.fixture
def own_process(required: dict[str, str], azure: SimulatedAzure) -> Doctor:
    """The same as a process of its own: for what leaves threads behind, and to prove the command itself."""
    assert azure.url

    def run(*args: str) -> Run:
        finished = subprocess.run(
            [sys.executable, "-m", "diagnose", *arguments(*args)],
            cwd=ROOT,
            env=required,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert finished.stderr == ""
        return Run(finished.returncode, finished.stdout)

    return run


def verdict(run: Run) -> str:
    """The verdict and what follows it."""
    return run.stdout.partition("Verdict: ")[2]


def test_flat_fails(azure: SimulatedAzure, doctor: Doctor) -> None:
    """Where only the flat field fails, the field is blamed and not transcription, and the default copes."""
    azure.set(defect="flat-fails")

    run = doctor()

    assert run.returncode == 0
    assert f"works at mint time at {NESTED}, and fails at {FLAT}: the fault is of that field" in verdict(run)
    assert f"With {FLAT}: 3 of 3 failed (500 InternalServerError); without: 3 of 3 succeeded" in verdict(run)
    assert "Nothing has to change" in verdict(run)


def test_flat_fails_and_is_set(azure: SimulatedAzure, doctor: Doctor) -> None:
    """Settings that put the failing field into the mint fail callers: exit 1, and the field to set."""
    azure.set(defect="flat-fails")

    run = doctor(TRANSCRIPTION_MODE="mint_time", TRANSCRIPTION_FIELD=FLAT)

    assert run.returncode == 1
    assert f"The current mint_time with {FLAT} fails callers" in verdict(run)
    assert f"--settings TRANSCRIPTION_MODE=mint_time TRANSCRIPTION_FIELD={NESTED}" in verdict(run)


def test_all_fails_and_is_avoided(azure: SimulatedAzure, doctor: Doctor) -> None:
    """The defect with settings that avoid it is told of, and is no reason to change anything."""
    azure.set(defect="all-fails")

    run = doctor()

    assert run.returncode == 0
    assert "The block fails the mint wherever it is put" in verdict(run)
    assert "TRANSCRIPTION_MODE=post_connect" in verdict(run)
    assert "az functionapp" not in verdict(run)


def test_all_fails_and_is_met(azure: SimulatedAzure, doctor: Doctor) -> None:
    """The defect with mint_time fails callers: exit 1, and post_connect to paste."""
    azure.set(defect="all-fails")

    run = doctor(TRANSCRIPTION_MODE="mint_time")

    assert run.returncode == 1
    assert f"--settings TRANSCRIPTION_MODE=post_connect TRANSCRIPTION_FIELD={NESTED}" in verdict(run)


def test_random(azure: SimulatedAzure, doctor: Doctor) -> None:
    """A fault that comes and goes is told from a constant one, and calls for auto."""
    azure.set(defect="random")

    run = doctor("--repeat", "10")

    assert run.returncode == 0
    assert "fail some of the time" in verdict(run)
    assert "TRANSCRIPTION_MODE=auto" in verdict(run)


def test_fixed(azure: SimulatedAzure, own_process: Doctor) -> None:
    """Once Azure is mended, mint_time is offered with the limit of what so few calls can show."""
    azure.set(defect="fixed")

    run = own_process()

    assert run.returncode == 0
    assert f"The block works at mint time at {NESTED}." in verdict(run)
    assert "A fault in up to 63 % of mints could go unseen" in verdict(run)
    assert "TRANSCRIPTION_MODE=mint_time" in verdict(run)


def test_silent_drop(azure: SimulatedAzure, doctor: Doctor) -> None:
    """A 200 whose session lacks the block is not taken for success."""
    azure.set(defect="silent-drop")

    run = doctor()

    assert run.returncode == 0
    assert "answers 200 and ignores the block" in verdict(run)
    assert "TRANSCRIPTION_MODE=post_connect" in verdict(run)


def test_outage(azure: SimulatedAzure, doctor: Doctor) -> None:
    """When mints fail without the block too, nothing is concluded about it and no setting is named."""
    azure.set(fault="503")

    run = doctor()

    assert run.returncode == 1
    assert "Nothing is concluded about the block." in verdict(run)
    assert "TRANSCRIPTION_MODE" not in run.stdout


@pytest.mark.parametrize(
    ("switches", "said", "pasted"),
    [
        pytest.param(
            {"fault": "401-permission-denied"},
            "The identity lacks the role",
            "az role assignment create --assignee-object-id 22222222-2222-2222-2222-222222222222 "
            '--assignee-principal-type ServicePrincipal --role "Cognitive Services OpenAI User" --scope ',
            id="role",
        ),
        pytest.param(
            {"fault": "401-audience"}, "for either audience", "az account show --query tenantId", id="audience"
        ),
        pytest.param(
            {"deployments": {"gpt-realtime": "chat"}},
            "not of a realtime model",
            "az cognitiveservices account deployment list --name ",
            id="deployment of the wrong kind",
        ),
        pytest.param(
            {"deployments": {}},
            "The realtime deployment does not exist",
            "az cognitiveservices account deployment list --name ",
            id="no deployment",
        ),
        pytest.param(
            {"fault": "429-retry-after"}, "Azure is throttling", "az cognitiveservices usage list", id="throttled"
        ),
        pytest.param({"fault": "403-firewall"}, "network rules", "networkAcls", id="network rules"),
        pytest.param({"fault": "403-blocked"}, "Azure forbids the call", "in the portal says which", id="blocked"),
        pytest.param(
            {"fault": "404-resource"}, "does not know the mint's path", "AZURE_OPENAI_API_VERSION", id="path"
        ),
        pytest.param(
            {"fault": "400-unknown-parameter"}, "rejects the session", "of the profile in sessions/", id="profile"
        ),
        pytest.param({"fault": "reset"}, "does not answer a mint", "generally an outage", id="reset"),
    ],
)
def test_minting_is_out_of_the_question(
    azure: SimulatedAzure, doctor: Doctor, switches: dict[str, Any], said: str, pasted: str
) -> None:
    """A refusal of every mint is named with what it means and what to paste; exit 1, after one or two calls."""
    azure.set(**switches)

    run = doctor()

    assert run.returncode == 1
    assert said in verdict(run)
    assert pasted in run.stdout
    assert len(azure.mints()) <= 2


@pytest.mark.parametrize("fault", ["hang", "slow-headers", "slow-body"])
def test_nothing_hangs(azure: SimulatedAzure, own_process: Doctor, fault: str) -> None:
    """A server that never ends its reply, however it drips, is given up after --timeout."""
    azure.set(fault=fault)

    run = own_process("--timeout", "1")

    assert run.returncode == 1
    assert "got timeout" in run.stdout


def test_wrong_audience(azure: SimulatedAzure, doctor: Doctor) -> None:
    """A refused audience is tried against the other one; what works is measured with, and to be set."""
    azure.set(defect="all-fails")

    run = doctor(AZURE_OPENAI_SCOPE="https://ai.azure.com/.default")

    assert run.returncode == 1
    assert "The block fails the mint wherever it is put" in verdict(run)
    assert "AZURE_OPENAI_SCOPE=https://cognitiveservices.azure.com/.default" in verdict(run)


def test_unreachable(doctor: Doctor) -> None:
    """An endpoint that nothing answers at teaches nothing about the resource: exit 2."""
    run = doctor(AZURE_OPENAI_ENDPOINT="http://127.0.0.1:1")

    assert run.returncode == 2
    assert "Nothing was measured: the endpoint cannot be reached from here." in verdict(run)


def test_no_token(azure: SimulatedAzure, doctor: Doctor) -> None:
    """Without a token nothing can be measured: exit 2, and how to get one."""
    azure.set(identity_fault="500")

    run = doctor()

    assert run.returncode == 2
    assert "$ az login" in run.stdout


def test_bad_settings(doctor: Doctor) -> None:
    """Every faulty setting is named at once: exit 2, and nothing is sent."""
    run = doctor(AZURE_OPENAI_ENDPOINT="", TRANSCRIPTION_MODE="sometimes")

    assert run.returncode == 2
    assert "AZURE_OPENAI_ENDPOINT is missing" in run.stdout
    assert "TRANSCRIPTION_MODE is not valid" in run.stdout


def test_settings_file(azure: SimulatedAzure, doctor: Doctor, tmp_path: Path) -> None:
    """An export of the app's settings is taken over the environment, and an option over both."""
    exported = [{"name": "AZURE_OPENAI_REALTIME_DEPLOYMENT", "value": "of-the-file", "slotSetting": False}]
    (tmp_path / "app.json").write_text(json.dumps(exported), "utf-8")

    from_file = doctor("--settings", str(tmp_path / "app.json"))
    from_option = doctor("--settings", str(tmp_path / "app.json"), "--deployment", "gpt-realtime")

    assert "no deployment named of-the-file" in from_file.stdout
    assert azure.mints()[0]["body"]["session"]["model"] == "of-the-file"
    assert from_option.returncode == 0


def test_not_a_settings_file(doctor: Doctor, tmp_path: Path) -> None:
    """A file that holds no app settings is refused in a line: exit 2."""
    (tmp_path / "app.json").write_text("[]", "utf-8")

    run = doctor("--settings", str(tmp_path / "app.json"))

    assert run.returncode == 2
    assert "is not a file of app settings" in run.stdout


def test_no_transcription(doctor: Doctor) -> None:
    """Without a transcription deployment only the plain mint is measured, and the block is not spoken of."""
    run = doctor(AZURE_OPENAI_TRANSCRIPTION_DEPLOYMENT="")

    assert run.returncode == 0
    assert "Minting works, and transcription is off." in verdict(run)
    assert FLAT not in run.stdout


def test_expires_after_is_refused(azure: SimulatedAzure, doctor: Doctor) -> None:
    """A refused expires_after is a fault only for an app that sends it."""
    azure.set(defect="fixed", expires_after="refused")

    unsent, sent = doctor(), doctor(CLIENT_SECRET_TTL_SECONDS="60")  # noqa: S106 - a lifetime

    assert unsent.returncode == 0
    assert "With expires_after and without transcription: 3 of 3 failed" in verdict(unsent)
    assert sent.returncode == 1
    assert "--setting-names CLIENT_SECRET_TTL_SECONDS" in verdict(sent)


def test_probes_live_shortest_and_only_there(azure: SimulatedAzure, doctor: Doctor) -> None:
    """Only the kinds that are about expires_after send it, with the shortest lifetime there is."""
    doctor()
    asked = [mint["body"].get("expires_after") for mint in azure.mints()]

    assert asked.count({"anchor": "created_at", "seconds": 10}) == 9
    assert asked.count(None) == len(asked) - 9


def test_interleaved(azure: SimulatedAzure, doctor: Doctor) -> None:
    """No kind of mint has a time of its own: each round has every kind, and begins with another one."""
    doctor()
    sessions = [mint["body"]["session"] for mint in azure.mints()[1:]]  # the first is the one before the rounds
    kinds = [
        FLAT if FLAT in one else NESTED if "transcription" in one["audio"]["input"] else "" for one in sessions
    ]

    assert [kinds[start : start + 3] for start in (0, 6, 12)] == [
        ["", NESTED, FLAT],
        [NESTED, FLAT, ""],
        [FLAT, "", NESTED],
    ]


@pytest.mark.parametrize(
    ("taken", "field", "status"), [("rejected", NESTED, 0), ("rejected", FLAT, 1), ("accepted", FLAT, 0)]
)
def test_session_update(azure: SimulatedAzure, doctor: Doctor, taken: str, field: str, status: int) -> None:
    """Both forms of session.update are tried; clients told to send one that Azure discards are a fault."""
    azure.set(defect="all-fails", flat_update=taken)

    run = doctor("--repeat", "1", connect=True, TRANSCRIPTION_FIELD=field)

    flat = "session.updated" if taken == "accepted" else "error unknown_parameter"
    assert f"session.update with {NESTED} got: session.updated." in verdict(run)
    assert f"session.update with {FLAT} got: {flat}." in verdict(run)
    assert run.returncode == status


def test_lost_ack(azure: SimulatedAzure, doctor: Doctor) -> None:
    """An update that is never answered proves nothing, and hangs nothing."""
    azure.set(update_ack="lost")

    run = doctor("--repeat", "1", "--timeout", "1", connect=True)

    assert run.returncode == 0
    assert f"session.update with {NESTED} got: no answer." in verdict(run)


def test_interrupted(azure: SimulatedAzure, required: dict[str, str]) -> None:
    """Ctrl-C ends a run at once, without a traceback: exit 2."""
    azure.set(fault="hang")
    with subprocess.Popen(
        [sys.executable, "-m", "diagnose", "--timeout", "60"],
        cwd=ROOT,
        env=required | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        while not azure.mints() and process.poll() is None:
            pass  # until it waits for a mint
        os.kill(process.pid, signal.SIGINT)
        said, errors = process.stdout.read(), process.stderr.read()

    assert process.returncode == 2
    assert said.endswith("Interrupted; nothing was written.\n")
    assert errors == ""


def test_nothing_leaks(azure: SimulatedAzure, doctor: Doctor, tmp_path: Path) -> None:
    """No token, client secret, key or instruction is in the terminal's lines, the report or the JSON."""
    report, document = tmp_path / "report.md", tmp_path / "report.json"
    run = doctor(
        *("--report", str(report), "--json", str(document), "--compare-endpoint", azure.url),
        connect=True,
        AZURE_OPENAI_API_KEY="simulated-api-key",
    )
    texts = [run.stdout, report.read_text("utf-8"), document.read_text("utf-8")]

    assert run.returncode == 0
    assert [secrets_in(text) for text in texts] == [[], [], []]
    assert all("127.0.0.1" not in text for text in texts[1:])


def test_report_of_a_role_that_is_missing(azure: SimulatedAzure, doctor: Doctor, tmp_path: Path) -> None:
    """With a key the report still answers question 4 where the identity may not mint."""
    azure.set(faults=["401-permission-denied"], defect="all-fails")

    run = doctor("--report", str(tmp_path / "report.md"), AZURE_OPENAI_API_KEY="simulated-api-key")

    assert run.returncode == 1
    assert f"mint with {NESTED}, API key: 3 of 3 failed" in verdict(run)
    assert f"| mint with {NESTED}, API key | 3 of 3 failed" in (tmp_path / "report.md").read_text("utf-8")


def test_unwritable_report(doctor: Doctor, tmp_path: Path) -> None:
    """A report that cannot be written is said in a line, after the verdict: exit 2."""
    run = doctor("--repeat", "1", "--report", str(tmp_path / "missing" / "report.md"))

    assert run.returncode == 2
    assert "cannot be written: No such file or directory." in verdict(run)
