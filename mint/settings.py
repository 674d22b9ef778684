"""The one reader of the environment: every app setting, what it takes, and what is wrong with it.

Read on the first request, never at import: an exception while function_app.py is imported removes every route.
A change of a setting restarts the app on Azure, so the values are read once a process.
"""

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from mint.errors import MintError

GA_FIELD = "audio.input.transcription"
FLAT_FIELD = "input_audio_transcription"
LOOPBACK = {"localhost", "127.0.0.1", "::1"}


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise ValueError
    if not parts.hostname or parts.username or parts.query or parts.fragment or parts.port == 0:
        raise ValueError
    return text.rstrip("/")


def _endpoint(text: str) -> str:
    return _url(text.rstrip("/").removesuffix("/openai/v1"))


def _matching(pattern: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError
        return text

    return parse


def _one_of(*choices: str) -> Callable[[str], str]:
    return _matching("|".join(map(re.escape, choices)))


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not low <= (number := int(text)) <= high:
            raise ValueError
        return number

    return parse


def _seconds(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        if not math.isfinite(number := float(text)) or not low <= number <= high:
            raise ValueError
        return number

    return parse


def _setting(name: str, parse: Callable[[str], Any], takes: str, default: Any = MISSING) -> Any:  # noqa: ANN401 - one helper for every field's type
    """Declare one app setting; without a default it is required. `takes` finishes "NAME must be ..."."""
    return field(default=default, metadata={"name": name, "parse": parse, "takes": takes})


_DEPLOYMENT = _matching(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All app settings, parsed. README.md has the same table; a test holds the two together."""

    endpoint: str = _setting(
        "AZURE_OPENAI_ENDPOINT", _endpoint, "an https URL, such as https://RESOURCE.openai.azure.com"
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
        _one_of("mint_time", "post_connect"),
        "mint_time or post_connect",
        default="post_connect",
    )
    transcription_field: str = _setting(
        "TRANSCRIPTION_FIELD", _one_of(GA_FIELD, FLAT_FIELD), f"{GA_FIELD} or {FLAT_FIELD}", default=GA_FIELD
    )
    scope: str = _setting(
        "AZURE_OPENAI_SCOPE",
        _matching(r"\S+/\.default"),
        "a token scope that ends in /.default",
        default="https://cognitiveservices.azure.com/.default",
    )
    api_version: str | None = _setting(
        "AZURE_OPENAI_API_VERSION", _matching(r"[A-Za-z0-9.-]{1,64}"), "an api-version", default=None
    )
    client_id: str | None = _setting(
        "AZURE_CLIENT_ID",
        lambda text: str(UUID(text)),
        "the client ID (a GUID) of a user-assigned identity",
        default=None,
    )
    ttl_seconds: int | None = _setting(
        "CLIENT_SECRET_TTL_SECONDS",
        _whole(10, 7200),
        "a whole number of seconds from 10 to 7200",
        default=None,
    )
    deadline_seconds: float = _setting(
        "MINT_DEADLINE_SECONDS", _seconds(1, 60), "a number of seconds from 1 to 60", default=8.0
    )
    max_concurrent_mints: int = _setting(
        "MAX_CONCURRENT_MINTS", _whole(1, 1024), "a whole number from 1 to 1024", default=64
    )
    caller_auth: str = _setting(
        "CALLER_AUTH",
        _one_of("function_key", "anonymous"),
        "function_key or anonymous",
        default="function_key",
    )

    # Said by the platform, not by the operator.
    has_identity_endpoint: bool = False
    on_azure: bool = False

    @classmethod
    def read(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Return the settings in `environ`, an empty value counting as unset.

        Raises `MintError` `misconfigured` that names every faulty setting at once, and no value: what is wrong
        is shown to anonymous callers of /api/health.
        """
        values: dict[str, Any] = {
            "has_identity_endpoint": bool(environ.get("IDENTITY_ENDPOINT")),
            "on_azure": bool(environ.get("WEBSITE_SITE_NAME") or environ.get("WEBSITE_INSTANCE_ID")),
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
        if values.get("caller_auth") == "anonymous" and values["on_azure"]:
            problems.append(
                "CALLER_AUTH is anonymous, which would let anyone on the internet mint: on Azure it must be "
                "function_key."
            )
        if problems:
            raise MisconfiguredError(problems)
        return cls(**values)


class MisconfiguredError(MintError):
    """The app settings or the profiles cannot be used; `problems` has a sentence for each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("misconfigured", "The app is misconfigured. " + " ".join(problems))
        self.problems = problems


def app_settings() -> list[Field[Any]]:
    """Return the declared settings; each one's metadata has `name`, `parse` and `takes`."""
    return [declared for declared in fields(Settings) if declared.metadata]


def platform_checks_key(environ: Mapping[str, str] = os.environ) -> bool:
    """Tell whether the platform is to ask for a function key. The one setting that is looked at on import.

    Anything but a mode that is known to need no key means yes, so that a typing error cannot open the endpoint.
    """
    return environ.get("CALLER_AUTH", "").strip() != "anonymous"
