"""Changes one thing at a time in mint/ and sees whether a fast test notices: `python -m benchmarks.mutants`.

Own, because it forks: a mutant costs a second, not an interpreter with its imports. Words for people are not
changed. Tests that start processes are left out, and with them mint/wire.py, service.py and shared_count.py: what
tests those are sockets, whole processes and a Redis. The others' survivors are in `EQUIVALENT`, each with its
reason; any other is a promise that no fast test holds the code to, and makes the exit code 1.
"""

import argparse
import ast
import copy
import importlib.abc
import importlib.machinery
import importlib.util
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from benchmarks.processes import ROOT

TESTS = {
    "body": ["test_body"],
    "errors": ["test_replies", "test_callers", "test_quota"],
    "evidence": ["test_evidence", "test_transcription"],
    "quota": ["test_quota"],
    "outcome": ["test_replies"],
    "replies": ["test_replies"],
    "resources": ["test_resources"],
    "session": ["test_session"],
    "settings": ["test_settings", "test_docs::test_the_settings_table_is_the_code"],
    "profiles": ["test_session"],
    "callers": ["test_callers"],
    "bearer": ["test_bearer"],
    "signing_keys": ["test_signing_keys"],
    "issuer": ["test_issuer", "test_bearer"],
    "transcription": ["test_transcription"],
    "upstream": ["test_upstream"],
    "identity": ["test_identity"],
    "trip": ["test_trip"],
    "parse": ["test_settings"],
}
_SPELLED_OUT = "PyJWT's default is the same: an option is written down so that it can be read"
_ONLY_HASHED = "ends up in a hash alone, where any other word would do"
_THREAD = "the name is for debuggers; what a thread that is no daemon holds up is the process's end"
_KEYS_THREAD = 'threading.Thread(target=self._fly, args=(self._flight,), name="keys", daemon=True).start()'
_PROBE_THREAD = 'threading.Thread(target=work, name="probe", daemon=True).start()'
_REMEDY = "an enum's value, which nothing reads"
_RANDOM = "a byte more of chance"
_INSTANT = "the same instant"
_WEIGHED = "a figure that was weighed, not promised"
_STATED = "Settings.read always states it"
EQUIVALENT: dict[tuple[str, str, str], str] = {
    **{
        ("bearer", f'"verify_{what}": True,', f"'verify_{what}' -> 'verify_{what}x'"): _SPELLED_OUT
        for what in ("signature", "exp", "nbf", "iat", "aud", "iss", "sub")
    },
    (
        "callers",
        'identity = ["jwt", *self._tokens.subject(headers, wait_seconds)]',
        "'jwt' -> 'jwtx'",
    ): _ONLY_HASHED,
    ("callers", 'identity = ["easy_auth", *_principal(headers)]', "'easy_auth' -> 'easy_authx'"): _ONLY_HASHED,
    ("callers", 'return "local"', "'local' -> 'localx'"): _ONLY_HASHED,
    (
        "callers",
        "self._hash_key = (settings.caller_hash_key or secrets.token_hex(32)).encode()",
        "32 -> 33",
    ): _RANDOM,
    (
        "evidence",
        "self._bad_probes = min(self._bad_probes + 1, 32)",
        "32 -> 33",
    ): "keeps a power from overflowing; the wait has been LONGEST_INTERVAL for long",
    **{
        ("identity", line, change): _WEIGHED
        for line, change in [
            ("PATIENCE = 0.8", "0.8 -> 1.8"),
            ("REPLACE_EVERY = 1", "1 -> 2"),
            ("FETCH_SECONDS = 8", "8 -> 9"),
            ("MOST_FETCHES = 10", "10 -> 11"),
            ("return coming.result(timeout=max(0.0, min(left, PATIENCE / 5))).value", "5 -> 6"),
        ]
    },
    ("identity", "retry_total=0,", "0 -> 1"): "tests/test_identity.py has it, with a real identity endpoint",
    (
        "identity",
        "slow = not token and now - self._asked_at >= self._patience and self._fetches < MOST_FETCHES",
        "now - self._asked_at >= self._patience -> now - self._asked_at > self._patience",
    ): _INSTANT,
    (
        "identity",
        "if token and (not self._token or token.expires_at > self._token.expires_at):",
        "token.expires_at > self._token.expires_at -> token.expires_at >= self._token.expires_at",
    ): _INSTANT,
    ("identity", "if left <= 0:", "left <= 0 -> left < 0"): _INSTANT,
    (
        "identity",
        "coming.set_result(token)",
        "coming.set_result(token) -> pass",
    ): "who waits looks again anyway",
    (
        "identity",
        'threading.Thread(target=self._fetch, name="identity", daemon=True).start()',
        "True -> False",
    ): _THREAD,
    (
        "issuer",
        "while chunk := response.raw.read1(65536, decode_content=True):",
        "65536 -> 65537",
    ): "how much is read at a time",
    ("issuer", "if clock() > ends_at:", "clock() > ends_at -> clock() >= ends_at"): _INSTANT,
    ("profiles", '"type": "object",', "'type' -> 'typex'"): "mint/body.py has made sure of it",
    (
        "profiles",
        '"$schema": document["$schema"],',
        "'$schema' -> '$schemax'",
    ): "without one fastjsonschema takes the same draft",
    (
        "quota",
        "if TYPE_CHECKING:",
        "if TYPE_CHECKING: ... -> if not TYPE_CHECKING: ...",
    ): "an import that comes early costs a cold start, and changes no answer",
    ("quota", "MAX_CALLERS = 100_000", "100000 -> 100001"): "a round number; that there is a bound is tested",
    ("quota", "spent = Spent(name, secrets.token_hex(8), self._clock())", "8 -> 9"): _RANDOM,
    (
        "resources",
        "self._until = self._clock() + min(max(self._rest, wait or 0.0), LONGEST_REST)",
        "0.0 -> 1.0",
    ): "a rest is longer than either",
    ("outcome", 'NONE = "none"', "'none' -> 'nonex'"): _REMEDY,
    ("outcome", 'AGAIN = "again"', "'again' -> 'againx'"): _REMEDY,
    (
        "outcome",
        'FRESH_TOKEN = "fresh_token"  # noqa: S105 - the name of a remedy',
        "'fresh_token' -> 'fresh_tokenx'",
    ): _REMEDY,
    ("settings", "has_identity_endpoint: bool = False", "False -> True"): _STATED,
    ("settings", "on_azure: bool = False", "False -> True"): _STATED,
    ("settings", "auth_enabled: bool = False", "False -> True"): _STATED,
    (
        "signing_keys",
        "self._give_up_at = 0.0  # a server that drips its headers escapes every timeout of a socket",
        "0.0 -> 1.0",
    ): "set anew with every fetch, and not read before",
    ("signing_keys", _KEYS_THREAD, "'keys' -> 'keysx'"): _THREAD,
    ("signing_keys", _KEYS_THREAD, "True -> False"): _THREAD,
    ("transcription", _PROBE_THREAD, "'probe' -> 'probex'"): _THREAD,
    ("transcription", _PROBE_THREAD, "True -> False"): _THREAD,
    (
        "transcription",
        "refused = False",
        "False -> True",
    ): "overwritten, unless expires_after was refused before, which True only repeats",
    (
        "upstream",
        "data = json.dumps(payload, ensure_ascii=False, allow_nan=False).encode()",
        "False -> True",
    ): "the same text in more bytes; and NaN was refused where the profile or the body was read",
}
"""Survivors that no test should kill: (module, the line's text, the change), and why."""
PROCESSES = frozenset(
    {
        "azure",
        "azure_process",
        "endpoint",
        "mint_time_endpoint",
        "start_endpoint",
        "start_host",
        "store",
        "required",
        "issuer",
    }
)
"""Fixtures of tests that start processes."""
AT_ONCE = 2
PATIENCE = 20
"""Seconds after which a mutant has been noticed: it never ends."""
_COMPARE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
_COMPUTE: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult, ast.Pow: ast.Mult,
}  # fmt: skip
_FOR_READERS = {"frozen", "slots", "kw_only"}
"""What a dataclass promises to whoever edits the code; no behaviour depends on it."""
_CALLS = {"max": "min", "min": "max", "any": "all", "all": "any"}


