"""What the local Functions host does around a function, on small apps made for the purpose.

The expectations are the platform's, as documented and as its source has them; nothing here asks Azure itself.
"""

import gzip
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.hosting import ROOT, Host

StartHost = Callable[..., Host]

HEADER = """
import asyncio, json, logging, os, threading
import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
Request, Response = func.HttpRequest, func.HttpResponse
"""

ECHO = """
@app.route(route="echo", methods=["GET", "POST"])
def echo(req: Request) -> Response:
    seen = {"method": req.method, "url": req.url, "headers": dict(req.headers), "query": dict(req.params),
            "body": req.get_body().decode("latin-1")}
    return Response(json.dumps(seen), mimetype="application/json")
"""

PLAIN = (
    HEADER
    + ECHO
    + """
@app.route(route="Things/{Name}/parts/{part}", methods=["GET"])
def things(req: Request) -> Response:
    return Response(json.dumps(dict(req.route_params)))

@app.route(route="things/fixed/parts/{part}", methods=["GET"])
def fixed(req: Request) -> Response:
    return Response("fixed")

@app.route()
async def anything(req: Request) -> Response:
    return Response(req.method)

@app.route(methods=["GET"])
def replies(req: Request) -> Response:
    response = Response(b"\\x00\\xff", status_code=202, mimetype="application/x-test")
    response.headers.add("X-Case", "kept")
    response.headers.add("X-Twice", "first")
    response.headers.add("X-Twice", "last")
    response.headers.add("Set-Cookie", "a=1; Path=/here; HttpOnly; SameSite=Strict; Max-Age=60")
    response.headers.add("Set-Cookie", "b=2; Secure; Domain=example.com; Expires=Wed, 21 Oct 2026 07:28:00 GMT")
    return response

@app.route(methods=["GET"])
def raises(req: Request) -> Response:
    raise ZeroDivisionError("a private detail")

@app.route(methods=["GET"])
def returns_none(req: Request) -> Response:
    return None

@app.route(methods=["GET"])
def text(req: Request) -> str:
    return "text"

@app.route(methods=["GET"])
def empty(req: Request) -> Response:
    return Response(status_code=204)

@app.route(methods=["GET"])
def logs(req: Request) -> Response:
    logging.getLogger("app.part").info(json.dumps({"event": "said"}), extra={"field": "dropped"})
    logging.getLogger("app.part").debug("too small to say")
    return Response("logged")

@app.route(methods=["GET"])
def environment(req: Request) -> Response:
    return Response(json.dumps(dict(os.environ)))

@app.route(methods=["GET"])
def where(req: Request, context: func.Context) -> Response:
    return Response(json.dumps([context.function_name, context.invocation_id, os.getcwd()]))

barrier = threading.Barrier(3)

@app.route(methods=["GET"])
def together(req: Request) -> Response:
    barrier.wait(timeout=10)
    return Response("met")

@app.timer_trigger(schedule="0 0 0 * * *", arg_name="timer")
def tick(timer: func.TimerRequest) -> None:
    pass
"""
)

KEYED = (
    HEADER
    + """
app = func.FunctionApp()

@app.route(methods=["GET"])
def keyed(req: Request) -> Response:
    return Response(json.dumps(dict(req.params)))

@app.route(methods=["GET"], auth_level=func.AuthLevel.ADMIN)
def mastered(req: Request) -> Response:
    return Response("mastered")

@app.route(methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
def open(req: Request) -> Response:
    return Response("open")

@app.route(methods=["GET", "OPTIONS"])
def sets_headers(req: Request) -> Response:
    return Response("own", headers={"cache-control": "max-age=1", "Vary": "Accept"})
"""
)

CUSTOM_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def write_app(directory: Path, code: str, http: dict[str, Any] | None = None, settings: Any = None) -> Path:
    directory.mkdir(exist_ok=True)
    (directory / "function_app.py").write_text(code)
    (directory / "host.json").write_text(json.dumps({"version": "2.0", "extensions": {"http": http or {}}}))
    if settings is not None:
        (directory / "local.settings.json").write_text(json.dumps(settings))
    return directory


