"""What `func azure functionapp publish` uploads: exactly the product, which runs with nothing else on the path."""

import ast
import json
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import files, packages_distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pathspec
import pytest

from tests.conftest import INSTRUCTIONS, secrets_in
from tests.hosting import ROOT
from tests.simulated import SimulatedAzure
from tests.test_docs import TRACKED

FUNCIGNORE = (ROOT / ".funcignore").read_text("utf-8").splitlines()
MEBIBYTE = 1 << 20

# What a checkout that was worked in holds besides: caches, environments, secrets. Names that begin with a dot or
# an @ are here because Core Tools matches them differently from git.
LITTER = [
    *(".env", ".git/config", ".venv/bin/python", ".vscode/settings.json", ".ruff_cache/x", ".azure/prod/.env"),
    *("local.settings.json", "local.settings.prod.json", "local.settings.json.bak", "app-settings.json"),
    *("__pycache__/function_app.cpython-313.pyc", "mint/__pycache__/wire.cpython-313.pyc"),
    *("mint/.DS_Store", "sessions/.DS_Store", "mint/__pycache__/.x", "report.md", "report.json", "new.py"),
    *("node_modules/.package-lock.json", "node_modules/@scope/index.js", "node_modules/typescript/package.json"),
    *("build/.cache/x", "build/@x", "tests/.hidden", "clients/web/.hidden", "infra/.hidden", "docs/.hidden"),
]


def as_git_ignores(paths: Iterable[str]) -> set[str]:
    """Return what is left of the paths by git's rules, which azd follows."""
    spec = pathspec.GitIgnoreSpec.from_lines(FUNCIGNORE)
    return {path for path in paths if not spec.match_file(path)}


def as_core_tools_ignores(paths: Iterable[str]) -> set[str]:
    """Return what is left of the paths by Core Tools' rules, which only resemble git's.

    Each pattern is matched from the beginning of the whole path and has to end at the edge of a word; `*` stands
    for one character or more; what an `!` names is kept, wherever it stands. So `__pycache__/` means the one at
    the top alone, and `build/` lets `build/.x` through. Read in its GitIgnoreParser.cs, August 2026.
    """

    def expression(patterns: list[str]) -> re.Pattern[str]:
        parts = (re.escape(pattern.removeprefix("/")) for pattern in patterns)
        parts = (part.replace(r"\*\*", ".+").replace(r"\*", "[^/]+") for part in parts)
        return re.compile(rf"(?:{'|'.join(parts)})\b", re.ASCII)

    lines = [line.strip() for line in FUNCIGNORE if line.strip() and not line.startswith("#")]
    dropped = expression([line for line in lines if not line.startswith("!")])
    kept = expression([line[1:] for line in lines if line.startswith("!")])
    return {path for path in paths if kept.match(path) or not dropped.match(path)}


def always_dropped(path: str) -> bool:
    """Tell whether Core Tools leaves a file out whatever .funcignore says."""
    *directories, name = Path(path).parts
    return not {".git", ".vscode"}.isdisjoint(directories) or name in {
        ".funcignore",
        ".gitignore",
        "local.settings.json",
    }


THERE = [path for path in TRACKED if (ROOT / path).exists()]
CHECKOUT = [path for path in {*THERE, *LITTER} if not always_dropped(path)]
PRODUCT = {
    path
    for path in THERE
    if path in {"function_app.py", "host.json", "requirements.txt"}
    or re.fullmatch(r"mint/\w+\.py|sessions/[\w.-]+\.json", path)
}


@pytest.mark.parametrize("left", [as_git_ignores, as_core_tools_ignores])
def test_what_is_uploaded_is_the_product_and_nothing_else(left: Any) -> None:
    """No test, simulator, client, secret, cache or local setting is published, by either reading of the file."""
    uploaded = left(CHECKOUT)

    assert sorted(uploaded - PRODUCT) == []
    assert sorted(PRODUCT - uploaded) == []


