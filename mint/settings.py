"""The one reader of the environment: every app setting, what it takes, and what is wrong with it.

Read on the first request, never at import: an exception while function_app.py is imported removes every route.
A change of a setting restarts the app on Azure, so the values are read once a process.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any
from uuid import UUID

from mint import parse
from mint.errors import MintError

GA_FIELD = "audio.input.transcription"
FLAT_FIELD = "input_audio_transcription"


def _setting(
    name: str,
    parse: Callable[[str], Any],
    takes: str,
    default: Any = MISSING,  # noqa: ANN401 - one helper for every field's type
    *,
    secret: bool = False,
) -> Any:  # noqa: ANN401 - the same
    """Declare one app setting; without a default it is required. `takes` finishes "NAME must be ..."."""
    return field(default=default, repr=not secret, metadata={"name": name, "parse": parse, "takes": takes})


_DEPLOYMENT = parse.matching(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All app settings, parsed. README.md has the same table; a test holds the two together."""

    endpoint: str = _setting(
        "AZURE_OPENAI_ENDPOINT", parse.endpoint, "an https URL, such as https://RESOURCE.openai.azure.com"
    )
    deployment: str = _setting(
        "AZURE_OPENAI_REALTIME_DEPLOYMENT", _DEPLOYMENT, "the name of a deployment of a realtime model"
    )
    transcription_deployment: str | None = _setting(
        "AZURE_OPENAI_TRANSCRIPTION_DEPLOYMENT",
        _DEPLOYMENT,
        "the name of a deployment of a transcription model",
        default=None,
    )
    transcription_mode: str = _setting(
        "TRANSCRIPTION_MODE",
        parse.one_of("mint_time", "post_connect", "auto"),
        "mint_time, post_connect or auto",
        default="post_connect",
    )
    probe_seconds: int = _setting(
        "TRANSCRIPTION_PROBE_SECONDS",
        parse.whole(0, 86400),
        "a whole number of seconds from 0 (never) to 86400",
        default=300,
    )
    transcription_field: str = _setting(
        "TRANSCRIPTION_FIELD", parse.one_of(GA_FIELD, FLAT_FIELD), f"{GA_FIELD} or {FLAT_FIELD}", default=GA_FIELD
    )
    fallback_endpoint: str | None = _setting(
        "AZURE_OPENAI_FALLBACK_ENDPOINT",
        parse.endpoint,
        "an https URL, of a second resource with the same deployment names",
        default=None,
    )
    scope: str = _setting(
        "AZURE_OPENAI_SCOPE",
        parse.matching(r"\S+/\.default"),
        "a token scope that ends in /.default",
        default="https://cognitiveservices.azure.com/.default",
    )
    api_version: str | None = _setting(
        "AZURE_OPENAI_API_VERSION", parse.matching(r"[A-Za-z0-9.-]{1,64}"), "an api-version", default=None
    )
    client_id: str | None = _setting(
        "AZURE_CLIENT_ID",
        lambda text: str(UUID(text)),
        "the client ID (a GUID) of a user-assigned identity",
        default=None,
    )
    ttl_seconds: int | None = _setting(
        "CLIENT_SECRET_TTL_SECONDS",
        parse.whole(10, 7200),
        "a whole number of seconds from 10 to 7200",
        default=None,
    )
    deadline_seconds: float = _setting(
        "MINT_DEADLINE_SECONDS", parse.seconds(1, 60), "a number of seconds from 1 to 60", default=8.0
    )
    max_concurrent_mints: int = _setting(
        "MAX_CONCURRENT_MINTS", parse.whole(1, 1024), "a whole number from 1 to 1024", default=64
    )
    caller_auth: str = _setting(
        "CALLER_AUTH",
        parse.one_of("function_key", "easy_auth", "jwt", "anonymous"),
        "function_key, easy_auth, jwt or anonymous",
        default="function_key",
    )
    jwt_issuer: str | None = _setting(
        "JWT_ISSUER",
        parse.issuer,
        "the https URL that the issuer's tokens have as iss, to the last slash",
        default=None,
    )
    jwt_audience: str | None = _setting(
        "JWT_AUDIENCE", parse.matching(r"\S{1,512}"), "the aud of the tokens that are for this app", default=None
    )
    jwt_required_scope: str | None = _setting(
        "JWT_REQUIRED_SCOPE",
        parse.matching(r"[!#-\[\]-~]{1,256}"),
        "one scope or role that a token must have",
        default=None,
    )
    jwt_jwks_url: str | None = _setting(
        "JWT_JWKS_URL", parse.safe_url, "the https URL of the issuer's keys", default=None
    )
    mint_quota: str = _setting(
        "MINT_QUOTA", parse.quota, "windows such as 20/minute;200/day, or off", default="20/minute;200/day"
    )
    quota_storage_uri: str = _setting(
        "QUOTA_STORAGE_URI",
        parse.storage,
        "memory:// or redis://:PASSWORD@HOST:PORT/DB (rediss:// for TLS)",
        default="memory://",
        secret=True,
    )
    safety_identifier: str = _setting("SAFETY_IDENTIFIER", parse.one_of("on", "off"), "on or off", default="off")
    caller_hash_key: str | None = _setting(
        "CALLER_HASH_KEY",
        parse.matching(r"\S{1,256}"),
        "a secret of at most 256 characters without spaces",
        default=None,
        secret=True,
    )

    # Said by the platform, not by the operator.
    has_identity_endpoint: bool = False
    on_azure: bool = False
    auth_enabled: bool = False

    @property
    def endpoints(self) -> list[str]:
        """The resources to mint at, the preferred one first."""
        return [endpoint for endpoint in (self.endpoint, self.fallback_endpoint) if endpoint]

    @classmethod
    def read(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Return the settings in `environ`, an empty value counting as unset.

        Raises `MintError` `misconfigured` that names every faulty setting at once, and no value: what is wrong
        is shown to anonymous callers of /api/health.
        """
        values: dict[str, Any] = {
            "has_identity_endpoint": bool(environ.get("IDENTITY_ENDPOINT")),
            "on_azure": is_on_azure(environ),
            "auth_enabled": environ.get("WEBSITE_AUTH_ENABLED", "").strip().lower() == "true",
        }
        problems = []
        for declared in app_settings():
            name, takes = declared.metadata["name"], declared.metadata["takes"]
            text = environ.get(name, "").strip()
            if text:
                try:
                    values[declared.name] = declared.metadata["parse"](text)
                except ValueError:
                    problems.append(f"{name} is not valid: it must be {takes}.")
            elif declared.default is MISSING:
                problems.append(f"{name} is missing: it must be {takes}.")
        problems += _contradictions(values, environ)
        if problems:
            raise MisconfiguredError(problems)
        return cls(**values)


def _contradictions(values: Mapping[str, Any], environ: Mapping[str, str]) -> list[str]:
    """Return what is wrong between settings that are each valid; `values` has those that are set."""
    problems = []
    mode = values.get("caller_auth")
    if mode == "anonymous" and values["on_azure"]:
        problems.append(
            "CALLER_AUTH is anonymous, which would let anyone on the internet mint: on Azure it must be "
            "function_key, easy_auth or jwt."
        )
    if mode == "easy_auth" and not values["auth_enabled"]:
        problems.append(
            "CALLER_AUTH is easy_auth, but App Service authentication is off (WEBSITE_AUTH_ENABLED is not true), "
            "so that anyone could write its headers: turn it on, or choose another CALLER_AUTH."
        )
    if mode == "jwt":
        problems += [
            f"{name} is missing: CALLER_AUTH is jwt, which needs it."
            for name in ("JWT_ISSUER", "JWT_AUDIENCE")
            if not environ.get(name, "").strip()
        ]
    if values.get("safety_identifier") == "on" and not environ.get("CALLER_HASH_KEY", "").strip():
        problems.append(
            "CALLER_HASH_KEY is missing: SAFETY_IDENTIFIER is on, which needs a key that all instances share."
        )
    return problems


class MisconfiguredError(MintError):
    """The app settings or the profiles cannot be used; `problems` has a sentence for each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("misconfigured", "The app is misconfigured. " + " ".join(problems))
        self.problems = problems


def app_settings() -> list[Field[Any]]:
    """Return the declared settings; each one's metadata has `name`, `parse` and `takes`."""
    return [declared for declared in fields(Settings) if declared.metadata]


def is_on_azure(environ: Mapping[str, str] = os.environ) -> bool:
    """Tell whether the app runs on Azure, by the variables that App Service sets."""
    return bool(environ.get("WEBSITE_SITE_NAME") or environ.get("WEBSITE_INSTANCE_ID"))


def platform_checks_key(environ: Mapping[str, str] = os.environ) -> bool:
    """Tell whether the platform is to ask for a function key. The one setting that is looked at on import.

    Anything but a mode that is known to need no key means yes, so that a typing error cannot open the endpoint.
    """
    return environ.get("CALLER_AUTH", "").strip() not in {"easy_auth", "jwt", "anonymous"}