def run_host(*args: str, app: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a host that is expected not to start."""
    command = [sys.executable, "-m", "local.host", "--port", "0", "--app", str(app), *args]
    own = {"PATH": os.environ["PATH"], **(env or {})}
    return subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, timeout=30, check=False)


def talk(url: str, lines: str) -> str:
    """Send a request as written, for what a client library would tidy up, and return the whole reply."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(lines.replace("\n", "\r\n").encode())
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode("latin-1")


def accepts_connections(url: str) -> bool:
    try:
        return requests.get(url, timeout=10).ok
    except requests.ConnectionError:
        return False


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    app = write_app(tmp_path_factory.mktemp("plain"), PLAIN)
    with Host({"FUNCTIONS_REQUEST_BODY_SIZE_LIMIT": "1000", "CONTAINER_NAME": "c"}, app=app) as host:
        yield host


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    app = write_app(tmp_path_factory.mktemp("keyed"), KEYED, {"customHeaders": CUSTOM_HEADERS})
    with Host({}, "--keys", "s3cret", "--cors", "https://one.example, https://two.example", app=app) as host:
        yield host


# Routes


def test_the_path_is_matched_without_regard_to_case(plain: Host) -> None:
    """Paths ignore case, and a slash at the end."""
    replies = [requests.get(plain.url + path, timeout=10) for path in ("/api/echo", "/API/Echo", "/api/echo/")]

    assert [reply.status_code for reply in replies] == [200, 200, 200]


def test_route_parameters_reach_the_function_as_they_were_sent(plain: Host) -> None:
    """A parameter has the route's name for it and the caller's spelling, decoded."""
    reply = requests.get(plain.url + "/api/things/A%20b/PARTS/7", timeout=10)

    assert reply.json() == {"Name": "A b", "part": "7"}


def test_a_fixed_segment_wins_over_a_parameter(plain: Host) -> None:
    """Of two routes that match, the one that is fixed for longer is called."""
    reply = requests.get(plain.url + "/api/things/fixed/parts/7", timeout=10)

    assert reply.text == "fixed"


def test_a_parameter_is_one_whole_segment(plain: Host) -> None:
    """A route with parameters matches neither an empty segment nor two."""
    paths = ("/api/things//parts/7", "/api/things/a/b/parts/7", "/api/things/a/parts")
    replies = [requests.get(plain.url + path, timeout=10) for path in paths]

    assert [reply.status_code for reply in replies] == [404, 404, 404]


@pytest.mark.parametrize("method", ["DELETE", "HEAD", "OPTIONS", "PUT"])
def test_a_method_that_the_route_does_not_list_is_404(plain: Host, method: str) -> None:
    """Wrong methods are 404, not 405; HEAD on a GET route and OPTIONS without CORS are no exception."""
    replies = [
        requests.request(method, plain.url + path, timeout=10) for path in ("/api/echo", "/api/things/a/parts/b")
    ]

    assert [(reply.status_code, reply.content) for reply in replies] == [(404, b"")] * 2


def test_a_route_without_methods_takes_every_method(plain: Host) -> None:
    """No methods= means all of them, and no route= means the function's name."""
    methods = ("GET", "POST", "DELETE", "OPTIONS")
    texts = [requests.request(method, plain.url + "/api/anything", timeout=10).text for method in methods]

    assert texts == list(methods)


def test_an_unknown_path_is_a_bare_404(plain: Host) -> None:
    """The platform's own replies have no body."""
    reply = requests.get(plain.url + "/api/nothing", timeout=10)

    assert (reply.status_code, reply.content, "Content-Type" in reply.headers) == (404, b"", False)


def test_the_root_is_a_landing_page(plain: Host) -> None:
    """GET / says that the host runs."""
    reply = requests.get(plain.url + "/", timeout=10)

    assert reply.status_code == 200
    assert "running" in reply.text


def test_the_route_prefix_comes_from_host_json(start_host: StartHost, tmp_path: Path) -> None:
    """An empty routePrefix puts the routes at the root."""
    host = start_host({}, app=write_app(tmp_path, HEADER + ECHO, {"routePrefix": ""}))
    statuses = [requests.get(host.url + path, timeout=10).status_code for path in ("/echo", "/api/echo")]

    assert statuses == [200, 404]


def test_an_app_without_host_json_gets_the_default_prefix(start_host: StartHost, tmp_path: Path) -> None:
    """The prefix is api unless host.json says otherwise."""
    app = write_app(tmp_path, HEADER + ECHO)
    (app / "host.json").unlink()
    host = start_host({}, app=app)

    assert requests.get(host.url + "/api/echo", timeout=10).status_code == 200


# Requests


def test_header_names_are_lower_case_and_repeated_ones_joined(plain: Host) -> None:
    """Headers and query keys that come twice are joined with a comma; empty query values vanish."""
    reply = talk(
        plain.url,
        "GET /api/echo?a=1&a=2&empty=&b=x%20y HTTP/1.1\nHost: example.test\nX-One: 1\nx-one: 2\nX-Empty:\n"
        "Connection: close\n\n",
    )
    seen = json.loads(reply.partition("\r\n\r\n")[2])

    assert seen["headers"] == {"host": "example.test", "x-one": "1,2", "x-empty": "", "connection": "close"}
    assert seen["query"] == {"a": "1,2", "b": "x y"}


def test_the_url_is_whole(plain: Host) -> None:
    """The function sees scheme, host, path and query."""
    seen = requests.post(plain.url + "/api/echo?a=1", timeout=10).json()

    assert (seen["method"], seen["url"]) == ("POST", plain.url + "/api/echo?a=1")


def test_a_body_arrives_as_it_was_sent(plain: Host) -> None:
    """Bytes are not decoded, not even by a Content-Encoding."""
    packed = gzip.compress(b"text")
    seen = requests.post(plain.url + "/api/echo", packed, headers={"Content-Encoding": "gzip"}, timeout=10).json()

    assert seen["body"].encode("latin-1") == packed


def test_a_chunked_body_is_read(plain: Host) -> None:
    """A body without Content-Length reaches the function."""
    seen = requests.post(plain.url + "/api/echo", iter([b"one", b"two"]), timeout=10).json()

    assert seen["body"] == "onetwo"


def test_a_body_over_the_limit_is_413(plain: Host) -> None:
    """FUNCTIONS_REQUEST_BODY_SIZE_LIMIT is the longest body that reaches a function."""
    replies = [requests.post(plain.url + "/api/echo", b"x" * size, timeout=10) for size in (1000, 1001)]

    assert [reply.status_code for reply in replies] == [200, 413]
    assert replies[1].content == b""


def test_a_connection_is_kept_for_the_next_request(plain: Host) -> None:
    """Two requests on one connection get two replies."""
    request = "GET /api/anything HTTP/1.1\nHost: example.test\n"
    replies = talk(plain.url, f"{request}\n{request}Connection: close\n\n")

    assert replies.count("HTTP/1.1 200") == 2


def test_the_context_names_the_function(plain: Host) -> None:
    """A function may ask for its context; each call has an id of its own, and runs in the app's directory."""
    seen = [requests.get(plain.url + "/api/where", timeout=10).json() for _ in range(2)]

    (name, first_id, directory), (_, second_id, _) = seen
    assert name == "where"
    assert first_id != second_id
    assert (Path(directory) / "function_app.py").exists()


# Replies


def test_a_reply_keeps_status_bytes_and_header_case(plain: Host) -> None:
    """What the function returned is what the caller gets."""
    reply = requests.get(plain.url + "/api/replies", timeout=10)

    assert (reply.status_code, reply.content) == (202, b"\x00\xff")
    assert reply.headers["Content-Type"] == "application/x-test"
    assert "X-Case" in list(reply.headers)


def test_a_repeated_reply_header_collapses_to_the_last(plain: Host) -> None:
    """Only Set-Cookie may come more than once."""
    reply = requests.get(plain.url + "/api/replies", timeout=10)
    cookies = reply.raw.headers.getlist("Set-Cookie")

    assert reply.raw.headers.getlist("X-Twice") == ["last"]
    assert [sorted(cookie.split("; ")) for cookie in cookies] == [
        sorted(["a=1", "HttpOnly", "Max-Age=60", "Path=/here", "SameSite=Strict"]),
        sorted(["b=2", "Domain=example.com", "expires=Wed, 21 Oct 2026 07:28:00 GMT", "Path=/", "Secure"]),
    ]


@pytest.mark.parametrize("name", ["raises", "returns_none"])
def test_a_function_that_fails_is_a_bare_500(plain: Host, name: str) -> None:
    """The caller learns nothing; the traceback is in the log."""
    reply = requests.get(f"{plain.url}/api/{name}", timeout=10)
    plain.wait_for(f"{name} failed: Traceback")

    assert (reply.status_code, reply.content) == (500, b"")


def test_a_function_may_return_text(plain: Host) -> None:
    """A str becomes a 200 with that text."""
    reply = requests.get(plain.url + "/api/text", timeout=10)

    assert (reply.status_code, reply.text) == (200, "text")


def test_a_reply_without_content_has_none(plain: Host) -> None:
    """A 204 has neither a body nor a length."""
    reply = requests.get(plain.url + "/api/empty", timeout=10)

    assert (reply.status_code, reply.content, "Content-Length" in reply.headers) == (204, b"", False)


def test_custom_headers_give_way_to_the_functions_own(keyed: Host) -> None:
    """The customHeaders of host.json are added only where the function did not set that header, in any case."""
    reply = requests.get(keyed.url + "/api/sets_headers?code=s3cret", timeout=10)

    assert reply.raw.headers.getlist("Cache-Control") == ["max-age=1"]
    assert reply.headers["X-Content-Type-Options"] == "nosniff"


def test_custom_headers_are_on_the_platforms_own_replies_too(keyed: Host) -> None:
    """404 and 401 carry the customHeaders as well."""
    replies = [requests.get(keyed.url + path, timeout=10) for path in ("/api/nothing", "/api/keyed")]

    assert [(reply.status_code, reply.headers.get("Cache-Control")) for reply in replies] == [
        (404, "no-store"),
        (401, "no-store"),
    ]


# Keys


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ("", {}, 401),
        ("?code=wrong", {}, 401),
        ("?code=", {}, 401),
        ("?code=%ED%A0%80%FF", {}, 401),
        ("", {"x-functions-key": "wrong"}, 401),
        ("", {"x-functions-key": "\xff"}, 401),
        ("?code=s3cret", {}, 200),
        ("", {"x-functions-key": "s3cret"}, 200),
        ("?code=s3cret", {"x-functions-key": "wrong"}, 401),
        ("?code=wrong", {"x-functions-key": "s3cret"}, 200),
    ],
)
@pytest.mark.parametrize("name", ["keyed", "mastered"])
def test_a_key_is_demanded(keyed: Host, name: str, query: str, headers: dict[str, str], status: int) -> None:
    """With --keys, levels function and admin need the key; the header wins over ?code=."""
    reply = requests.get(f"{keyed.url}/api/{name}{query}", headers=headers, timeout=10)

    assert reply.status_code == status
    assert status == 200 or (reply.content == b"" and "Content-Type" not in reply.headers)


