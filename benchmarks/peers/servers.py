"""How each peer is started, and pointed at the simulated upstream."""

import shutil
from collections.abc import Callable
from pathlib import Path

from benchmarks.peers import install
from benchmarks.processes import Process, free_port
from benchmarks.targets import API_KEY, DEPLOYMENT, Target, Upstream

HERE = Path(__file__).parent
THREADS = 32
_JSON = {"Content-Type": "application/json"}


def az_realtime_webrtc(upstream: Upstream) -> tuple[Process, Target]:
    """Start the nearest Python package: its router for FastAPI, under uvicorn."""
    port = free_port()
    env = {"UPSTREAM": upstream.url, "API_KEY": API_KEY, "DEPLOYMENT": DEPLOYMENT, **upstream.trusted_env()}
    command = [str(install.python()), str(HERE / "az_realtime_webrtc_server.py"), str(port)]
    process = Process("az-realtime-webrtc", command, env, port=port)
    return process, Target("POST", f"{process.url}/api/realtime/token", {}, "")


def naive(upstream: Upstream) -> tuple[Process, Target]:
    """Start a sample as they are published, written for this comparison: Flask under gunicorn."""
    port = free_port()
    env = {
        "AZURE_OPENAI_ENDPOINT": upstream.url,
        "AZURE_OPENAI_REALTIME_DEPLOYMENT": DEPLOYMENT,
        **upstream.identity_env(),
    }
    options = [
        "--bind",
        f"127.0.0.1:{port}",
        "--threads",
        str(THREADS),
        "--chdir",
        str(HERE),
        "--no-control-socket",
    ]
    command = [str(install.python()), "-m", "gunicorn", *options, "naive_server:app"]
    process = Process("naive", command, env, port=port)
    return process, Target("POST", f"{process.url}/token", _JSON, "{}")


def navai(upstream: Upstream) -> tuple[Process, Target]:
    """Start the nearest npm package: its routes for Express, under Node."""
    port = free_port()
    env = {"UPSTREAM": upstream.url, "OPENAI_API_KEY": API_KEY, **upstream.trusted_env()}
    # Node looks for packages where the file is.
    script = install.node() / "navai_server.mjs"
    shutil.copyfile(HERE / script.name, script)
    process = Process("navai", ["node", str(script), str(port)], env, port=port)
    return process, Target("POST", f"{process.url}/navai/realtime/client-secret", _JSON, "{}")


SERVERS: dict[str, Callable[[Upstream], tuple[Process, Target]]] = {
    "az-realtime-webrtc 0.2.0 (FastAPI)": az_realtime_webrtc,
    "a naive sample (Flask, gunicorn)": naive,
    "@navai/voice-backend 0.1.3 (Node, Express)": navai,
}
PYTHON = frozenset(name for name, start in SERVERS.items() if start is not navai)