@pytest.mark.parametrize("left", [as_git_ignores, as_core_tools_ignores])
def test_packages_built_on_the_laptop_are_uploaded(left: Any) -> None:
    """`func azure functionapp publish --build local` puts them into .python_packages, which has to go along."""
    installed = ".python_packages/lib/site-packages/azure/functions/__init__.py"

    assert left([installed]) == {installed}


@dataclass(frozen=True)
class Package:
    """The published package, as the remote build leaves it."""

    path: Path

    @property
    def files(self) -> list[Path]:
        """Every file, those of the dependencies too."""
        return [path for path in self.path.rglob("*") if path.is_file()]


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """Build the package in a directory of its own: what is uploaded, and requirements.txt installed beside it."""
    path = tmp_path_factory.mktemp("package")
    for name in as_core_tools_ignores(set(THERE) & {*CHECKOUT}):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, path / name)
    installing = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    target = ["--target", str(path / ".python_packages/lib/site-packages"), "-r", str(path / "requirements.txt")]
    subprocess.run([*installing, *target], check=True, timeout=300)
    return Package(path)


class Running:
    """The package on Microsoft's runtime, in a process that has no other package on its path."""

    def __init__(self, package: Package, env: dict[str, str]) -> None:
        arguments = [ROOT / "tests/published.py", package.path, ROOT / "local/protos.py"]
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", *map(str, arguments)],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.start = self._answer()

    def ask(self, **asked: Any) -> dict[str, Any]:
        """Send one line and return the answer."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, "the package ended; its output is above"
        return dict(json.loads(line))

    def stop(self) -> None:
        """End the process by the end of its input."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(timeout=15)


@pytest.fixture(scope="module")
def running(package: Package, required: dict[str, str]) -> Iterator[Running]:
    """The package with the required settings, over the simulated resource."""
    running = Running(package, required)
    yield running
    running.stop()


def test_the_package_mints(running: Running, azure: SimulatedAzure) -> None:
    """What is published is enough to mint."""
    answer = running.ask(method="POST", route="realtime/client_secrets")

    assert answer["status"] == 200, answer
    assert answer["body"]["value"].startswith("ek_")
    assert answer["body"]["transcription"]["configured"] == "post_connect"
    assert len(azure.mints()) == 1


def test_the_package_is_healthy(running: Running) -> None:
    """The profiles were published too: health reads them."""
    answer = running.ask(method="GET", route="health")

    assert answer["status"] == 200
    assert answer["body"]["status"] == "ok"


def test_every_module_that_ships_imports_from_the_package_alone(running: Running, package: Package) -> None:
    """Each module, those of CALLER_AUTH=jwt and of Redis too, finds what it imports among requirements.txt."""
    modules = [name.removesuffix(".py").replace("/", ".") for name in PRODUCT if name.startswith("mint/")]

    loaded = running.ask(**{"import": [name.removesuffix(".__init__") for name in modules]})
    library = (sysconfig.get_path("stdlib"), str(ROOT / "local/protos.py"), str(ROOT / "tests/published.py"))
    elsewhere = [file for file in loaded["files"] if not file.startswith((str(package.path), *library))]
    assert elsewhere == []
    assert not any("site-packages" in path for path in loaded["path"] if not path.startswith(str(package.path)))