def test_an_anonymous_function_needs_no_key(keyed: Host) -> None:
    """--keys changes nothing for level anonymous."""
    reply = requests.get(keyed.url + "/api/open?code=wrong", timeout=10)

    assert reply.text == "open"


def test_the_function_sees_the_code_as_well(keyed: Host) -> None:
    """The platform takes nothing out of the query."""
    reply = requests.get(keyed.url + "/api/keyed?code=s3cret&a=1", timeout=10)

    assert reply.json() == {"code": "s3cret", "a": "1"}


def test_a_key_is_made_up_where_none_is_given(start_host: StartHost, tmp_path: Path) -> None:
    """--keys alone prints the key that it wants."""
    host = start_host({}, "--keys", app=write_app(tmp_path, KEYED))
    found = re.search(r"Function key: (\S{32,})", host.log)
    key = found and found[1]
    replies = [requests.get(host.url + "/api/keyed", params={"code": code}, timeout=10) for code in (key, "other")]

    assert [reply.status_code for reply in replies] == [200, 401]


def test_without_keys_nothing_is_demanded(start_host: StartHost, tmp_path: Path) -> None:
    """Like Core Tools without --enableAuth, the host calls every function for anyone."""
    host = start_host({}, app=write_app(tmp_path, KEYED))
    replies = [requests.get(f"{host.url}/api/{name}", timeout=10) for name in ("keyed", "mastered")]

    assert [reply.status_code for reply in replies] == [200, 200]


