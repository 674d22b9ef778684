"""`make infra-check`: what infra/ and the documents say, held against Microsoft's own programs. Needs no Azure.

Runs in an environment of its own, with azure-cli and pycep-parser, and Microsoft's KQL language service beside it:
1. every `az` command of the documents, the workflows and the doctor goes through azure-cli's own parser;
2. every resource in the Bicep files has only properties that Azure's management SDK knows, by its models;
3. every query in infra/queries is free of errors for Microsoft's KQL service, over the columns of `traces`.
No package of PyPI, npm or Debian was found that contains the Bicep compiler, so that none of this compiles Bicep.
"""

import contextlib
import importlib
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from azure.cli.core import get_default_cli

from tests.bicep import resources
from tests.documents import ROOT, blocks, commands
from tests.pasted import pasted

DOCUMENTS = sorted(file for where in (".", "docs", "clients") for file in (ROOT / where).glob("*.md"))

# The model that describes each type of resource; what is not here is said to be unchecked.
MODELS = {
    "Microsoft.CognitiveServices/accounts": "cognitiveservices.models.Account",
    "Microsoft.Insights/actionGroups": "monitor.models.ActionGroupResource",
    "Microsoft.Insights/scheduledQueryRules": "monitor.models.ScheduledQueryRuleResource",
    "Microsoft.Insights/components": "applicationinsights.models.ApplicationInsightsComponent",
    "Microsoft.ManagedIdentity/userAssignedIdentities": "msi.models.Identity",
    "Microsoft.OperationalInsights/workspaces": "loganalytics.models.Workspace",
    "Microsoft.Storage/storageAccounts": "storage.models.StorageAccountCreateParameters",
    "Microsoft.Storage/storageAccounts/blobServices": "storage.models.BlobServiceProperties",
    "Microsoft.Storage/storageAccounts/blobServices/containers": "storage.models.BlobContainer",
    "Microsoft.Web/serverfarms": "web.models.AppServicePlan",
    "Microsoft.Web/sites": "web.models.Site",
    "Microsoft.Web/sites/config:authsettingsV2": "web.models.SiteAuthSettingsV2",
    "Microsoft.Authorization/roleAssignments": "authorization.models.RoleAssignmentCreateParameters",
}

# The SDK that azure-cli brings for Application Insights is of 2015; these came with the API that is used here.
NEWER = {
    ("Microsoft.Insights/components", "properties.WorkspaceResourceId"),
    ("Microsoft.Insights/components", "properties.DisableLocalAuth"),
}


def az_problems() -> Iterator[str]:
    """Yield each `az` command that azure-cli's parser refuses."""
    count = 0
    written = [block for document in DOCUMENTS for block in blocks(document) if block.language == "sh"]
    for block in [*written, *pasted()]:
        for name, *arguments in commands(block.text):
            if name == "az":
                count += 1
                if refusal := refused(arguments):
                    yield f"{block}: az {' '.join(arguments)}\n    {refusal}"
    say(f"az: {count} commands through azure-cli's parser")


def refused(arguments: list[str]) -> str | None:
    """Return azure-cli's complaint about a command line; it is parsed and not run."""
    cli: Any = get_default_cli()
    invocation = cli.invocation_cls(
        cli_ctx=cli, parser_cls=cli.parser_cls, commands_loader_cls=cli.commands_loader_cls, help_cls=cli.help_cls
    )
    cli.invocation = invocation
    loader = invocation.commands_loader
    loader.load_command_table(arguments)
    command = invocation._rudimentary_get_command(arguments)
    invocation.data["command_string"] = command
    if command not in loader.command_table:
        return f"no such command: {command}"
    loader.command_name = command
    loader.command_table = {command: loader.command_table[command]}
    loader.load_arguments(command)
    invocation.parser.load_command_table(loader)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            invocation.parser.parse_args(arguments)
    except SystemExit:
        return said.getvalue().strip() or "refused"
    except Exception as error:  # noqa: BLE001 - azure-cli raises its own kinds for a bad command line
        return f"{type(error).__name__}: {error}"
    return None


