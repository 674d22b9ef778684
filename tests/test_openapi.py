"""docs/openapi.yaml is what the code does: its errors, its request, and each example as the endpoint answers."""

import copy
import importlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import hypothesis
import jsonschema
import pytest
import requests
import schemathesis
import yaml
from openapi_spec_validator import validate

from mint import __version__
from mint.errors import CODES
from tests.conftest import Endpoint
from tests.hosting import ROOT, Host, copy_app
from tests.issuing import Issuer, bearer
from tests.simulated import SimulatedAzure, until

Json = dict[str, Any]
FILE = ROOT / "docs" / "openapi.yaml"
DOCUMENT: Json = yaml.safe_load(FILE.read_text("utf-8"))
PATHS, SCHEMAS = DOCUMENT["paths"], DOCUMENT["components"]["schemas"]
MINT, HEALTH = PATHS["/api/realtime/client_secrets"]["post"], PATHS["/api/health"]["get"]
REQUESTS: Json = MINT["requestBody"]["content"]["application/json"]["examples"]
PROFILE: Json = json.loads((ROOT / "sessions" / "profile.schema.json").read_text("utf-8"))
OFFERED: list[str] = PROFILE["properties"]["client_may_set"]["items"]["enum"]
OURS = {"x-request-id", "cache-control", "x-should-retry", "retry-after", "www-authenticate"}


def resolved(node: Any) -> Any:
    """Return a part of the document with what its `$ref`s name in their places."""
    if isinstance(node, list):
        return [resolved(item) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target: Any = DOCUMENT
        for step in node["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        return resolved(target)
    return {name: resolved(value) for name, value in node.items()}


def media(status: str, operation: Json = MINT) -> Json:
    """Return schema and examples of a response's JSON."""
    content: Json = operation["responses"][status]["content"]["application/json"]
    return content


# The document by itself


def test_the_document_is_openapi_3_1() -> None:
    """It keeps to OpenAPI's own schema, and names nothing that is not in it."""
    assert DOCUMENT["openapi"].startswith("3.1")
    validate(DOCUMENT)


EXAMPLES = [
    pytest.param(content["schema"], example["value"], id=f"{operation['operationId']}-{where}-{name}")
    for operation in (MINT, HEALTH)
    for where, part in [("request", operation.get("requestBody", {})), *operation["responses"].items()]
    for content in part.get("content", {}).values()
    for name, example in content["examples"].items()
]


@pytest.mark.parametrize(("schema", "example"), EXAMPLES)
def test_every_example_is_what_its_schema_says(schema: Json, example: object) -> None:
    """A reader who copies an example, or a mock server that answers with one, is right."""
    jsonschema.Draft202012Validator(resolved(schema)).validate(example)


# The document and the code


def test_every_code_is_there_with_its_status_and_no_other_is() -> None:
    """A new code needs an example; one that is gone takes its example along."""
    documented = {
        (int(status), name, example["value"]["error"]["code"])
        for status, response in MINT["responses"].items()
        if status != "200"
        for name, example in response["content"]["application/json"]["examples"].items()
    }

    assert documented == {(code.status, name, name) for name, code in CODES.items()}


@pytest.mark.parametrize("status", sorted({str(code.status) for code in CODES.values()}))
def test_a_status_says_whether_to_ask_again(status: str) -> None:
    """x-should-retry is documented where a code of that status may carry it, and required where all do."""
    retries = [code.retry for code in CODES.values() if code.status == int(status)]

    header = resolved(MINT["responses"][status]["headers"].get("x-should-retry"))
    assert (header is None) == all(retries)
    # The platform's own 401 has no header of ours.
    assert header is None or header.get("required", False) == (not any(retries) and status != "401")


def test_the_request_is_what_a_profile_can_let_a_client_set() -> None:
    """Each path of client_may_set is there with its limits in sessions/profile.schema.json, and no other is."""
    session, expires_after = offered("session"), offered("expires_after")
    session["properties"] |= {
        "type": PROFILE["definitions"]["session"]["properties"]["type"],  # may be restated, as SDKs do
        "model": {"type": "string"},  # the same; no profile has it, since it is an app setting
    }
    expires_after["properties"]["anchor"] = {"const": "created_at"}

    expected = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            name: {"oneOf": [schema, {"type": "null"}]}
            for name, schema in (("session", session), ("expires_after", expires_after))
        },
    }
    assert canonical(resolved(SCHEMAS["MintRequest"])) == canonical(expected)