# CORS


def cors_headers(reply: requests.Response) -> dict[str, str]:
    names = (name for name in reply.headers if name.lower().startswith("access-control-"))
    return {name.lower().removeprefix("access-control-"): reply.headers[name] for name in names}


def preflight(url: str, origin: str) -> requests.Response:
    asks = {"Origin": origin, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "x-a, x-b"}
    return requests.options(url, headers=asks, timeout=10)


def test_a_preflight_is_answered_by_the_host(keyed: Host) -> None:
    """The function is not called (it would answer 401 here), even where it lists OPTIONS."""
    reply = preflight(keyed.url + "/api/sets_headers", "https://two.example")

    assert (reply.status_code, reply.content) == (204, b"")
    assert cors_headers(reply) == {
        "allow-origin": "https://two.example",
        "allow-methods": "GET",
        "allow-headers": "x-a, x-b",
        "max-age": "600",
    }


def test_a_preflight_of_another_origin_gets_no_cors_headers(keyed: Host) -> None:
    """A browser takes that for a refusal."""
    replies = [
        preflight(keyed.url + "/api/open", origin)
        for origin in ("https://three.example", "null", "https://one.example.evil.test", "HTTPS://ONE.EXAMPLE")
    ]

    assert [cors_headers(reply) for reply in replies] == [{}] * 4


