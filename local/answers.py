"""How the simulated resource answers: Azure's headers and error bodies.

Header names are those seen on Azure's realtime and v1 routes; that client_secrets carries them is inference.
"""

import json
import uuid
from collections.abc import Mapping

from aiohttp import web

PARSED_BODY: web.RequestKey[object] = web.RequestKey("parsed_body", object)
NOT_JSON = object()

KEYS_DISABLED = "Key based authentication is disabled for this resource."
NO_SUCH_DEPLOYMENT = (
    "The API deployment for this resource does not exist. If you created the deployment within the last 5 "
    "minutes, please wait a moment and try again."
)
NOT_REALTIME = (
    "The realtime operation does not work with the specified model. Please choose different model and try again."
)
WRONG_SESSION_TYPE = "The session type is missing or not supported."  # the code was observed, the wording not


def azure_headers() -> dict[str, str]:
    """Return the headers that Azure puts on every answer, with fresh ids."""
    return {
        "apim-request-id": str(uuid.uuid4()),
        "x-ms-region": "Sweden Central",
        "x-request-id": str(uuid.uuid4()),
    }


def json_answer(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Answer with `body` as JSON and Azure's headers."""
    return web.Response(
        status=status,
        body=json.dumps(body).encode(),
        content_type="application/json",
        headers={**azure_headers(), **(headers or {})},
    )


def error_body(code: str | None, message: str, kind: str | None = None, param: str | None = None) -> object:
    """Return Azure's error envelope; `type` and `param` appear only where OpenAI's own errors carry them."""
    error: dict[str, object] = {"code": code, "message": message}
    if kind is not None:
        error |= {"type": kind, "param": param}
    return {"error": error}


def error_answer(
    status: int, code: str | None, message: str, kind: str | None = None, param: str | None = None
) -> web.Response:
    """Answer with Azure's error envelope."""
    return json_answer(error_body(code, message, kind, param), status)


def unknown_parameter(param: str) -> web.Response:
    """Answer 400 as api.openai.com does to a field it does not know."""
    return error_answer(400, "unknown_parameter", f"Unknown parameter: '{param}'.", "invalid_request_error", param)


def internal_error() -> web.Response:
    """Answer 500; no public source has captured Azure's body, so this one is inference."""
    message = "The server had an error while processing your request. Sorry about that!"
    return error_answer(500, "InternalServerError", message, "server_error")


def audience_refused() -> web.Response:
    """Answer 401 as Azure does to a token that is missing, expired or for another audience: a bare object."""
    message = (
        "Unauthorized. Access token is missing, invalid, audience is incorrect "
        "(https://cognitiveservices.azure.com), or have expired."
    )
    return json_answer({"statusCode": 401, "message": message}, 401)


def resource_not_found() -> web.Response:
    """Answer 404 as Azure does to a path that it does not serve, and to a wrong method."""
    return error_answer(404, "404", "Resource not found")
