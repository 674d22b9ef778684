"""Runs in the peers' environment: the package's own router under uvicorn, with another base URL."""

import os
import sys
from typing import Any

import uvicorn  # type: ignore[import-not-found,unused-ignore]  # only in the peers' environment
from azure_realtime_webrtc import token_manager  # type: ignore[import-not-found,unused-ignore]  # as above
from azure_realtime_webrtc.server import (  # type: ignore[import-not-found,unused-ignore]  # as above
    create_fastapi_router,
    fastapi_middleware,
)
from azure_realtime_webrtc.types import ApiKeyAuth  # type: ignore[import-not-found,unused-ignore]  # as above
from fastapi import FastAPI  # type: ignore[import-not-found,unused-ignore]  # as above


def redirected(_base_url: str, *arguments: Any) -> Any:  # noqa: ANN401 - passed through to the package
    """Stand in for `TokenManager`, which is given an address made from the resource's name."""
    return token_manager.TokenManager(os.environ["UPSTREAM"], *arguments)


if __name__ == "__main__":
    fastapi_middleware.TokenManager = redirected
    app = FastAPI()
    auth = ApiKeyAuth(api_key=os.environ["API_KEY"])
    app.include_router(create_fastapi_router("unused", os.environ["DEPLOYMENT"], auth))
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