def test_the_package_is_small_and_starts_soon(
    package: Package, running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its size and its cold start, from process to indexed, are printed and bounded; Flex allows 30 s for a start.

    The bound that counts is of processor time, which other programs on the machine do not add to.
    """
    ours = sum((package.path / name).stat().st_size for name in PRODUCT)
    whole = sum(file.stat().st_size for file in package.files)
    with capsys.disabled():
        print(  # noqa: T201 - the figures are this test's second purpose
            f"\nThe package: {ours / 1024:.0f} KiB of ours, {whole / MEBIBYTE:.0f} MiB with its dependencies; "
            f"indexed {running.start['seconds']} s after the process began, of which the processor was busy "
            f"{running.start['cpu_seconds']} s."
        )

    assert running.start["routes"] == ["health", "realtime/client_secrets"]
    assert ours < MEBIBYTE // 4
    assert whole < 40 * MEBIBYTE
    assert running.start["cpu_seconds"] < 3
    assert running.start["seconds"] < 15


def test_the_package_indexes_with_an_empty_environment(package: Package) -> None:
    """Without a single setting both routes are there, and health names what is missing."""
    bare = Running(package, {})
    try:
        answer = bare.ask(method="GET", route="health")
    finally:
        bare.stop()

    assert bare.start["routes"] == ["health", "realtime/client_secrets"]
    assert answer["status"] == 503
    assert any(problem.startswith("AZURE_OPENAI_ENDPOINT ") for problem in answer["body"]["problems"])


def test_the_package_holds_no_secret() -> None:
    """Nothing of ours in it looks like a client secret, a token or a key."""
    found = {name: {*secrets_in((ROOT / name).read_text("utf-8"))} - {INSTRUCTIONS} for name in PRODUCT}

    assert {name: texts for name, texts in found.items() if texts} == {}


@pytest.mark.parametrize("name", [name for name in THERE if re.fullmatch(r"(infra/)?requirements.*\.txt", name)])
def test_every_dependency_is_bounded(name: str) -> None:
    """The next major version of anything arrives by a commit, never by itself."""
    lines = [line.partition("#")[0].strip() for line in (ROOT / name).read_text("utf-8").splitlines()]

    wanted = [line for line in lines if line and not line.startswith("-r ")]
    assert wanted
    assert [line for line in wanted if "==" not in line and not re.search(r">=.+,<", line)] == []


def imported(source: str) -> set[str]:
    """Return the modules that a source names anywhere in it, inside functions and for the type checker too."""
    nodes = list(ast.walk(ast.parse(source)))
    plain = {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    return plain | {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}


def bringing(module: str, distributions: Iterable[str]) -> set[str]:
    """Return which of the distributions have a module's file: `azure` is a directory that many of them share."""
    found = find_spec(module)
    return {
        re.sub(r"[-_.]+", "-", name).lower()
        for name in distributions
        if found and any(str(file.locate()) == found.origin for file in files(name) or [] if file.suffix == ".py")
    }


def test_every_package_that_is_imported_is_declared() -> None:
    """None is there only because another one brings it today, in whatever version that one takes."""
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    declared = {found[0].lower() for line in lines if (found := re.match(r"[\w-]+", line))}
    sources = [(ROOT / name).read_text("utf-8") for name in PRODUCT if name.endswith(".py")]
    top = {module: module.partition(".")[0] for source in sources for module in imported(source)}
    installed, ours = packages_distributions(), {*sys.stdlib_module_names, "mint"}

    brought = {one: bringing(one, installed.get(top[one], [])) for one in sorted(top) if top[one] not in ours}
    assert {"azure.functions", "azure.identity", "urllib3.exceptions"} <= brought.keys()
    assert [one for one, by in brought.items() if by.isdisjoint(declared)] == []


def test_every_npm_package_is_pinned() -> None:
    """What the clients' tests install is named by its very version."""
    wanted = json.loads((ROOT / "package.json").read_text("utf-8"))["devDependencies"]

    assert [
        name for name, version in wanted.items() if not re.fullmatch(r"(npm:[\w/@-]+@)?\d+\.\d+\.\d+", version)
    ] == []


def test_the_runtime_is_pinned() -> None:
    """Which library Azure's worker hands calls to is said by this repository."""
    wanted = (ROOT / "requirements.txt").read_text("utf-8").splitlines()

    assert [line for line in wanted if re.fullmatch(r"azure-functions-runtime==[\d.]+", line)]
