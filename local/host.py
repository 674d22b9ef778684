"""A Functions host for the laptop: HTTP in front of the runtime that Azure's Python worker calls.

It differs from Azure where an app cannot be indexed: this host prints why and exits, while there every route
is missing and answers 404. One app per process (the runtime keeps it in module globals); HTTP triggers only.
"""

import argparse
import asyncio
import errno
import hmac
import json
import logging
import os
import re
import secrets
import signal
import sys
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Any

import azure_functions_runtime as runtime
from aiohttp import web

from local import protos

BODY_LIMIT = str(100 * 1024 * 1024)  # bytes; the platform's default
STOP_SECONDS = 5  # what running requests are given when the host is told to stop
PREFLIGHT_SECONDS = "600"  # short, so that the browser soon notices a change of Host.CORS

# The server frames each reply; a length stated by the function could only contradict it.
FRAMING = frozenset({"content-length", "transfer-encoding"})

PARAMETER = re.compile(r"\{([A-Za-z_]\w*)\}")


class CannotStartError(Exception):
    """What is wrong and what to do about it, for the terminal."""


@dataclass(frozen=True)
class Cors:
    """Whose pages may read the replies."""

    origins: frozenset[str]
    credentials: bool = False

    def headers(self, origin: str | None) -> dict[str, str]:
        """Give the headers for a reply to a page of that origin; none if it is not listed.

        Access-Control-Expose-Headers is not among them because the platform never sends it: here as on Azure a
        page of another origin cannot read the app's own headers.
        """
        if origin is None or self.origins.isdisjoint(("*", origin)):
            return {}
        headers = {"Access-Control-Allow-Origin": "*" if "*" in self.origins else origin}
        if self.credentials:
            headers["Access-Control-Allow-Credentials"] = "true"
        return headers


@dataclass(frozen=True)
class Function:
    """A function that an HTTP request can call."""

    id: str
    name: str
    parameter: str  # the name of the function's argument that takes the request
    path: str
    methods: tuple[str, ...]  # none: every method
    needs_key: bool

    @classmethod
    def from_metadata(cls, metadata: protos.Message, prefix: str) -> "Function | None":
        """Read the HTTP trigger; None if the function has another kind."""
        bindings = [json.loads(binding) for binding in metadata.raw_bindings]
        trigger = next((binding for binding in bindings if binding["type"] == "httpTrigger"), None)
        if trigger is None:
            return None
        route = (trigger.get("route") or metadata.name).strip("/")
        if route.lower().startswith(("admin", "runtime")):
            raise CannotStartError(
                f"{metadata.name}: the route {route!r} begins with 'admin' or 'runtime', which the platform "
                "keeps for itself (it refuses 'admin-x' too). Choose another route."
            )
        if set("{}*?") & set(PARAMETER.sub("", route)):
            raise CannotStartError(
                f"{metadata.name}: the route {route!r} has more than plain {{name}} parameters."
            )
        return cls(
            id=metadata.function_id,
            name=metadata.name,
            parameter=trigger["name"],
            path=f"/{prefix}/{route}" if prefix else f"/{route}",
            methods=tuple(method.upper() for method in trigger.get("methods") or ()),
            needs_key=trigger.get("authLevel", "FUNCTION").upper() != "ANONYMOUS",
        )


class Routes:
    """Which function answers a path and a method; neither the case of the path counts nor a slash at its end."""

    def __init__(self, functions: Iterable[Function]) -> None:
        self._fixed: dict[tuple[str, str], Function] = {}
        self._patterns: list[tuple[re.Pattern[str], Function]] = []
        # Of two patterns the one that is fixed for longer wins, as in ASP.NET.
        for function in sorted(functions, key=lambda function: ["{" in part for part in function.path.split("/")]):
            if "{" in function.path:
                self._patterns.append((_pattern(function.path), function))
                continue
            for method in function.methods or ("*",):
                other = self._fixed.setdefault((function.path.lower(), method), function)
                if other is not function:
                    raise CannotStartError(
                        f"{other.name} and {function.name} have the same route {function.path}."
                    )

    def find(self, path: str, method: str) -> tuple[Function | None, Mapping[str, str]]:
        """Look up the function, and what the parameters of its route stand for."""
        path = path.rstrip("/")
        fixed = path.lower()
        if function := self._fixed.get((fixed, method)) or self._fixed.get((fixed, "*")):
            return function, {}
        for pattern, function in self._patterns:
            if (not function.methods or method in function.methods) and (match := pattern.fullmatch(path)):
                return function, match.groupdict()
        return None, {}