def test_the_replys_transcription_is_the_profiles() -> None:
    """What the document names of the block is in a profile, but for the deployment."""
    block = PROFILE["definitions"]["session"]["properties"]["audio"]["properties"]["input"]["properties"]

    named = set(SCHEMAS["TranscriptionConfig"]["properties"])
    assert named - {"model"} <= set(block["transcription"]["properties"])


def offered(path: str) -> Json:
    """Return the schema at a path of the profile's, less what no profile can let a client set."""
    schema = inlined({"$ref": f"#/definitions/{path}"})
    return only_offered(schema, path)


def only_offered(schema: Json, path: str) -> Json:
    if path in OFFERED:
        return schema
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            name: only_offered(inner, f"{path}.{name}")
            for name, inner in schema["properties"].items()
            if any(f"{choice}.".startswith(f"{path}.{name}.") for choice in OFFERED)
        },
    }


def inlined(schema: Any) -> Any:
    """Return a part of the profile's schema with what its `$ref`s name in their places."""
    if isinstance(schema, list):
        return [inlined(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return inlined(PROFILE["definitions"][schema["$ref"].rpartition("/")[2]])
    return {name: inlined(value) for name, value in schema.items()}


def canonical(schema: Json) -> Json:
    """Return a schema in one of the ways to write it, so that two that mean the same are equal.

    The document writes what generators of clients understand: `enum` for `const`, a `type` beside every `enum`,
    `oneOf` for a list of types, an array of exactly one for a choice of arrays.
    """
    alternatives = sorted(plain(schema), key=str)
    return alternatives[0] if len(alternatives) == 1 else {"oneOf": alternatives}


TYPES = {str: "string", int: "integer", type(None): "null"}


def plain(schema: Json) -> Iterator[Json]:
    """Yield the alternatives of a schema, each of one type."""
    schema = {name: value for name, value in schema.items() if name not in ("description", "format")}
    if "const" in schema:
        schema["enum"] = [schema.pop("const")]
    if "oneOf" in schema:
        for alternative in schema["oneOf"]:
            yield from plain(alternative)
    elif isinstance(schema.get("enum", [None])[0], list):
        choices = [item for [item] in schema["enum"]]
        yield {"type": "array", "minItems": 1, "maxItems": 1, "items": canonical({"enum": choices})}
    elif "enum" in schema:
        for kind, name in TYPES.items():
            if values := [value for value in schema["enum"] if type(value) is kind]:
                yield {"type": name} if kind is type(None) else {"type": name, "enum": values}
    elif isinstance(schema["type"], list):
        first, *others = schema["type"]
        yield from plain(schema | {"type": first})
        yield from ({"type": other} for other in others)
    else:
        if "properties" in schema:
            schema["properties"] = {name: canonical(inner) for name, inner in schema["properties"].items()}
        if items := schema.pop("items", None):
            schema["items"] = canonical(items)
        yield schema


# The document and the running endpoint


class Running(NamedTuple):
    """What a failure is made with."""

    endpoint: Endpoint
    azure: SimulatedAzure
    issuer: Issuer


class Cause(NamedTuple):
    """What an error comes from: the app's settings, the resource's switches, and the request, or more than one."""

    request: Mapping[str, Any] = MappingProxyType({})
    switches: Mapping[str, Any] = MappingProxyType({})
    settings: Mapping[str, str] = MappingProxyType({})
    ask: Callable[[Running], requests.Response] | None = None


def second_of_a_caller(running: Running) -> requests.Response:
    mine = bearer(running.issuer.token(scope="mint"))
    running.endpoint.mint(headers=mine)
    return running.endpoint.mint(headers=mine)


def without_the_scope(running: Running) -> requests.Response:
    return running.endpoint.mint(headers=bearer(running.issuer.token()))


def without_a_reply(running: Running) -> requests.Response:
    running.endpoint.mint()  # or the first mint's imports might take up the time
    running.azure.set(fault="hang")
    return running.endpoint.mint()


def while_another_waits(running: Running) -> requests.Response:
    running.endpoint.mint()
    running.azure.clear()
    running.azure.set(fault="hang")
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(running.endpoint.mint)
        until(running.azure.mints)
        response = running.endpoint.mint()
        running.azure.set(fault=None)
        other.result()
    return response


SLOW = {"MINT_DEADLINE_SECONDS": "2", "MAX_CONCURRENT_MINTS": "1"}
JWT = {"CALLER_AUTH": "jwt", "JWT_REQUIRED_SCOPE": "mint", "MINT_QUOTA": "1/hour"}
NO_KEYS = {"CALLER_AUTH": "jwt", "JWT_JWKS_URL": "http://127.0.0.1:9/keys"}
BROKEN = {"BROKEN": "yes"}  # no setting: an app with a line in it that cannot run
CAUSES = {
    "invalid_json": Cause({"data": b"{"}),
    "invalid_value": Cause({"json": {"session": {"type": "transcription"}}}),
    "unknown_field": Cause({"json": {"session": {"voice": "cedar"}}}),
    "field_not_allowed": Cause({"json": {"session": {"instructions": "Be brief."}}}),
    "unknown_profile": Cause({"params": {"profile": "nobody"}}),
    "body_too_large": Cause({"data": b" " * 16385}),
    "unsupported_media_type": Cause({"data": b"{}", "headers": {"Content-Type": "text/plain"}}),
    "unauthenticated": Cause(settings=JWT),
    "forbidden": Cause(settings=JWT, ask=without_the_scope),
    "keys_unavailable": Cause({"headers": bearer("eyJraWQiOiJrIn0.e30.e30")}, settings=NO_KEYS),
    "quota_exceeded": Cause(settings=JWT, ask=second_of_a_caller),
    "overloaded": Cause(settings=SLOW, ask=while_another_waits),
    "misconfigured": Cause(settings={"AZURE_OPENAI_ENDPOINT": ""}),
    "internal_error": Cause(settings=BROKEN),
    "identity_unavailable": Cause(settings={"IDENTITY_HEADER": "other"}),
    "upstream_denied": Cause(switches={"fault": "401-permission-denied"}),
    "deployment_not_found": Cause(switches={"fault": "404-deployment"}),
    "deployment_not_realtime": Cause(switches={"fault": "400-opperation"}),
    "upstream_rejected": Cause(switches={"fault": "400-unknown-parameter"}),
    "transcription_rejected": Cause(
        switches={"defect": "all-fails"}, settings={"TRANSCRIPTION_MODE": "mint_time"}
    ),
    "upstream_throttled": Cause(switches={"fault": "429-retry-after"}),
    "upstream_unavailable": Cause(switches={"fault": "503"}),
    "upstream_timeout": Cause(settings=SLOW, ask=without_a_reply),
}


def goes_with_the_workaround(name: str) -> Any:
    """Return a parameter, marked where nothing will answer so once the workaround is removed."""
    marks = [pytest.mark.workaround] if name in ("transcription_rejected", "post_connect") else []
    return pytest.param(name, marks=marks)


def app_with(tmp_path: Path, **files: str) -> Path:
    """Return a copy of what is published, where these files of sessions/ have another content."""
    copy_app(tmp_path)
    for name, content in files.items():
        (tmp_path / "sessions" / f"{name}.json").write_text(content, "utf-8")
    return tmp_path


@pytest.fixture(scope="module")
def endpoint_with(
    required: dict[str, str],
    shared_endpoint: Endpoint,
    shared_mint_time_endpoint: Endpoint,
    issuer_process: Issuer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[Mapping[str, str]], Endpoint]]:
    """`endpoint_with(settings)`: the app with these settings besides; started once."""
    running = {"{}": shared_endpoint, '{"TRANSCRIPTION_MODE": "mint_time"}': shared_mint_time_endpoint}
    with ExitStack() as hosts:

        def start(settings: Mapping[str, str]) -> Endpoint:
            app = ROOT
            if settings == BROKEN:
                app = app_with(tmp_path_factory.mktemp("broken"))
                with (app / "mint" / "session.py").open("a", encoding="utf-8") as module:
                    module.write("\n\ndef compose(*_):\n    return 1 / 0\n")
            if settings.get("CALLER_AUTH") == "jwt":
                settings = issuer_process.settings | dict(settings)
            endpoint = Endpoint(hosts.enter_context(Host(required | dict(settings), app=app)))
            hosts.callback(endpoint.http.close)
            return endpoint

        def endpoint_with(settings: Mapping[str, str]) -> Endpoint:
            return running.get(key := json.dumps(dict(settings))) or running.setdefault(key, start(settings))

        yield endpoint_with


def as_example(response: requests.Response, azure: SimulatedAzure) -> Any:
    """Return an answer with what differs from one to the next as the examples have it."""
    text = response.text.replace(azure.url, "https://RESOURCE.openai.azure.com")
    text = text.replace(f"ws{azure.url[4:]}", "wss://RESOURCE.openai.azure.com")
    text = re.sub(r'"(ek_|sess_|evt_)([0-9a-f]+)"', lambda made: f'"{made[1]}{"0" * len(made[2])}"', text)
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "00000000-0000-0000-0000-000000000000", text)
    answer = json.loads(text)
    if "expires_at" in answer:
        answer["expires_at"] = 1795359790
    return answer


