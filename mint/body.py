"""Reads a request's body as one JSON object, strictly.

Stricter than `json.loads`: NaN, numbers beyond a double, duplicate keys and lone surrogates are refused, since
what is read here is sent on, and two readers must not see two things in it.
"""

import json
import math
from typing import Any, NoReturn

from mint.errors import MintError

MAX_BYTES = 16384
Json = dict[str, Any]


def read(raw: bytes, content_type: str | None) -> Json:
    """Return the body as a dict, `{}` if it is empty.

    Raises `MintError` `body_too_large`, `unsupported_media_type` or `invalid_json`. An empty body may state any
    Content-Type: the npm `openai` package sends none of the former with JSON as the latter.
    """
    if len(raw) > MAX_BYTES:
        raise MintError(
            "body_too_large", f"The body has {len(raw)} bytes; at most {MAX_BYTES} are accepted. Send less."
        )
    if not raw.strip():
        return {}
    media_type = (content_type or "application/json").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise MintError(
            "unsupported_media_type", "The body must be JSON: send it with Content-Type: application/json."
        )
    try:
        value = strict_json(raw)
    except ValueError as error:
        raise MintError("invalid_json", f"The body {error}.") from error
    if not isinstance(value, dict):
        raise MintError("invalid_json", 'The body must be a JSON object, such as {}, or {"session": {...}}.')
    return value


class _NotStrictError(ValueError):
    """JSON to a lenient reader, refused here; the message says which rule it broke."""


def strict_json(raw: bytes) -> Any:  # noqa: ANN401 - whatever it holds
    """Return what UTF-8 JSON holds; raises ValueError, whose text finishes "The body ..." and quotes nothing."""
    try:
        value = json.loads(
            raw.decode("utf-8"), object_pairs_hook=_object, parse_float=_float, parse_constant=_refuse_constant
        )
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # a lone surrogate cannot be encoded
    except _NotStrictError:
        raise
    except UnicodeError as error:
        raise ValueError("is not UTF-8 text, or has half of a surrogate pair") from error
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error
    except ValueError as error:
        where = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise ValueError(f"is not JSON{where}") from error
    return value


def _object(pairs: list[tuple[str, Any]]) -> Json:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _NotStrictError("is not strict JSON: an object has the same key twice")
    return value


def _float(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise _NotStrictError("is not strict JSON: a number is too large")
    return number


def _refuse_constant(_name: str) -> NoReturn:
    raise _NotStrictError("is not strict JSON: NaN and Infinity are not JSON")
