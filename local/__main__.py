"""`make run`: the endpoint and a simulated Azure OpenAI resource on this machine, and one mint through both.

For a look and for client development. It says nothing about your Azure resource.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import NoReturn

import requests

from local.client_secrets import DEFECTS

ROOT = Path(__file__).resolve().parent.parent
NEXT = """
{reply}

That is what a client gets: {update}

  talk to it      {host}/   in a browser: both sides in writing, and every event
  mint again      curl -X POST {host}/api/realtime/client_secrets{header}{signing_in}
  health          curl {host}/api/health
  what Azure got  curl {azure}/_simulator/requests
  break Azure     curl -X PATCH {azure}/_simulator -d '{{"fault": "429-retry-after"}}'   (null mends it)
  flip the flag   make run ARGS="--mode mint_time --defect fixed"

With a resource of your own, no key needed:
  1. az login, as someone with the role 'Cognitive Services OpenAI User' on the resource
  2. cp local.settings.sample.json local.settings.json, and fill in the endpoint and the deployments
  3. .venv/bin/python -m local.host   (or, with Core Tools: func start)

Ctrl-C ends it."""
SIGNING_IN = """
  another token   curl {issuer}/token -d sub=SOMEONE -d aud={audience}"""
AUDIENCE = "api://realtime-token-endpoint"


def parse_arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__)
    parser.add_argument(
        "--port", type=port, default=7071, help="of the endpoint; 0 picks a free one (default 7071)"
    )
    parser.add_argument("--azure-port", type=port, default=9900, help="of the simulated resource (default 9900)")
    parser.add_argument("--mode", default="post_connect", help="TRANSCRIPTION_MODE (default post_connect)")
    parser.add_argument("--field", default="", help="TRANSCRIPTION_FIELD (default audio.input.transcription)")
    parser.add_argument(
        "--auth",
        choices=("function_key", "jwt"),
        default="function_key",
        help="CALLER_AUTH (default function_key)",
    )
    parser.add_argument("--defect", choices=DEFECTS, default="all-fails", help="what Azure does with the block")
    return parser.parse_args()


def port(text: str) -> int:
    """Return a port number; raises ValueError, which argparse words."""
    if not 0 <= (number := int(text)) <= 65535:
        raise ValueError
    return number


def settings_of(azure: str) -> dict[str, str]:
    """Return the app settings that lead to the simulated resource at the URL `azure`."""
    return {
        "IDENTITY_ENDPOINT": f"{azure}/msi/token",
        "IDENTITY_HEADER": "simulated-identity-header",
        "AZURE_OPENAI_ENDPOINT": azure,
        "AZURE_OPENAI_REALTIME_DEPLOYMENT": "gpt-realtime",
        "AZURE_OPENAI_TRANSCRIPTION_DEPLOYMENT": "gpt-4o-transcribe",
    }


def start(processes: ExitStack, module: str, *arguments: str, **settings: str) -> str:
    """Start a module of local/ and return the URL that its ready line names; its log goes to our stderr."""
    process = subprocess.Popen(  # noqa: S603 - our own modules
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env=os.environ | settings,
        stdout=subprocess.PIPE,
        text=True,
    )
    processes.callback(process.wait)
    processes.callback(process.terminate)
    if process.stdout is None:
        raise RuntimeError("a process without the pipe that was asked for")
    ready = process.stdout.readline()
    if not ready:
        code = process.wait() or 1  # it has said why, as one that was started alone
        print(
            "Here --port is the endpoint's and --azure-port the simulated Azure's, for instance", file=sys.stderr
        )
        print('  make run ARGS="--port 7072 --azure-port 9901"', file=sys.stderr)
        sys.exit(code)
    threading.Thread(target=_copy, args=(process,), daemon=True).start()
    return ready.rpartition(" ")[2].strip()


def start_issuer(processes: ExitStack) -> tuple[dict[str, str], str, str]:
    """Start an OIDC issuer; return the settings that trust it, a token of it, and its URL."""
    issuer = start(processes, "local.issuer", "--port", "0")
    asked = {"sub": "a-caller", "aud": AUDIENCE}
    token = requests.post(f"{issuer}/token", data=asked, timeout=30).json()["access_token"]
    return {"CALLER_AUTH": "jwt", "JWT_ISSUER": issuer, "JWT_AUDIENCE": AUDIENCE}, token, issuer


def _copy(process: "subprocess.Popen[str]") -> None:
    for line in process.stdout or ():
        print(line, end="", file=sys.stderr, flush=True)


def run(arguments: argparse.Namespace) -> NoReturn:
    """Start both, mint once as a client would, say how to go on, and serve until a signal."""
    with ExitStack() as processes:
        azure = start(processes, "local.azure", "--port", str(arguments.azure_port), "--defect", arguments.defect)
        trust, token, issuer = start_issuer(processes) if arguments.auth == "jwt" else ({}, "", "")
        host = start(
            processes,
            "local.host",
            "--port",
            str(arguments.port),
            "--settings",
            os.devnull,
            "--cors",
            "*",
            "--page",
            "clients/web",
            **settings_of(azure),
            **trust,
            TRANSCRIPTION_MODE=arguments.mode,
            TRANSCRIPTION_FIELD=arguments.field,
        )
        authorization = {"Authorization": f"Bearer {token}"} if token else {}
        response = requests.post(f"{host}/api/realtime/client_secrets", headers=authorization, timeout=30)
        reply = response.json()
        if reply.get("session_update"):
            update = (
                "it connects with value, then sends session_update, because transcription is not configured yet."
            )
        elif response.ok:
            update = "it connects with value, and has nothing to send: transcription is configured, or off."
        else:
            update = "no secret this time, and what to do about it."
        header = f' -H "Authorization: Bearer {token}"' if token else ""
        signing_in = SIGNING_IN.format(issuer=issuer, audience=AUDIENCE) if token else ""
        text = json.dumps(reply, indent=2)
        print(
            NEXT.format(reply=text, update=update, host=host, azure=azure, header=header, signing_in=signing_in),
            flush=True,
        )
        signal.pause()
        raise AssertionError("a signal ends the wait above by an exception")


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    try:
        run(parse_arguments())
    except KeyboardInterrupt:
        sys.exit(0)
