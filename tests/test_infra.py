"""The Bicep files and azure.yaml, as far as that can be told without Azure and without Microsoft's compiler.

Two grammars of Bicep have to accept each file, every name has to be declared, and what matters for safety is read
from the tree. That Azure accepts them is not shown: no package of PyPI, npm or Debian was found with the compiler.
`make infra-check` goes further, with Microsoft's SDK, CLI and KQL service.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import tree_sitter_bicep
import yaml
from tree_sitter import Language, Node, Parser

from mint.settings import Settings, app_settings
from tests.bicep import FILES, INFRA, Resource, parse, resources

MAIN = parse(INFRA / "main.bicep")
PARAMETERS = json.loads((INFRA / "main.parameters.json").read_text("utf-8"))["parameters"]
OPENAI_USER = "5e0bd9bd-7b93-4f28-af87-19fc36ad61bd"

# What Flex Consumption refuses or ignores (functions-app-settings, "Flex Consumption plan deprecations").
NOT_ON_FLEX = re.compile(
    r"FUNCTIONS_(WORKER_RUNTIME|EXTENSION_VERSION)|WEBSITE_(RUN_FROM_PACKAGE|CONTENT.*|NODE.*)|"
    r"SCM_DO_BUILD_DURING_DEPLOYMENT|ENABLE_ORYX_BUILD|TZ|AzureWebJobsStorage"
)


def found(name: str, file: str = "app.bicep") -> Resource:
    """Return one resource by its symbolic name."""
    return next(one for one in resources() if (one.file, one.name) == (file, name))


def tree(file: Path) -> Node:
    return Parser(Language(tree_sitter_bicep.language())).parse(file.read_bytes()).root_node


def nodes(node: Node) -> list[Node]:
    return [node, *(inner for child in node.children for inner in nodes(child))]


def text(node: Node) -> str:
    assert node.text is not None
    return node.text.decode()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_two_grammars_accept_it(file: Path) -> None:
    """Neither pycep nor tree-sitter finds an error."""
    assert parse(file)
    assert [node.start_point for node in nodes(tree(file)) if node.is_error or node.is_missing] == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_name_is_declared(file: Path) -> None:
    """No expression uses a parameter, variable, resource or module that the file does not declare."""
    declared, used = {"subscription", "resourceGroup", "tenant", "environment"}, set[str]()
    for node in nodes(tree(file)):
        if node.type != "identifier" or node.parent is None:
            continue
        first = node.parent.named_children[0] == node
        if node.parent.type.endswith("_declaration") or (node.parent.type == "for_statement" and first):
            declared.add(text(node)) if first else used.add(text(node))
        elif not (first and node.parent.type in {"object_property", "call_expression"}):
            used.add(text(node))

    assert used - declared == set()


def test_every_module_gets_its_parameters_and_gives_what_is_asked_of_it() -> None:
    """Each module's parameters are those of its file, and each output that is read exists there."""
    source = (INFRA / "main.bicep").read_text("utf-8")
    for name, module in MAIN["modules"].items():
        inner = parse(INFRA / module["detail"]["path"])
        config = module["config"]
        config = config.get("config", config)

        assert set(config["params"]) == set(inner["parameters"]), name
        assert set(re.findall(rf"\b{name}!?\.outputs\.(\w+)", source)) <= set(inner.get("outputs", {})), name


def test_azd_is_asked_for_every_parameter() -> None:
    """The parameters file names no parameter that does not exist, and leaves out none that has no default."""
    required = {name for name, one in MAIN["parameters"].items() if one["default"] is None}

    assert required <= set(PARAMETERS)
    assert set(PARAMETERS) <= set(MAIN["parameters"])


def test_azd_publishes_to_the_app_that_is_tagged() -> None:
    """The service of azure.yaml is the one that the app's tag names."""
    service = yaml.safe_load((INFRA.parent / "azure.yaml").read_text("utf-8"))["services"]
    tags = found("site").body["tags"]["function"]["parameters"]["arg_2"]

    assert {f"{name}" for name in service} == {tags["'azd-service-name'"]}
    assert service["api"] == {"project": ".", "language": "python", "host": "function"}


