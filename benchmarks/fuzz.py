"""Bytes from outside, led by what code they reach: `make fuzz`, with atheris in an environment of its own.

tests/test_fuzz.py makes up values of nearly the right shape; this starts from a few right ones and changes bytes,
at the three places where bytes are read. An exception that is no answer ends it; its input is kept in build/fuzz.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]  # only in its own environment

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
with atheris.instrument_imports(include=["mint"]):
    from mint import bearer, body, replies
    from mint.errors import CODES, MintError
    from mint.profiles import Profiles
    from mint.session import compose
    from mint.settings import Settings

SETTINGS = Settings(
    endpoint="https://example.openai.azure.com", deployment="gpt-realtime", transcription_deployment="whisper"
)
PROFILES = Profiles(None)
_MINTED = b'{"value": "ek_1", "expires_at": 1893456000, "session": {"id": "sess_1", "type": "realtime"}}'
_REFUSED = b'{"error": {"code": "PermissionDenied", "message": "no", "param": "session.audio", "type": "x"}}'
SEEDS = {
    "request": [
        b"{}",
        b'{"session": {"type": "realtime", "audio": {"output": {"voice": "alloy"}}}}',
        b'{"expires_after": {"anchor": "created_at", "seconds": 60}}',
    ],
    "reply": [bytes([status]) + b"5       " + body for status in range(8) for body in (_MINTED, _REFUSED)],
    "token": [b"eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.eyJzdWIiOiIxIn0.c2ln"],
}
WORDS = [
    r"inf",
    r"nan",
    r"1e999",
    r"\xc3\xa9",
    r"\\ud800",
    r"[[[[[[[[",
    r"session",
    r"client_secret",
    r"error",
    r"code",
]
"""Where readers of JSON and of numbers differ; libFuzzer's own notation."""


def request(data: bytes) -> None:
    """Read a request's body; what the server decides stays as it was, whatever the body says."""
    profile = PROFILES.default
    session = compose(body.read(data, None), profile, PROFILES.schema, SETTINGS)
    json.dumps(session.body, allow_nan=False).encode()
    assert session.body["model"] == SETTINGS.deployment
    assert session.body.get("instructions") == profile.session.get("instructions")


def reply(data: bytes) -> None:
    """Read a reply of Azure's: status and Retry-After come from the first bytes, the body is the rest."""
    status = (200, 400, 401, 403, 404, 429, 500, 503)[data[0] % 8] if data else 200
    headers = {"Retry-After": data[1:9].decode("latin-1")}
    minted = replies.read(replies.Reply(status, headers, data[9:]))
    assert minted.value.isascii()
    assert minted.expires_at >= 0


def token(data: bytes) -> None:
    """Read the header of a caller's token."""
    bearer._key_id(bearer._token({"authorization": f"Bearer {data.decode('latin-1')}"}))


TARGETS: dict[str, Callable[[bytes], None]] = {"request": request, "reply": reply, "token": token}


def fuzz(name: str) -> None:
    """Give a target bytes until libFuzzer's arguments say that it is enough; it ends the process."""
    target = TARGETS[name]

    def once(data: bytes) -> None:
        try:
            target(data)
        except MintError as error:
            json.dumps([CODES[error.code], error.body()], default=str).encode()

    atheris.Setup(sys.argv[:1] + sys.argv[2:], once)
    atheris.Fuzz()


def main() -> int:
    """Run every target in a process of its own, for a minute or as many seconds as named."""
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    build = ROOT / "build" / "fuzz"
    words = build / "words"
    words.write_text("".join(f'"{word}"\n' for word in WORDS), "ascii")
    failed = []
    for name, seeds in SEEDS.items():
        corpus = build / "corpus" / name
        corpus.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(seeds):
            (corpus / f"seed-{number}").write_bytes(seed)
        options = [f"-max_total_time={seconds}", f"-artifact_prefix={build}/{name}-", "-print_final_stats=1"]
        command = [sys.executable, __file__, f"--{name}", f"-dict={words}", *options, str(corpus)]
        ran = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)  # noqa: S603 - this file
        counts = [line for line in ran.stderr.splitlines() if "number_of_executed_units" in line]
        print(f"{name}: {counts[-1].rpartition(' ')[2] if counts else 'no'} inputs, exit code {ran.returncode}")
        if ran.returncode:
            print(ran.stderr[-3000:])
            failed.append(name)
    return int(bool(failed))


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1].startswith("--"):
        fuzz(sys.argv[1].removeprefix("--"))
    sys.exit(main())