def _pattern(path: str) -> re.Pattern[str]:
    fixed_and_names = enumerate(PARAMETER.split(path))
    parts = (f"(?P<{part}>[^/]+)" if index % 2 else re.escape(part) for index, part in fixed_and_names)
    return re.compile("".join(parts), re.IGNORECASE)


class Host:
    """What the platform does around a function: route, key, CORS, and translation in both directions."""

    def __init__(self, routes: Routes, *, key: str | None, cors: Cors | None, headers: Mapping[str, str]) -> None:
        self._routes = routes
        self._key = None if key is None else _key_bytes(key)
        self._cors = cors
        self._custom_headers = tuple(headers.items())

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, from the function or in its place."""
        if self._cors and _is_preflight(request):
            return self._preflight(request, self._cors)
        function, parameters = self._routes.find(request.path, request.method)
        if function is None:
            if request.path == "/" and request.method == "GET":
                return web.Response(text="The Functions host is running.\n")
            return web.Response(status=404)
        if function.needs_key and not self._admits(request):
            return web.Response(status=401)
        try:
            # Chunked bodies are read too. On Azure some front ends lose them before the worker sees them.
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return web.Response(status=413)
        return await _call(function, request, parameters, body)

    def _preflight(self, request: web.Request, cors: Cors) -> web.Response:
        response = web.Response(status=204)
        if cors.headers(request.headers.get("Origin")):
            response.headers["Access-Control-Allow-Methods"] = request.headers["Access-Control-Request-Method"]
            response.headers["Access-Control-Max-Age"] = PREFLIGHT_SECONDS
            if asked := request.headers.get("Access-Control-Request-Headers"):
                response.headers["Access-Control-Allow-Headers"] = asked
        return response

    def _admits(self, request: web.Request) -> bool:
        if self._key is None:
            return True
        # The header wins even where it is wrong and ?code= is right. Neither is taken away from the function.
        given = request.headers.get("x-functions-key")
        given = request.query.get("code", "") if given is None else given
        return hmac.compare_digest(_key_bytes(given), self._key)

    async def finish(self, request: web.Request, response: web.StreamResponse) -> None:
        """Add what the platform adds to every reply, its own included."""
        for name, value in self._custom_headers:
            response.headers.setdefault(name, value)
        if self._cors and (granted := self._cors.headers(request.headers.get("Origin"))):
            response.headers.update(granted)
            response.headers.add("Vary", "Origin")


def _is_preflight(request: web.Request) -> bool:
    headers = request.headers
    return request.method == "OPTIONS" and "Origin" in headers and "Access-Control-Request-Method" in headers


def _key_bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


async def _call(
    function: Function, request: web.Request, parameters: Mapping[str, str], body: bytes
) -> web.Response:
    http = protos.RpcHttp(
        method=request.method,
        url=str(request.url),
        headers=_joined((name.lower(), value) for name, value in request.headers.items()),
        query={name: value for name, value in _joined(request.query.items()).items() if value},
        params=parameters,
        body=protos.TypedData(bytes=body),
    )
    call = protos.Message(
        invocation_id=str(uuid.uuid4()),
        function_id=function.id,
        input_data=[protos.ParameterBinding(name=function.parameter, data=protos.TypedData(http=http))],
        trigger_metadata={},
        trace_context=protos.Message(
            trace_parent=http.headers.get("traceparent", ""), trace_state="", attributes={}
        ),
        retry_context=protos.Message(retry_count=0, max_retry_count=0, exception=None),
    )
    reply = await runtime.invocation_request(protos.Message(request=protos.Message(invocation_request=call)))
    if reply.result.status != protos.StatusResult.Success:
        print(f"{function.name} failed: {reply.result.exception.stack_trace}", file=sys.stderr, flush=True)
        return web.Response(status=500)
    return _response(reply.return_value)


def _joined(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in pairs:
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined


def _response(value: protos.TypedData) -> web.Response:
    if value.WhichOneof("data") != "http":
        # A function that returns str. The platform may also take it for JSON that describes a whole reply.
        return web.Response(text=value.string)
    response = web.Response(status=int(value.http.status_code), body=value.http.body.bytes)
    for name, text in value.http.headers.items():
        if name.lower() not in FRAMING:
            response.headers[name] = text
    for cookie in value.http.cookies or ():
        response.set_cookie(
            cookie.name,
            cookie.value,
            path=cookie.path.value or "/",
            domain=cookie.domain.value or None,
            expires=cookie.expires and formatdate(cookie.expires.value.seconds, usegmt=True),
            max_age=cookie.max_age and int(cookie.max_age.value),
            secure=cookie.secure.value,
            httponly=cookie.http_only.value,
            samesite=("", "Lax", "Strict", "None")[cookie.same_site] or None,
        )
    return response


async def index(app_dir: Path) -> list[Any]:
    """Have the runtime import the app, and return the metadata of its functions."""
    # With these set the runtime believes that it is on Azure and reads its settings differently.
    for name in ("CONTAINER_NAME", "WEBSITE_INSTANCE_ID"):
        os.environ.pop(name, None)
    sys.path.insert(0, str(app_dir))
    runtime.start_threadpool_executor()
    init = protos.Message(capabilities={}, function_app_directory=str(app_dir))
    request = protos.Message(
        request=protos.Message(worker_init_request=init), properties={"protos": protos, "host": "127.0.0.1"}
    )
    result = (await runtime.worker_init_request(request)).result
    if result.status != protos.StatusResult.Success:
        raise CannotStartError(
            f"The app in {app_dir} cannot be indexed, so it has no routes. {result.exception.message}\n"
            f"{result.exception.stack_trace}"
        )
    metadata = (await runtime.functions_metadata_request(request)).function_metadata_results or []
    for function in metadata:
        load = protos.Message(function_id=function.function_id)
        await runtime.function_load_request(protos.Message(request=protos.Message(function_load_request=load)))
    return metadata


FUNCTIONS = web.AppKey("FUNCTIONS", list[Function])


async def create_app(
    app_dir: Path,
    *,
    keys: str | None = None,
    cors: Cors | None = None,
    static: Mapping[str, Path] | None = None,
) -> web.Application:
    """Index the app and put the host around it; `static` maps paths, such as /demo or "" for /, to directories."""
    http = read_json(app_dir / "host.json").get("extensions", {}).get("http", {})
    prefix = http.get("routePrefix", "api").strip("/")
    found = [(function.name, Function.from_metadata(function, prefix)) for function in await index(app_dir)]
    for name, function in found:
        if function is None:
            print(f"{name} is left out: only HTTP triggers run here.", file=sys.stderr)
    functions = [function for _, function in found if function]
    if not functions:
        # Azure says nothing either when function_app.py is absent or a blueprint was not registered.
        print(f"No functions found in {app_dir}: every route will answer 404.", file=sys.stderr)
    host = Host(Routes(functions), key=keys, cors=cors, headers=http.get("customHeaders", {}))
    app = web.Application(client_max_size=int(os.environ.get("FUNCTIONS_REQUEST_BODY_SIZE_LIMIT", BODY_LIMIT)))
    app[FUNCTIONS] = functions
    app.on_response_prepare.append(host.finish)
    for path, directory in (static or {}).items():
        app.router.add_get(f"{path}/", _page(directory / "index.html"))
        if path:
            app.router.add_static(path, directory)
        else:  # file by file, so that the functions keep every other path
            app.router.add_routes([web.get(f"/{file.name}", _page(file)) for file in directory.iterdir()])
    app.router.add_route("*", "/{path:.*}", host.answer)
    return app


def _page(file: Path) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def page(_request: web.Request) -> web.StreamResponse:
        return web.FileResponse(file)

    return page


async def serve(app: web.Application, address: str, port: int) -> None:
    """Serve until SIGINT or SIGTERM, then let running requests finish."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    # A compressed body reaches the function as it was sent, as on Azure.
    runner = web.AppRunner(app, access_log=None, auto_decompress=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, address, port).start()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CannotStartError(f"Port {port} is in use. Choose another with --port, or --port 0.") from error
        raise CannotStartError(f"Cannot listen on {address}:{port}: {error.strerror}.") from error
    host, port = runner.addresses[0][:2]
    base = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    lines = [f"  {f.name}: [{','.join(f.methods) or 'any method'}] {base}{f.path}" for f in app[FUNCTIONS]]
    print(f"Functions host listening on {base}", *lines, sep="\n", flush=True)
    await stop.wait()
    with suppress(TimeoutError):
        async with asyncio.timeout(STOP_SECONDS):
            await runner.cleanup()


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; a file that is missing or empty counts as {}."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return {}
    try:
        content = json.loads(text) if text.strip() else {}
    except ValueError as error:
        raise CannotStartError(f"{path} is not JSON: {error}.") from error
    if not isinstance(content, dict):
        raise CannotStartError(f"{path} is not a JSON object.")
    return content


