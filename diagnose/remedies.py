"""What each fault generally means and the command to paste against it. Pure.

The commands hold the resource's name and the identity's object id, so they are for the terminal, not the report.
"""

import re
from collections.abc import Callable
from urllib.parse import urlsplit

from diagnose.records import Current, Fault, Help, Who

_AZURE = re.compile(r"([a-z0-9][a-z0-9-]*)((?:\.[a-z0-9-]+)*\.(?:azure\.(?:com|us|cn)|azure-api\.net))")


def resource_name(endpoint: str) -> str:
    """Return the resource's own name; `RESOURCE` where the host is not one of Azure's."""
    match = _AZURE.fullmatch(urlsplit(endpoint).hostname or "")
    return match[1] if match else "RESOURCE"


def shown_endpoint(endpoint: str, *, show: bool, stand_in: str = "RESOURCE") -> str:
    """Return the endpoint, its resource's name (or its host, if it is not Azure's) replaced unless `show`."""
    if show:
        return endpoint
    parts = urlsplit(endpoint)
    match = _AZURE.fullmatch(parts.hostname or "")
    return f"{parts.scheme}://{stand_in}{match[2] if match else ''}"


def help_for(fault: Fault, current: Current, who: Who | None, scope_that_works: str | None = None) -> Help:
    """Return what `fault` means for these settings."""
    return _HELP[fault](current, who, scope_that_works)


def set_command(settings: dict[str, str]) -> str:
    """Return the command that sets app settings; setting one restarts the app."""
    pairs = " ".join(f"{name}={value}" for name, value in settings.items())
    return f"az functionapp config appsettings set --name APP --resource-group GROUP --settings {pairs}"


def unset_command(name: str) -> str:
    """Return the command that takes an app setting away."""
    return f"az functionapp config appsettings delete --name APP --resource-group GROUP --setting-names {name}"


def _account(current: Current, wanted: str) -> str:
    name = resource_name(current.endpoint)
    query = f"[?properties.customSubDomainName=='{name}'].{wanted}"
    return f'"$(az cognitiveservices account list --query "{query}" --output tsv)"'


def _role(current: Current, who: Who | None, _scope: str | None) -> Help:
    object_id, kind = (who.object_id, who.principal_type) if who else ("OBJECT_ID", "ServicePrincipal")
    return Help(
        "The identity lacks a data role on the resource. Owner, Contributor and Cognitive Services Contributor do "
        "not include it. A new assignment takes up to five minutes.",
        (
            (
                f"az role assignment create --assignee-object-id {object_id} --assignee-principal-type {kind} "
                f'--role "Cognitive Services OpenAI User" --scope {_account(current, "id")}'
            ),
        ),
    )


def _audience(current: Current, who: Who | None, _scope: str | None) -> Help:
    tenant = who.tenant if who else "unknown"
    return Help(
        "Azure accepts the token for neither audience. Generally the identity belongs to another tenant than the "
        f"resource (the token's is {tenant}), or the endpoint is another service's.",
        (
            (
                f'az cognitiveservices account list --query "[?properties.customSubDomainName=='
                f"'{resource_name(current.endpoint)}'].properties.endpoint\" --output tsv"
            ),
            "az account show --query tenantId --output tsv",
        ),
    )


def _other_audience(current: Current, _who: Who | None, scope: str | None) -> Help:
    wanted = scope or "https://cognitiveservices.azure.com/.default"
    return Help(
        f"The resource refuses tokens for the audience of {current.scope} and takes those of {wanted}.",
        (set_command({"AZURE_OPENAI_SCOPE": wanted}),),
    )


def _network_rules(current: Current, _who: Who | None, _scope: str | None) -> Help:
    return Help(
        "The resource's network rules keep this machine out. The app may still be let in: run this from its "
        "network, or allow this address for the time of the measurement.",
        (
            (
                f"az cognitiveservices account show --name {resource_name(current.endpoint)} --resource-group "
                f"{_account(current, 'resourceGroup')} "
                '--query "properties.{public:publicNetworkAccess, rules:networkAcls}"'
            ),
        ),
    )