def check_headers(response: requests.Response, documented: Json) -> None:
    """Hold the headers of ours to the document: those required are there, and no other is."""
    headers = {name.lower(): resolved(header) for name, header in documented.items()}
    there = {name.lower() for name in response.headers} & OURS
    assert {name for name, header in headers.items() if header.get("required")} <= there <= set(headers)
    for name in there:
        value: object = response.headers[name]
        value = int(value) if headers[name]["schema"]["type"] == "integer" else value
        jsonschema.Draft202012Validator(headers[name]["schema"]).validate(value)


@pytest.mark.parametrize("code", [goes_with_the_workaround(code) for code in CODES])
def test_every_error_is_answered_as_its_example_has_it(
    code: str, endpoint_with: Callable[[Mapping[str, str]], Endpoint], azure: SimulatedAzure, issuer: Issuer
) -> None:
    """Message, type, param and headers of each code are what the document shows."""
    cause = CAUSES[code]
    endpoint = endpoint_with(cause.settings)
    azure.set(**cause.switches)

    response = cause.ask(Running(endpoint, azure, issuer)) if cause.ask else endpoint.mint(**cause.request)

    status = str(CODES[code].status)
    assert response.status_code == int(status)
    assert as_example(response, azure) == media(status)["examples"][code]["value"]
    check_headers(response, MINT["responses"][status]["headers"])