def apply_settings(settings: Mapping[str, Any], cors: str | None) -> Cors | None:
    """Put `Values` into the environment, where what is set already wins, and read the CORS settings."""
    if settings.get("IsEncrypted"):
        raise CannotStartError("The settings file is encrypted. Run: func settings decrypt")
    for name, value in (settings.get("Values") or {}).items():
        os.environ.setdefault(name, value if isinstance(value, str) else json.dumps(value))
    host = settings.get("Host") or {}
    listed = host.get("CORS", "") if cors is None else cors
    origins = frozenset(origin.strip() for origin in listed.split(",") if origin.strip())
    credentials = str(host.get("CORSCredentials", "")).lower() == "true"
    if credentials and "*" in origins:
        raise CannotStartError("CORS is * together with CORSCredentials, which browsers refuse. Name the origins.")
    return Cors(origins, credentials) if origins else None


def configure_logging() -> None:
    """Log as the worker does: level, logger and message; what comes in `extra=` is lost."""
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(levelname)s %(name)s %(message)s")
    logging.getLogger("azure.functions").setLevel(logging.WARNING)  # the runtime logs each call's name at INFO


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m local.host", description="Run a Functions app on this machine."
    )
    parser.add_argument("--port", type=int, default=7071, help="0 chooses a free one; default 7071")
    parser.add_argument("--address", default="127.0.0.1", help="default 127.0.0.1; in a container 0.0.0.0")
    parser.add_argument("--app", type=Path, default=Path(), help="directory of function_app.py; default: this one")
    parser.add_argument("--settings", type=Path, help="default: local.settings.json in the app's directory")
    parser.add_argument(
        "--keys", nargs="?", const="", metavar="KEY", help="demand function keys; alone, makes one up"
    )
    parser.add_argument("--cors", metavar="ORIGIN[,ORIGIN]", help="instead of Host.CORS in the settings")
    parser.add_argument("--page", type=Path, metavar="DIRECTORY", help="serve its index.html, and its files, at /")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the host; the result is the exit code."""
    args = parse_arguments(arguments)
    app_dir = args.app.resolve()
    configure_logging()

    async def run() -> None:
        for path in (app_dir, args.settings, args.page):
            if path and not path.exists():
                raise CannotStartError(f"{path} does not exist.")
        cors = apply_settings(read_json(args.settings or app_dir / "local.settings.json"), args.cors)
        key = secrets.token_urlsafe(32) if args.keys == "" else args.keys
        if args.keys == "":
            print(f"Function key: {key}", flush=True)
        static = {"": args.page.resolve()} if args.page else None
        os.chdir(app_dir)  # the worker does so too
        app = await create_app(app_dir, keys=key, cors=cors, static=static)
        await serve(app, args.address, args.port)

    try:
        asyncio.run(run())
    except CannotStartError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit, which would wait for the threads of functions that never return.
    os._exit(code)
