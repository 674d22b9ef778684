"""The OpenAI Agents SDK in a real Chromium, with the lines that clients/README.md shows."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser import MODES, Page, node_package
from tests.hosting import ROOT
from tests.simulated import SimulatedAzure

RECIPE = (ROOT / "clients/README.md").read_text("utf-8").partition("```js agents\n")[2].partition("```")[0]
KEPT = "config: { providerData: { ...minted, ...secret.session_update?.session } },"
TALK = """
const { talk } = await import(URL.createObjectURL(new Blob([bundle], { type: "text/javascript" })));
const session = await talk(tokenUrl);
const server = {};
return await new Promise((resolve) => {
  session.transport.on("*", (event) => {
    if (event.type === "session.updated") server.last = event.session;
    if (event.type.includes("input_audio_transcription.failed")) resolve({ failed: event.error.code });
  });
  session.on("history_updated", (history) => {
    const said = history.flatMap(({ role, content }) => (role === "user" ? content : []));
    const { transcript } = said.find(({ transcript }) => transcript) ?? {};
    if (transcript) resolve({ transcript, session: server.last });
  });
});
"""


@pytest.fixture(scope="session")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Bundle a module with the SDK, as an app's build does."""
    esbuild = node_package("esbuild") / "bin" / "esbuild"
    node_package("@openai/agents-realtime")
    directory: Path = tmp_path_factory.mktemp("agents")

    def bundle(module: str) -> str:
        (directory / "talk.mjs").write_text(module, "utf-8")
        done = subprocess.run(
            [esbuild, directory / "talk.mjs", "--bundle", "--format=esm", "--minify"],
            env=os.environ | {"NODE_PATH": str(ROOT / "node_modules")},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    return bundle


@pytest.mark.parametrize("mode", MODES)
def test_the_recipe_keeps_what_was_minted(
    mode: str, page: Page, hosts: dict[str, str], azure: SimulatedAzure, bundled: Callable[[str], str]
) -> None:
    """The user is in the SDK's own history in writing, and our instructions and turn detection still stand."""
    azure.set(defect=MODES[mode])

    result: dict[str, Any] = page.run(TALK, bundle=bundled(RECIPE), tokenUrl=hosts[mode])

    session = result["session"]
    assert result["transcript"].startswith("simulated transcript of")
    assert session["audio"]["input"]["transcription"] == {"model": "gpt-4o-transcribe", "language": "en"}
    assert session["audio"]["input"]["turn_detection"]["type"] == "server_vad"
    assert session["instructions"].startswith("You are a helpful voice assistant.")


def test_without_the_recipe_the_sdk_undoes_it(
    page: Page, hosts: dict[str, str], azure: SimulatedAzure, bundled: Callable[[str], str]
) -> None:
    """The proof that the test above can fail: the SDK asks for a model that is no deployment here."""
    azure.set(defect="fixed")
    assert KEPT in RECIPE

    result = page.run(TALK, bundle=bundled(RECIPE.replace(KEPT, "")), tokenUrl=hosts["mint_time"])

    assert result == {"failed": "DeploymentNotFound"}
