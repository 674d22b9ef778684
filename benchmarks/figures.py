"""Figures, and the table that they are printed in.

A figure stands beside another of the same run, mostly the bare loop's, because a number of milliseconds alone says
as much of the machine as of the endpoint.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Goal:
    """What a figure, or its ratio to what stands beside it, should be: at most `limit`, or at least."""

    limit: float
    at_least: bool = False
    of_ratio: bool = False

    def met(self, value: float) -> bool:
        """Tell whether the value, or the ratio, is within the goal."""
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(frozen=True)
class Figure:
    """One line of the table: what was measured, and its counterpart where there is one."""

    section: str
    name: str
    value: float
    unit: str = ""
    beside: float | None = None
    goal: Goal | None = None

    @property
    def ratio(self) -> float | None:
        """The value as a multiple of what stands beside it."""
        return self.value / self.beside if self.beside else None

    @property
    def met(self) -> bool | None:
        """Whether the goal is met, if there is one."""
        judged = self.ratio if self.goal and self.goal.of_ratio else self.value
        return self.goal.met(judged) if self.goal and judged is not None else None

    def as_json(self) -> dict[str, object]:
        """Return the figure for build/benchmarks.json."""
        return {
            "section": self.section,
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "beside": self.beside,
            "ratio": self.ratio,
            "goal": self.goal and asdict(self.goal),
            "met": self.met,
        }

    def cells(self) -> list[str]:
        """Return the figure as the cells of its line."""
        goal = verdict = ""
        if self.goal:
            unit = "x" if self.goal.of_ratio else self.unit
            goal = f"{'>=' if self.goal.at_least else '<='} {number(self.goal.limit)} {unit}".strip()
            verdict = "met" if self.met else "NOT MET"
        return [
            f"  {self.name}",
            f"{number(self.value)} {self.unit}".strip(),
            "" if self.beside is None else f"{number(self.beside)} {self.unit}".strip(),
            "" if self.ratio is None else f"{self.ratio:.2f}",
            goal,
            verdict,
        ]


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as text, each section under its name."""
    rows = [["", "measured", "beside", "ratio", "goal", ""]]
    for index, figure in enumerate(figures):
        if index == 0 or figures[index - 1].section != figure.section:
            rows.append([figure.section])
        rows.append(figure.cells())
    return aligned(rows)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as columns: the first to the left, the others to the right. A row of one cell is a heading."""
    full = [row for row in rows if len(row) > 1]
    widths = [max(len(row[column]) for row in full) for column in range(len(full[0]))]
    lines = []
    for row in rows:
        if len(row) == 1:
            lines += ["", row[0]]
            continue
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def number(value: float) -> str:
    """Return a number with as many decimals as are worth reading."""
    if value == int(value):
        return str(int(value))
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value that `percent` of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, min(len(ordered) - 1, round(percent / 100 * len(ordered) + 0.5) - 1))]
