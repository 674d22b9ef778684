"""Runs in the peers' environment: a token endpoint as samples have it, with all made anew for every mint.

Written for this comparison, after no sample in particular.
"""

import os
from typing import Any

import requests
from azure.identity import DefaultAzureCredential
from flask import Flask, jsonify  # type: ignore[import-not-found,unused-ignore]  # only in the peers' environment

app = Flask(__name__)


@app.post("/token")  # type: ignore[untyped-decorator,unused-ignore]  # flask is not there to be read
def token() -> Any:  # noqa: ANN401 - flask's, as above
    """Mint with a new credential and a new connection."""
    access = DefaultAzureCredential().get_token("https://cognitiveservices.azure.com/.default")
    answer = requests.post(
        f"{os.environ['AZURE_OPENAI_ENDPOINT']}/openai/v1/realtime/client_secrets",
        headers={"Authorization": f"Bearer {access.token}"},
        json={"session": {"type": "realtime", "model": os.environ["AZURE_OPENAI_REALTIME_DEPLOYMENT"]}},
        timeout=30,
    )
    answer.raise_for_status()
    return jsonify({"value": answer.json()["value"]})