def test_options_that_is_no_preflight_goes_to_the_route(keyed: Host) -> None:
    """Without Origin or Access-Control-Request-Method it is a request like another."""
    halves = ({"Origin": "https://one.example"}, {"Access-Control-Request-Method": "GET"})
    paths = ("/api/open", "/api/sets_headers?code=s3cret")
    replies = [requests.options(keyed.url + path, headers=half, timeout=10) for half in halves for path in paths]

    assert [reply.status_code for reply in replies] == [404, 200, 404, 200]


@pytest.mark.parametrize(("path", "status"), [("open", 200), ("keyed", 401), ("nothing", 404)])
def test_a_listed_origin_may_read_every_reply(keyed: Host, path: str, status: int) -> None:
    """The platform's own refusals are readable too; a cache is told that the reply depends on the origin."""
    reply = requests.get(f"{keyed.url}/api/{path}", headers={"Origin": "https://one.example"}, timeout=10)

    assert reply.status_code == status
    assert cors_headers(reply) == {"allow-origin": "https://one.example"}
    assert reply.headers["Vary"] == "Origin"


def test_vary_is_added_to_the_functions_own(keyed: Host) -> None:
    """The function's Vary stays."""
    origin = {"Origin": "https://one.example"}
    reply = requests.get(keyed.url + "/api/sets_headers?code=s3cret", headers=origin, timeout=10)

    assert reply.headers["Vary"] == "Accept, Origin"