def _no_deployment(current: Current, _who: Who | None, _scope: str | None) -> Help:
    return Help(
        f"The resource has no deployment named {current.deployment}: the name is case-sensitive, is not the "
        "model's, and a new one takes some minutes. Set AZURE_OPENAI_REALTIME_DEPLOYMENT to one of this list:",
        (_deployments(current),),
    )


def _not_realtime(current: Current, _who: Who | None, _scope: str | None) -> Help:
    return Help(
        f"The deployment {current.deployment} is not of a realtime model. Set AZURE_OPENAI_REALTIME_DEPLOYMENT to "
        "one of this list whose model is, for example gpt-realtime:",
        (_deployments(current),),
    )


def _deployments(current: Current) -> str:
    return (
        f"az cognitiveservices account deployment list --name {resource_name(current.endpoint)} --resource-group "
        f"{_account(current, 'resourceGroup')} "
        '--query "[].{name:name, model:properties.model.name, state:properties.provisioningState}" --output table'
    )


def _said(means: str, *paste: str) -> Callable[[Current, Who | None, str | None], Help]:
    return lambda _current, _who, _scope: Help(means, paste)


_UNSET_VERSION = unset_command("AZURE_OPENAI_API_VERSION")
_HELP: dict[Fault, Callable[[Current, Who | None, str | None], Help]] = {
    Fault.SETTINGS: _said(
        "Without its settings nothing can be measured. The app's own can be used:",
        "az functionapp config appsettings list --name APP --resource-group GROUP > app-settings.json",
        ".venv/bin/python -m diagnose --settings app-settings.json",
    ),
    Fault.IDENTITY: _said(
        "There is no token to mint with. On a laptop nobody is signed in; on Azure the app has no identity, or "
        "AZURE_CLIENT_ID is not that of an identity assigned to it.",
        "az login",
        "az functionapp identity show --name APP --resource-group GROUP",
    ),
    Fault.UNREACHABLE: _said(
        "Nothing answers at AZURE_OPENAI_ENDPOINT from here: its host is misspelt, this machine is offline or "
        "behind a proxy that HTTPS_PROXY does not name, or the resource has only a private endpoint.",
        'az cognitiveservices account list --query "[].{name:name, endpoint:properties.endpoint}" --output table',
    ),
    Fault.ROLE: _role,
    Fault.AUDIENCE: _audience,
    Fault.OTHER_AUDIENCE: _other_audience,
    Fault.NETWORK_RULES: _network_rules,
    Fault.FORBIDDEN: _said(
        "Azure forbids the call, whatever the role: generally a blocked subscription or resource, or a policy. "
        "The resource's page in the portal says which."
    ),
    Fault.NO_DEPLOYMENT: _no_deployment,
    Fault.NOT_REALTIME: _not_realtime,
    Fault.REJECTED: _said(
        "Azure rejects the session even without transcription: generally a field of the profile in sessions/ that "
        "this resource does not know, or an api-version, which the GA path does not need.",
        _UNSET_VERSION,
    ),
    Fault.NOT_FOUND: _said(
        "The resource answers and does not know the mint's path: AZURE_OPENAI_ENDPOINT is generally another "
        "service's host, or an api-version is sent, which the GA path does not need.",
        'az cognitiveservices account list --query "[].{name:name, endpoint:properties.endpoint}" --output table',
        _UNSET_VERSION,
    ),
    Fault.THROTTLED: _said(
        "Azure is throttling the deployment, for the app's callers too. Wait and run this again; if it lasts, "
        "raise the deployment's capacity.",
        "az cognitiveservices usage list --location LOCATION --output table",
    ),
    Fault.NO_ANSWER: _said(
        "The resource can be reached and does not answer a mint in time, or breaks it off: generally an outage. "
        "Run this again, with a longer --timeout if the network is slow."
    ),
}