SUCCESSES = {
    "post_connect": Cause(switches={"defect": "all-fails"}),
    "mint_time": Cause(switches={"defect": "fixed"}, settings={"TRANSCRIPTION_MODE": "mint_time"}),
    "off": Cause(settings={"AZURE_OPENAI_TRANSCRIPTION_DEPLOYMENT": ""}),
}


@pytest.mark.parametrize("mode", [goes_with_the_workaround(mode) for mode in media("200")["examples"]])
def test_every_secret_is_answered_as_its_example_has_it(
    mode: str, endpoint_with: Callable[[Mapping[str, str]], Endpoint], azure: SimulatedAzure
) -> None:
    """The reply of each mode has the fields that the document shows, and no other."""
    cause = SUCCESSES[mode]
    azure.set(**cause.switches)

    response = endpoint_with(cause.settings).mint()

    assert response.status_code == 200
    assert as_example(response, azure) == media("200")["examples"][mode]["value"]
    check_headers(response, MINT["responses"]["200"]["headers"])


@pytest.mark.parametrize("name", REQUESTS)
def test_every_request_that_is_shown_mints(name: str, endpoint: Endpoint) -> None:
    """The examples of a request are for the default profile."""
    assert endpoint.mint(REQUESTS[name]["value"]).status_code == 200


@pytest.mark.workaround
@pytest.mark.parametrize(("status", "name"), [("200", "ok"), ("503", "misconfigured")])
def test_health_is_answered_as_its_example_has_it(
    status: str, name: str, endpoint_with: Callable[[Mapping[str, str]], Endpoint], azure: SimulatedAzure
) -> None:
    """Health is in the document as it is, the version aside."""
    response = endpoint_with({} if status == "200" else {"AZURE_OPENAI_ENDPOINT": ""}).health()

    example = media(status, HEALTH)["examples"][name]["value"]
    assert response.status_code == int(status)
    assert as_example(response, azure) == example | ({"version": __version__} if "version" in example else {})
    check_headers(response, HEALTH["responses"][status]["headers"])


def test_a_missing_function_key_is_a_bare_401(start_endpoint: Callable[..., Endpoint]) -> None:
    """The platform refuses by itself, as the document warns; both schemes of the document let a caller in."""
    key = "a-function-key"
    endpoint = start_endpoint("--keys", key)
    schemes = [
        scheme for scheme in DOCUMENT["components"]["securitySchemes"].values() if scheme["type"] == "apiKey"
    ]

    refused = endpoint.mint()
    admitted = [
        endpoint.mint(**{"headers" if scheme["in"] == "header" else "params": {scheme["name"]: key}})
        for scheme in schemes
    ]

    assert (refused.status_code, refused.content) == (401, b"")
    assert [response.status_code for response in admitted] == [200, 200]
    check_headers(refused, MINT["responses"]["401"]["headers"])