def bicep_problems() -> Iterator[str]:
    """Yield each property in the Bicep files that the management SDK's model of the resource does not have."""
    checked, unchecked = 0, set()
    for resource in resources():
        if resource.existing:
            continue
        model = MODELS.get(f"{resource.type}:{resource.body.get('name')}") or MODELS.get(resource.type)
        if model is None:
            unchecked.add(resource.type)
            continue
        checked += 1
        body = {key: value for key, value in resource.body.items() if key not in {"parent", "scope", "dependsOn"}}
        module, _, kind = model.rpartition(".")
        described = getattr(importlib.import_module(f"azure.mgmt.{module}"), kind)
        for path in unknown(body, described, ""):
            if (resource.type, path) not in NEWER:
                yield f"{resource.file}: {resource.name} has no {path}"
    say(f"Bicep: {checked} resources against the SDK's models; without one: {', '.join(sorted(unchecked))}")


def unknown(value: Any, model: Any, path: str) -> Iterator[str]:
    """Yield the paths in a resource's body that the model has no name for."""
    if not isinstance(value, dict) or set(value) in ({"function"}, {"operator"}):  # an expression
        return
    names = wire_names(model)
    if names is None:
        return
    flat = {name.partition(".")[2] for name in names if name.startswith("properties.")}
    for raw, inner in value.items():
        key = raw.strip("'")
        if key == "properties" and flat:
            yield from unknown_in(
                inner, {name: names[f"properties.{name}"] for name in flat}, f"{path}properties."
            )
        elif key not in names and key not in {"name", "location", "tags", "type"}:
            yield path + key
        else:
            for item in inner if isinstance(inner, list) else [inner]:
                yield from unknown(item, names.get(key), f"{path}{key}.")


def unknown_in(value: dict[str, Any], names: dict[str, Any], path: str) -> Iterator[str]:
    """Yield the same for a model that writes what is under `properties` as `properties.NAME`."""
    for key, inner in value.items():
        if key not in names:
            yield path + key
            continue
        for item in inner if isinstance(inner, list) else [inner]:
            yield from unknown(item, names[key], f"{path}{key}.")


def wire_names(model: Any) -> dict[str, Any] | None:
    """Return a model's fields by their names on the wire, each with its own model; None where it has none."""
    if isinstance(model, str):
        return None
    if model is None:
        return None
    fields = getattr(model, "_attribute_map", None)
    if fields:  # msrest's generation: {"key": "properties.x", "type": "[Kind]"}
        module = importlib.import_module(model.__module__.rpartition(".")[0])
        return {one["key"]: getattr(module, one["type"].strip("[]{}"), None) for one in fields.values()}
    fields = {}
    for base in reversed(getattr(model, "__mro__", ())):
        for name, kind in getattr(base, "__annotations__", {}).items():
            field = vars(base).get(name)
            if hasattr(field, "_rest_name_input") or hasattr(field, "_rest_name"):
                module = importlib.import_module(model.__module__.rpartition(".")[0])
                named = [] if "dict[" in str(kind).lower() else re.findall(r"_models\.(\w+)", str(kind))
                fields[field._rest_name_input or name] = getattr(module, named[0], None) if named else None
    return fields or None


def kql_problems() -> Iterator[str]:
    """Yield what Microsoft's KQL service calls an error in a query."""
    queries = sorted((ROOT / "infra/queries").glob("*.kql"))
    done = subprocess.run(
        ["node", str(ROOT / "tests/kql.cjs"), *map(str, queries)],  # noqa: S607 - found where the shell finds it
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        yield done.stderr
        return
    found = json.loads(done.stdout)
    for file, errors in found.items():
        yield from (f"{Path(file).name}: {error}" for error in errors)
    say(f"KQL: {len(found)} queries through Microsoft's language service")


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a program for the terminal


def main() -> int:
    """Run the three checks; 1 if anything is wrong."""
    problems = [*bicep_problems(), *kql_problems(), *az_problems()]
    for problem in problems:
        say(f"WRONG {problem}")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