@pytest.mark.parametrize("origin", ["https://three.example", None])
def test_other_origins_get_no_cors_headers(keyed: Host, origin: str | None) -> None:
    """An unlisted origin, or none, gets the reply as it is."""
    reply = requests.get(keyed.url + "/api/open", headers={"Origin": origin} if origin else {}, timeout=10)

    assert (reply.text, cors_headers(reply)) == ("open", {})


def test_without_cors_there_are_no_cors_headers(plain: Host) -> None:
    """A preflight is an OPTIONS request like another, and 404 on a route that does not list it."""
    reply = requests.get(plain.url + "/api/echo", headers={"Origin": "https://one.example"}, timeout=10)
    asked = preflight(plain.url + "/api/echo", "https://one.example")

    assert (reply.status_code, cors_headers(reply)) == (200, {})
    assert (asked.status_code, cors_headers(asked)) == (404, {})


def test_cors_comes_from_the_settings(start_host: StartHost, tmp_path: Path) -> None:
    """Host.CORS and Host.CORSCredentials of local.settings.json."""
    settings = {"Host": {"CORS": "http://localhost:3000,https://one.example", "CORSCredentials": True}}
    host = start_host({}, app=write_app(tmp_path, HEADER + ECHO, settings=settings))
    reply = requests.get(host.url + "/api/echo", headers={"Origin": "https://one.example"}, timeout=10)

    assert cors_headers(reply) == {"allow-origin": "https://one.example", "allow-credentials": "true"}


def test_the_command_line_overrides_the_settings(start_host: StartHost, tmp_path: Path) -> None:
    """--cors replaces Host.CORS; * is for every origin."""
    app = write_app(tmp_path, HEADER + ECHO, settings={"Host": {"CORS": "https://one.example"}})
    host = start_host({}, "--cors", "*", app=app)
    reply = requests.get(host.url + "/api/echo", headers={"Origin": "https://two.example"}, timeout=10)

    assert cors_headers(reply) == {"allow-origin": "*"}


# Settings


def test_settings_do_not_override_the_environment(start_host: StartHost, tmp_path: Path) -> None:
    """`Values` fill in what is not set; numbers and booleans become text."""
    values = {"SET": "settings", "UNSET": "settings", "NUMBER": 7, "FLAG": True}
    host = start_host({"SET": "environment"}, app=write_app(tmp_path, PLAIN, settings={"Values": values}))
    seen = requests.get(host.url + "/api/environment", timeout=10).json()

    assert {name: seen[name] for name in values} == {
        "SET": "environment",
        "UNSET": "settings",
        "NUMBER": "7",
        "FLAG": "true",
    }


def test_a_settings_file_may_be_named(start_host: StartHost, tmp_path: Path) -> None:
    """--settings FILE is read instead of the app's own."""
    app = write_app(tmp_path, PLAIN, settings={"Values": {"OWN": "1"}})
    (tmp_path / "other.json").write_text('{"Values": {"OTHER": "2"}}')
    host = start_host({}, "--settings", str(tmp_path / "other.json"), app=app)
    seen = requests.get(host.url + "/api/environment", timeout=10).json()

    assert (seen.get("OWN"), seen.get("OTHER")) == (None, "2")


def test_the_marks_of_azure_are_taken_away_from_the_runtime(start_host: StartHost, tmp_path: Path) -> None:
    """CONTAINER_NAME and WEBSITE_INSTANCE_ID go; WEBSITE_SITE_NAME stays, to tell an app that it is on Azure."""
    names = ("CONTAINER_NAME", "WEBSITE_INSTANCE_ID", "WEBSITE_SITE_NAME")
    host = start_host(dict.fromkeys(names, "x"), app=write_app(tmp_path, PLAIN))
    seen = requests.get(host.url + "/api/environment", timeout=10).json()

    assert [name in seen for name in names] == [False, False, True]


# Log, threads, start and stop