def test_the_app_is_python_3_13_on_flex_consumption() -> None:
    """The plan is FC1, and the runtime is the one that the tests run on."""
    config = found("site").body["properties"]["functionAppConfig"]

    assert found("plan").body["sku"] == {"name": "FC1", "tier": "FlexConsumption"}
    assert config["runtime"] == {"name": "python", "version": "3.13"}


def test_concurrency_fits_the_app() -> None:
    """An instance is given as many requests as it has places for mints, by default and when it is changed."""
    trigger = found("site").body["properties"]["functionAppConfig"]["scaleAndConcurrency"]["triggers"]["http"]
    default = next(one.default for one in app_settings() if one.name == "max_concurrent_mints")

    assert MAIN["parameters"]["perInstanceConcurrency"]["default"] == default
    assert trigger == {"perInstanceConcurrency": "perInstanceConcurrency"}
    assert settings()["MAX_CONCURRENT_MINTS"] == {
        "function": {"type": "string", "parameters": {"value_to_convert": "perInstanceConcurrency"}}
    }


def test_nothing_but_https_from_tls_1_2() -> None:
    """The app, its deployment endpoint, the storage and Redis all refuse what is older."""
    site = found("site").body["properties"]

    assert site["httpsOnly"] is True
    assert site["siteConfig"]["minTlsVersion"] == site["siteConfig"]["scmMinTlsVersion"] == "1.2"
    assert found("storage").body["properties"]["minimumTlsVersion"] == "TLS1_2"
    assert found("storage").body["properties"]["supportsHttpsTrafficOnly"] is True
    assert found("redis", "redis.bicep").body["properties"]["minimumTlsVersion"] == "1.2"


def test_storage_and_logs_take_no_shared_key() -> None:
    """Shared keys are off for storage and for Application Insights, and the settings use the identity."""
    storage = found("storage").body["properties"]

    assert storage["allowSharedKeyAccess"] is False
    assert storage["allowBlobPublicAccess"] is False
    assert found("insights").body["properties"]["DisableLocalAuth"] is True
    assert settings()["AzureWebJobsStorage__credential"] == "managedidentity"
    assert settings()["APPLICATIONINSIGHTS_AUTHENTICATION_STRING"].endswith(";Authorization=AAD")


def test_the_identity_has_three_roles_each_on_one_resource() -> None:
    """On Azure OpenAI it is a user and nothing wider; on its own storage and logs what the platform needs."""
    variables = {
        "role.bicep": parse(INFRA / "role.bicep")["variables"],
        "app.bicep": parse(INFRA / "app.bicep")["variables"],
    }
    roles = {
        (one.body["scope"], variables[one.file][role(one)]["value"])
        for one in resources()
        if one.type == "Microsoft.Authorization/roleAssignments"
    }

    assert roles == {
        ("openAi", OPENAI_USER),
        ("storage", "b7e6dc6d-f1e8-4753-8033-0f276bb0955b"),
        ("insights", "3913510d-42f4-4e42-8a64-420c390055eb"),
    }


def role(assignment: Resource) -> str:
    parameters = assignment.body["properties"]["roleDefinitionId"]["function"]["parameters"]
    return str(parameters["resource_name_1"])


def settings() -> dict[str, Any]:
    """Return the app settings that are always there."""
    union = found("settings").body["properties"]["function"]["parameters"]
    return dict(union["arg_1"])


def test_every_app_setting_exists_and_none_is_refused_by_the_plan() -> None:
    """The settings are the app's own, by their names, or the platform's; none that Flex Consumption refuses."""
    ours = {declared.metadata["name"] for declared in app_settings()}

    platforms = set(settings()) - ours
    assert {name.partition("__")[0] for name in platforms} == {
        "AzureWebJobsStorage",
        "APPLICATIONINSIGHTS_CONNECTION_STRING",
        "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
    }
    assert [name for name in settings() if NOT_ON_FLEX.fullmatch(name)] == []


