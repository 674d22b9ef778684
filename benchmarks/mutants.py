"""Changes one thing at a time in mint/ and sees whether a fast test notices: `python -m benchmarks.mutants`.

Own, because it forks: a mutant costs a second, not an interpreter with its imports. Tests that start processes are
left out, so that a survivor may still be seen by one of those. Words for people are not changed.
"""

import argparse
import ast
import contextlib
import copy
import importlib.abc
import importlib.machinery
import importlib.util
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from benchmarks.processes import ROOT

TESTS = {
    "body": ["test_body"],
    "errors": ["test_replies", "test_quota", "test_callers"],
    "evidence": ["test_evidence", "test_transcription"],
    "quota": ["test_quota"],
    "replies": ["test_replies"],
    "resources": ["test_resources"],
    "session": ["test_session"],
    "settings": ["test_settings"],
    "parse": ["test_settings"],
}
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
_CALLS = {"max": "min", "min": "max", "any": "all", "all": "any"}


@dataclass(frozen=True)
class Mutant:
    """One change: the module's whole text with it, and where and what it is."""

    module: str
    line: int
    was: str
    now: str
    text: str


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
            yield ast.Constant(f"{value}~")
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
    tree = ast.parse((ROOT / "mint" / f"{module}.py").read_text("utf-8"))
    places = [
        (parent, name, index, child)
        for parent in ast.walk(tree)
        if not isinstance(parent, ast.JoinedStr | ast.FormattedValue)
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
            line = getattr(child, "lineno", 0)
            yield Mutant(module, line, _short(child), _short(variant), text)


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

    paths = [str(ROOT / "tests" / f"{name}.py") for name in tests]
    return int(pytest.main(["-x", "-q", "--no-header", "-p", "no:randomly", *paths], plugins=[Fast()]))


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
            os.dup2(null, 1)
            os.dup2(null, 2)
            sys.meta_path.insert(0, Changed(mutant))
        sys.dont_write_bytecode = True
        code = run(tests)
    finally:
        os._exit(code)


def outcomes(found: list[Mutant]) -> Iterator[tuple[Mutant, str]]:
    """Yield each mutant with `killed`, `never ends` or `survived`, a few being tried at once."""
    waiting = list(reversed(found))
    running: dict[int, tuple[Mutant, float]] = {}
    while waiting or running:
        while waiting and len(running) < AT_ONCE:
            mutant = waiting.pop()
            running[start(mutant, TESTS[mutant.module])] = mutant, time.monotonic() + PATIENCE
        time.sleep(0.01)
        for pid, (mutant, end) in list(running.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del running[pid]
                yield mutant, "killed" if os.waitstatus_to_exitcode(status) else "survived"
            elif time.monotonic() > end:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                del running[pid]
                yield mutant, "never ends"


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
    for heavy in ("requests", "redis", "limits", "fastjsonschema", "azure.functions"):
        importlib.import_module(heavy)  # once, before forking; pytest wants to be the first to see its plugins
    survived = 0
    for module in modules:
        if os.waitstatus_to_exitcode(os.waitpid(start(None, TESTS[module]), 0)[1]):
            print(f"The tests of {module} fail without any change.", file=sys.stderr)
            return 1
        found = list(mutants(module))
        tally = {"killed": 0, "never ends": 0, "survived": 0}
        for mutant, outcome in outcomes(found):
            tally[outcome] += 1
            if outcome == "survived":
                print(f"  mint/{module}.py:{mutant.line}: {mutant.was}  ->  {mutant.now}", flush=True)
        survived += tally["survived"]
        print(f"{module}: {len(found)} mutants, " + ", ".join(f"{count} {name}" for name, count in tally.items()))
    return int(survived > 0)


if __name__ == "__main__":
    sys.exit(main())