def test_the_log_has_one_plain_line_a_message(plain: Host) -> None:
    """Level, logger and message from INFO on; neither `extra=` nor the runtime's line for each call is there."""
    requests.get(plain.url + "/api/logs", timeout=10)
    plain.wait_for("app.part")
    (line,) = {line for line in plain.log.splitlines() if "app.part" in line}

    assert line == 'INFO app.part {"event": "said"}'
    assert "dropped" not in plain.log
    assert "Function name:" not in plain.log


def test_sync_functions_share_the_workers_pool(start_host: StartHost, tmp_path: Path) -> None:
    """PYTHON_THREADPOOL_THREAD_COUNT functions run at once: these three wait for each other."""
    host = start_host({"PYTHON_THREADPOOL_THREAD_COUNT": "3"}, app=write_app(tmp_path, PLAIN))
    with ThreadPoolExecutor(3) as callers:
        replies = list(callers.map(lambda _: requests.get(host.url + "/api/together", timeout=20), range(3)))

    assert [reply.text for reply in replies] == ["met"] * 3


def test_the_start_lists_the_functions(plain: Host) -> None:
    """One line says where the host listens, then one for each function; what is left out is named."""
    plain.wait_for("  anything:")
    lines = plain.log.splitlines()

    assert len([line for line in lines if line == f"Functions host listening on {plain.url}"]) == 1
    assert f"  echo: [GET,POST] {plain.url}/api/echo" in lines
    assert f"  anything: [any method] {plain.url}/api/anything" in lines
    assert any(line.startswith("tick is left out") for line in lines)


def test_a_busy_port_is_one_sentence(tmp_path: Path) -> None:
    """It says what to do, and there is no traceback."""
    app = write_app(tmp_path, HEADER + ECHO)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run_host("--port", str(port), app=app)

    assert ended.returncode == 1
    assert ended.stderr == f"Port {port} is in use. Choose another with --port, or --port 0.\n"


def test_an_app_that_cannot_be_indexed_ends_the_host(tmp_path: Path) -> None:
    """The runtime's message and the traceback are on stderr."""
    ended = run_host(app=write_app(tmp_path, HEADER + ECHO + 'os.environ["NEEDED"]\n'))

    assert ended.returncode == 1
    assert "has no routes. KeyError: 'NEEDED'" in ended.stderr
    assert re.search(r'function_app.py", line \d+, in <module>', ended.stderr)


@pytest.mark.parametrize("route", ["admin", "Admin-x", "runtime/x", "/admin/x"])
def test_routes_that_the_platform_keeps_are_refused(tmp_path: Path, route: str) -> None:
    """A route that begins with admin or runtime would not work on Azure."""
    ended = run_host(app=write_app(tmp_path, HEADER + ECHO.replace('"echo"', f'"{route}"')))

    assert ended.returncode == 1
    assert ended.stderr.startswith(f"echo: the route {route.strip('/')!r} begins with")
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("route", "says"),
    [("a/{b:int}", "plain {name} parameters"), ("{*all}", "plain {name}"), ("ECHO", "the same route")],
)
def test_routes_that_would_not_work_here_are_refused(tmp_path: Path, route: str, says: str) -> None:
    """Constraints, optional and catch-all parameters are not there, and no two functions have one route."""
    code = HEADER + ECHO + ECHO.replace('"echo"', f'"{route}"').replace("def echo", "def other")
    ended = run_host(app=write_app(tmp_path, code))

    assert ended.returncode == 1
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_app_without_functions_is_said_to_have_none(start_host: StartHost, tmp_path: Path) -> None:
    """The host starts, as Azure's does, but not in silence."""
    host = start_host({}, app=tmp_path)
    host.wait_for("No functions found")

    assert requests.get(host.url + "/api/echo", timeout=10).status_code == 404