def for_a_permissive_profile() -> Json:
    """Return the document for an app whose profile allows all that one can; its type, model and name are known.

    Callers are let in without a credential: who is, and who is not, has tests of its own.
    """
    document = copy.deepcopy(DOCUMENT) | {"security": []}
    session = document["components"]["schemas"]["SessionRequest"]["properties"]
    session["type"]["enum"], session["model"]["enum"] = ["realtime"], ["gpt-realtime"]
    (profile,) = document["paths"]["/api/realtime/client_secrets"]["post"]["parameters"]
    profile["schema"]["enum"] = ["", "default"]
    return document


CHECKS = {
    "positive_data_acceptance": {"expected-statuses": ["200", "413"]},  # what is valid may be too much
    "negative_data_rejection": {"expected-statuses": ["400", "413"]},
    "unsupported_method": {"enabled": False},  # the platform answers 404 to another method
}
FUZZED = schemathesis.openapi.from_dict(
    for_a_permissive_profile(), config=schemathesis.Config.from_dict({"checks": CHECKS})
)


@pytest.fixture(scope="module")
def permissive_endpoint(required: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """The app with a default profile that lets a client set all that one can."""
    profile = json.loads((ROOT / "sessions" / "default.json").read_text("utf-8")) | {"client_may_set": OFFERED}
    with Host(required, app=app_with(tmp_path_factory.mktemp("open"), default=json.dumps(profile))) as host:
        yield host


@FUZZED.parametrize()
@hypothesis.settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],  # `azure` is reset once, as intended
)
def test_the_running_endpoint_keeps_to_the_document(
    case: schemathesis.Case, permissive_endpoint: Host, azure: SimulatedAzure
) -> None:
    """What the document allows is minted, all else is refused, and each answer is one that it describes."""
    assert azure.url

    case.call_and_validate(base_url=permissive_endpoint.url)


# The document and those who generate clients from it


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Any]]:
    """`generated(name)`: a module of the client that openapi-python-client makes, without a single warning."""
    directory = tmp_path_factory.mktemp("generated")
    (directory / "options.yaml").write_text("post_hooks: []", "utf-8")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "openapi_python_client", "generate", "--fail-on-warning", "--meta", "none"),
            *("--path", FILE, "--config", directory / "options.yaml", "--output-path", directory / "generated"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    sys.path.insert(0, str(directory))
    yield lambda name: importlib.import_module(f"generated.{name}")
    sys.path.remove(str(directory))


@pytest.mark.workaround
def test_a_generated_client_mints(
    generated: Callable[[str], Any], start_endpoint: Callable[..., Endpoint], azure: SimulatedAzure
) -> None:
    """It sends the key and its choices, and reads the reply into types without losing any of it."""
    endpoint, models = start_endpoint("--keys", "a-function-key"), generated("models")
    mint = generated("api.endpoint.mint_client_secret").sync_detailed
    voice = models.SessionRequest(audio=models.Audio(output=models.AudioOutput(voice="cedar")))

    with generated("client").Client(endpoint.host.url, headers={"x-functions-key": "a-function-key"}) as client:
        reply = mint(client=client, body=models.MintRequest(session=voice))

    secret = reply.parsed
    assert isinstance(secret, models.ClientSecret)
    assert azure.mints()[0]["body"]["session"]["audio"]["output"]["voice"] == "cedar"
    assert secret.transcription.configured == "post_connect"
    assert secret.to_dict() == json.loads(reply.content)


def test_a_generated_client_reads_errors_and_health(generated: Callable[[str], Any], endpoint: Endpoint) -> None:
    """An error is a type too, and an empty body needs no argument."""
    models, api = generated("models"), generated("api.endpoint.mint_client_secret")
    health = generated("api.endpoint.get_health").sync

    with generated("client").Client(endpoint.host.url) as client:
        refused = api.sync(client=client, profile="nobody")
        minted = api.sync(client=client)
        state = health(client=client)

    assert isinstance(refused, models.Error)
    assert (refused.error.code, refused.error.param) == ("unknown_profile", "profile")
    assert isinstance(minted, models.ClientSecret)
    assert isinstance(state, models.Health)