def test_the_settings_satisfy_the_app() -> None:
    """With what Azure fills in, and with empty texts where something is left out, the app finds nothing wrong."""
    filled = {
        "AZURE_CLIENT_ID": "11111111-2222-3333-4444-555555555555",
        "AZURE_OPENAI_ENDPOINT": "https://resource.openai.azure.com",
        "AZURE_OPENAI_FALLBACK_ENDPOINT": "",
        "AZURE_OPENAI_REALTIME_DEPLOYMENT": "gpt-realtime",
        "AZURE_OPENAI_TRANSCRIPTION_DEPLOYMENT": "",
        "TRANSCRIPTION_MODE": "",
        "MAX_CONCURRENT_MINTS": "64",
        "QUOTA_STORAGE_URI": "",
        "CALLER_HASH_KEY": "",
    }
    ours = {declared.metadata["name"] for declared in app_settings()}
    read = Settings.read(filled | {"WEBSITE_SITE_NAME": "app"})

    assert set(filled) == set(settings()) & ours
    assert read.caller_auth == "function_key"


def test_a_redis_key_fits_into_its_address() -> None:
    """A key with every character of base64 comes through the URI that the Bicep writes."""
    from urllib.parse import quote  # noqa: PLC0415 - Bicep's uriComponent is this, with no safe characters

    from redis import Redis  # noqa: PLC0415 - only here

    key, source = "a/b+c==", (INFRA / "app.bicep").read_text("utf-8")
    written = re.search(r"'(rediss://:)\$\{uriComponent\(.+?\)\}@\$\{.+?\}(:10000/0)'", source)
    assert written is not None
    uri = f"{written[1]}{quote(key, safe='')}@redis.example{written[2]}"

    assert Redis.from_url(uri).connection_pool.connection_kwargs["password"] == key
    filled = {"AZURE_OPENAI_ENDPOINT": "https://r.example", "AZURE_OPENAI_REALTIME_DEPLOYMENT": "d"}
    assert Settings.read(filled | {"QUOTA_STORAGE_URI": uri}).quota_storage_uri == uri


def test_easy_auth_lets_health_alone_through() -> None:
    """It is there only with a client ID, answers 401 and not a redirect, and CALLER_AUTH goes along with it."""
    auth = found("auth")
    validation = auth.body["properties"]["globalValidation"]
    easy_auth = parse(INFRA / "app.bicep")["variables"]["easyAuth"]["value"]["operator"]["operands"]

    assert auth.conditional
    assert validation["requireAuthentication"] is True
    assert validation["unauthenticatedClientAction"] == "Return401"
    assert validation["excludedPaths"] == ["/api/health"]
    assert easy_auth["condition"] == {
        "function": {"type": "empty", "parameters": {"item_to_test": "easyAuthClientId"}}
    }
    assert easy_auth["true_value"] == {}
    assert easy_auth["false_value"] == {"CALLER_AUTH": "easy_auth"}


def test_cors_is_a_list_and_never_everyone() -> None:
    """The origins are the parameter's; without it nobody's page is let in, and credentials are never allowed."""
    cors = found("site").body["properties"]["siteConfig"]["cors"]

    assert cors == {"allowedOrigins": "allowedOrigins", "supportCredentials": False}
    assert MAIN["parameters"]["allowedOrigins"]["default"] == ""
    assert "'*'" not in "".join(file.read_text("utf-8") for file in FILES)


def test_no_output_holds_a_secret() -> None:
    """Outputs stay in the deployment's history, where readers of the resource group see them."""
    outputs = json.dumps([parse(file).get("outputs", {}) for file in FILES])

    assert not re.search(r"list_?keys|primaryKey|ConnectionString|redisUri", outputs, re.IGNORECASE)


def test_a_key_is_a_secure_parameter() -> None:
    """What azd hands over as a secret is kept out of the deployment's history too."""
    secure = {file.name: re.findall(r"@secure\(\)\nparam (\w+)", file.read_text("utf-8")) for file in FILES}

    assert {name: found for name, found in secure.items() if found} == {
        "app.bicep": ["callerHashKey"],
        "main.bicep": ["callerHashKey"],
    }


def test_each_alert_has_its_query() -> None:
    """Failure ratio, throttling and a change of evidence are watched, each with a query that is a file."""
    rules = parse(INFRA / "alerts.bicep")["variables"]["rules"]["value"]
    queries = [rule["query"]["function"]["parameters"]["file_path"] for rule in rules]

    assert queries == [
        "queries/alert-failure-ratio.kql",
        "queries/alert-throttled.kql",
        "queries/alert-evidence-changed.kql",
    ]
    assert all((INFRA / query).exists() for query in queries)