@dataclass(frozen=True)
class Mutant:
    """One change: the module's whole text with it, and where and what it is."""

    module: str
    line: int
    source: str
    change: str
    text: str

    @property
    def key(self) -> tuple[str, str, str]:
        """How `EQUIVALENT` names it: by its line's text, which stays when its number changes."""
        return self.module, self.source, self.change


def variants(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what could stand in the node's place."""
    other: Any = copy.deepcopy(node)
    match node:
        case ast.Compare(ops=[op]) if type(op) in _COMPARE:
            other.ops = [_COMPARE[type(op)]()]
            yield other
        case ast.BinOp(op=op) if type(op) in _COMPUTE:
            other.op = _COMPUTE[type(op)]()
            yield other
        case ast.BoolOp(op=op):
            other.op = ast.Or() if isinstance(op, ast.And) else ast.And()
            yield other
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield operand
        case ast.Constant(value=bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(value=int() | float() as value):
            yield ast.Constant(value + 1)
        case ast.Constant(value=str() as value) if value and " " not in value:
            yield ast.Constant(f"{value}x")
        case ast.Call(func=ast.Name(id=name)) if name in _CALLS:
            other.func = ast.Name(_CALLS[name], ast.Load())
            yield other
        case ast.If() | ast.IfExp():
            other.test = ast.UnaryOp(ast.Not(), node.test)
            yield other
        case ast.Expr(value=ast.Call()) | ast.AugAssign():
            yield ast.Pass()


def mutants(module: str) -> Iterator[Mutant]:
    """Yield every mutant of a module."""
    source = (ROOT / "mint" / f"{module}.py").read_text("utf-8")
    lines, tree = source.splitlines(), ast.parse(source)
    places = [
        (parent, name, index, child)
        for parent in ast.walk(tree)
        if not isinstance(parent, ast.JoinedStr | ast.FormattedValue)
        if not (isinstance(parent, ast.keyword) and parent.arg in _FOR_READERS)
        for name, value in ast.iter_fields(parent)
        if name not in {"annotation", "returns"}
        for index, child in enumerate(value if isinstance(value, list) else [value])
        if isinstance(child, ast.AST)
    ]
    for parent, name, index, child in places:
        if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
            continue  # a docstring
        if isinstance(parent, ast.Expr) and isinstance(child, ast.Constant):
            continue
        for variant in variants(child):
            _put(parent, name, index, variant)
            text = ast.unparse(ast.fix_missing_locations(tree))
            _put(parent, name, index, child)
            line = int(getattr(child, "lineno", 1))
            yield Mutant(module, line, lines[line - 1].strip(), f"{_short(child)} -> {_short(variant)}", text)


def _put(parent: ast.AST, name: str, index: int, child: ast.AST) -> None:
    held = getattr(parent, name)
    if isinstance(held, list):
        held[index] = child
    else:
        setattr(parent, name, child)


def _short(node: ast.AST) -> str:
    shown = copy.deepcopy(node)
    if isinstance(shown, ast.If):
        shown.body, shown.orelse = [ast.Expr(ast.Constant(...))], []
    return " ".join(ast.unparse(ast.fix_missing_locations(shown)).split())[:90]


class Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives one module of mint/ another text."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(self, name: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        """Find the one module."""
        if name != f"mint.{self._mutant.module}":
            return None
        origin = str(ROOT / "mint" / f"{self._mutant.module}.py")
        return importlib.util.spec_from_file_location(name, origin, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        """Run the changed text."""
        exec(compile(self._mutant.text, str(module.__file__), "exec"), module.__dict__)  # noqa: S102 - that is the point


class Fast:
    """A pytest plugin that leaves out the tests that start processes."""

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Keep the others."""
        items[:] = [item for item in items if not PROCESSES & set(getattr(item, "fixturenames", ()))]


def run(tests: list[str]) -> int:
    """Run tests in this process; 0 if all passed."""
    import pytest  # noqa: PLC0415 - after the change, for what it imports
    from hypothesis import HealthCheck, settings  # noqa: PLC0415 - the same

    # The same examples for every mutant, and a busy machine is no reason to fail.
    settings.register_profile(
        "mutants", derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    settings.load_profile("mutants")
    files = (name.partition("::") for name in tests)
    paths = [f"{ROOT / 'tests' / file}.py{colons}{test}" for file, colons, test in files]
    return int(pytest.main(["-x", "-q", "--no-header", "--disable-plugin-autoload", *paths], plugins=[Fast()]))


def start(mutant: Mutant | None, tests: list[str]) -> int:
    """Run the tests in a child with the change; return its process number."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 3
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        if mutant:
            signal.alarm(PATIENCE)  # also where the parent is no longer there to end it
            os.dup2(null, 1)
            os.dup2(null, 2)
            sys.meta_path.insert(0, Changed(mutant))
        code = run(tests)
    finally:
        os._exit(code)


def outcomes(found: list[Mutant]) -> Iterator[tuple[Mutant, str]]:
    """Yield each mutant with `killed`, `never ends` or `survived`, a few being tried at once."""
    names = {0: "survived", -signal.SIGALRM: "never ends"}
    waiting = list(reversed(found))
    running: dict[int, Mutant] = {}
    while waiting or running:
        while waiting and len(running) < AT_ONCE:
            mutant = waiting.pop()
            running[start(mutant, TESTS[mutant.module])] = mutant
        ended, status = os.wait()
        yield running.pop(ended), names.get(os.waitstatus_to_exitcode(status), "killed")


def main() -> int:
    """Try all mutants of the modules named; the result is the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mutants", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("modules", nargs="*", help=f"of {', '.join(TESTS)}; default: all")
    modules = parser.parse_args().modules or list(TESTS)
    if unknown := set(modules) - set(TESTS):
        parser.error(f"no tests are known for {', '.join(sorted(unknown))}")
    os.chdir(ROOT)
    for heavy in (
        "pytest",
        "hypothesis.strategies",
        "requests",
        "redis",
        "limits",
        "fastjsonschema",
        "jwt",
        "azure.functions",
    ):
        importlib.import_module(heavy)  # once, before forking
    unexplained = 0
    for module in modules:
        if os.waitstatus_to_exitcode(os.waitpid(start(None, TESTS[module]), 0)[1]):
            print(f"The tests of {module} fail without any change.", file=sys.stderr)
            return 1
        found = list(mutants(module))
        tally = {"killed": 0, "never ends": 0, "survived": 0, "explained": 0}
        stale = {key for key in EQUIVALENT if key[0] == module}
        for mutant, outcome in outcomes(found):
            explained = outcome == "survived" and mutant.key in EQUIVALENT
            tally["explained" if explained else outcome] += 1
            if explained:
                stale.discard(mutant.key)
            elif outcome == "survived":
                print(f"  mint/{module}.py:{mutant.line}: {mutant.source}  |  {mutant.change}", flush=True)
        for _, source, change in sorted(stale):
            print(f"  EQUIVALENT explains what did not survive in {module}: {source}  |  {change}")
        unexplained += tally["survived"]
        print(f"{module}: {len(found)} mutants, " + ", ".join(f"{count} {name}" for name, count in tally.items()))
    return int(unexplained > 0)


if __name__ == "__main__":
    sys.exit(main())
