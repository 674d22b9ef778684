"""The cells of the comparison, and the tables that they are printed in: a table for each measure."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby

from benchmarks.figures import aligned, number

LOOP = "bare requests loop"
MEASURES = {
    "per_second": "Mints/s",
    "p50_ms": "p50, ms",
    "p99_ms": "p99, ms",
    "cpu_ms": "CPU a mint, ms",
}


@dataclass(frozen=True)
class Case:
    """What all endpoints are asked to do in turn."""

    scheme: str
    latency_ms: int
    callers: int

    @property
    def upstream(self) -> str:
        """The case as the heading of a table's rows has it."""
        return f"{self.scheme}, upstream takes {self.latency_ms} ms"


@dataclass(frozen=True)
class Measured:
    """What came of it."""

    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float


@dataclass(frozen=True)
class Cell:
    """One endpoint in one case: what was measured, also of the bare loop, or why nothing was."""

    case: Case
    endpoint: str
    measured: Measured | None = None
    loop: Measured | None = None
    failure: str = ""

    def as_json(self) -> dict[str, object]:
        """Return the cell for build/benchmarks.json."""
        values = asdict(self.measured) if self.measured else {}
        ratios = {f"{name}_ratio": self.ratio(name) for name in values}
        return {**asdict(self.case), "endpoint": self.endpoint, **values, **ratios, "failure": self.failure}

    def ratio(self, measure: str) -> float | None:
        """Return a measure as a multiple of the bare loop's."""
        if not self.measured or not self.loop:
            return None
        return float(getattr(self.measured, measure) / getattr(self.loop, measure))

    def text(self, measure: str) -> str:
        """Return a measure, and in parentheses its ratio to the bare loop's."""
        if not self.measured:
            return "fails"
        ratio = self.ratio(measure)
        return number(getattr(self.measured, measure)) + ("" if ratio is None else f" ({ratio:.2f})")


def tables(cells: Sequence[Cell]) -> str:
    """Return the cells as text: rows are endpoints, columns are numbers of callers; then what failed."""
    widest = sorted({cell.case.callers for cell in cells})
    texts = []
    for measure, title in MEASURES.items():
        rows = [[f"{title} (ratio to the {LOOP}), callers:", *(str(callers) for callers in widest)]]
        for upstream, of_upstream in groupby(cells, lambda cell: cell.case.upstream):
            rows.append([upstream])
            by_endpoint: dict[str, dict[int, str]] = {}
            for cell in of_upstream:
                by_endpoint.setdefault(cell.endpoint, {})[cell.case.callers] = cell.text(measure)
            rows += [
                [f"  {endpoint}", *(of.get(callers, "") for callers in widest)]
                for endpoint, of in by_endpoint.items()
            ]
        texts.append(aligned(rows))
    failures = [
        f"fails: {cell.endpoint}, {cell.case.callers} callers, {cell.case.upstream}: {cell.failure}"
        for cell in cells
        if cell.failure
    ]
    return "\n\n".join([*texts, *(["\n".join(failures)] if failures else [])])