@pytest.mark.parametrize(
    ("settings", "args", "says"),
    [
        ("{", (), "local.settings.json is not JSON"),
        ("[]", (), "is not a JSON object"),
        ('{"IsEncrypted": true}', (), "func settings decrypt"),
        ('{"Host": {"CORSCredentials": true}}', ("--cors", "*"), "browsers refuse"),
        ("", ("--settings", "/nowhere.json"), "/nowhere.json does not exist"),
        ("", ("--app", "/nowhere"), "/nowhere does not exist"),
        ("", ("--address", "192.0.2.1"), "Cannot listen on 192.0.2.1"),
    ],
)
def test_a_mistake_is_a_sentence(tmp_path: Path, settings: str, args: tuple[str, ...], says: str) -> None:
    """Each mistake in settings or arguments is named on stderr, without a traceback."""
    app = write_app(tmp_path, HEADER + ECHO)
    (app / "local.settings.json").write_text(settings)
    ended = run_host(*args, app=app)

    assert ended.returncode == 1
    assert says in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_a_directory_can_be_served_beside_the_functions(tmp_path: Path) -> None:
    """create_app(static=...) is for a demo page on the same origin; its replies have the customHeaders too."""
    app = write_app(tmp_path / "app", HEADER + ECHO, {"customHeaders": CUSTOM_HEADERS})
    (tmp_path / "index.html").write_text("page")
    (tmp_path / "script.js").write_text("script")
    script = """
import asyncio, pathlib, sys
from aiohttp.test_utils import TestClient, TestServer
from local.host import create_app

async def main(app, directory):
    server = TestServer(await create_app(pathlib.Path(app), static={"/demo": pathlib.Path(directory)}))
    async with TestClient(server) as client:
        for path in ("/demo/", "/demo/script.js", "/demo/none", "/api/echo"):
            reply = await client.get(path)
            print(reply.status, (await reply.text())[:6], reply.headers.get("Cache-Control"))

asyncio.run(main(*sys.argv[1:]))
"""
    command = [sys.executable, "-c", script, str(app), str(tmp_path)]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True).stdout

    assert output.splitlines()[:2] == ["200 page no-store", "200 script no-store"]
    assert [line[:3] for line in output.splitlines()[2:]] == ["404", "200"]


BLOCKING = (
    HEADER
    + """
@app.route(methods=["GET"])
def blocking(req: Request) -> Response:
    with open(req.params["fifo"]) as fifo:
        print("blocking began", flush=True)
        return Response(fifo.read())
"""
)


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[int]:
    """A pipe that `blocking` reads to its end: it returns when this descriptor is closed."""
    os.mkfifo(tmp_path / "fifo")
    # For reading as well, so that neither side waits for the other to open it.
    descriptor = os.open(tmp_path / "fifo", os.O_RDWR)
    yield descriptor
    with suppress(OSError):
        os.close(descriptor)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_running_request_is_finished_first(
    start_host: StartHost, tmp_path: Path, fifo: int, number: int
) -> None:
    """SIGTERM and SIGINT: no new connections, the running reply is sent, exit code 0."""
    host = start_host({}, app=write_app(tmp_path, BLOCKING))
    asks = {"fifo": str(tmp_path / "fifo")}
    with ThreadPoolExecutor(1) as caller:
        running = caller.submit(requests.get, host.url + "/api/blocking", params=asks, timeout=10)
        host.wait_for("blocking began")
        host.signal(number)
        while accepts_connections(host.url):
            pass
        os.write(fifo, b"done")
        os.close(fifo)
        reply = running.result()
    code = host.wait()

    assert (reply.text, code) == ("done", 0)


@pytest.mark.usefixtures("fifo")
def test_a_request_that_never_ends_does_not_keep_the_host(start_host: StartHost, tmp_path: Path) -> None:
    """After five seconds the host ends nevertheless, with code 0, its threads notwithstanding."""
    host = start_host({}, app=write_app(tmp_path, BLOCKING))
    asks = {"fifo": str(tmp_path / "fifo")}
    with ThreadPoolExecutor(1) as caller:
        running = caller.submit(requests.get, host.url + "/api/blocking", params=asks, timeout=30)
        host.wait_for("blocking began")
        code = host.stop()
        failure = running.exception()

    assert code == 0
    assert isinstance(failure, requests.ConnectionError)
