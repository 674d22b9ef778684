"""Serves an application until a signal ends it; what the simulated resource and the issuer have in common."""

import asyncio
import errno
import signal
import ssl
import sys
from collections.abc import Callable

from aiohttp import web


async def serve(
    app: web.Application,
    address: str,
    port: int,
    listening: Callable[[str], str],
    tls: ssl.SSLContext | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code. `listening` gives the line to print for a URL."""
    # handler_cancellation: a fault that never answers ends when its client goes away.
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, address, port, backlog=1024, ssl_context=tls).start()
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        reason = "is in use; choose another with --port" if taken else f"cannot be listened on ({error.strerror})"
        print(f"Port {port} on {address} {reason}.", file=sys.stderr)
        await runner.cleanup()
        return 1
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    scheme = "https" if tls else "http"
    print(listening(f"{scheme}://{address}:{runner.addresses[0][1]}"), flush=True)
    await stop.wait()
    await runner.cleanup()
    return 0
