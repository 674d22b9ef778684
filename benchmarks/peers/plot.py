"""Runs in the peers' environment: draws a run's matrix. `plot.py BENCHMARKS.json PERFORMANCE.svg`.

The same numbers give the same bytes.
"""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl  # type: ignore[import-not-found,unused-ignore]  # only in the peers' environment
from matplotlib.figure import Figure  # type: ignore[import-not-found,unused-ignore]  # as above
from matplotlib.ticker import (  # type: ignore[import-not-found,unused-ignore]  # as above
    FixedLocator,
    NullLocator,
    StrMethodFormatter,
)

LATENCY_MS = 20
# Told apart by the colour-blind, and by shape without any colour; the first endpoint is ours.
STYLES = [
    ("#0072b2", "o", 2.4),
    ("#d55e00", "s", 1.2),
    ("#cc79a7", "^", 1.2),
    ("#009e73", "D", 1.2),
    ("#555", "x", 1.2),
]
TICKS = [step * 10**power for power in range(5) for step in (1, 2, 5)]

Cells = list[dict[str, Any]]


def draw(cells: Cells, machine: str) -> Figure:
    """Return three panels: mints/s and p50 over the number of callers, and what one caller waits beside Azure."""
    cells = [cell for cell in cells if cell["scheme"] == "http" and not cell["failure"]]
    figure = Figure(figsize=(10, 4.2), layout="constrained", facecolor="white")
    rate, p50, added = figure.subplots(1, 3)
    for name, (colour, shape, width) in zip(
        dict.fromkeys(cell["endpoint"] for cell in cells), STYLES, strict=False
    ):
        look = {"color": colour, "marker": shape, "markersize": 4.5, "linewidth": width}
        own = [cell for cell in cells if cell["endpoint"] == name]
        crowds = [cell for cell in own if cell["latency_ms"] == LATENCY_MS]
        callers = [str(cell["callers"]) for cell in crowds]
        rate.plot(callers, [cell["per_second"] for cell in crowds], label=name, **look)
        p50.plot(callers, [cell["p50_ms"] for cell in crowds], **look)
        alone = [cell for cell in own if cell["callers"] == 1]
        added.plot(
            [f"{cell['latency_ms']} ms" for cell in alone],
            [cell["p50_ms"] - cell["latency_ms"] for cell in alone],
            **look,
        )
    rate.set(title=f"mints/s, upstream takes {LATENCY_MS} ms", xlabel="callers at once", yscale="log")
    p50.set(title=f"p50 in ms, upstream takes {LATENCY_MS} ms", xlabel="callers at once", yscale="log")
    added.set(title="p50 in ms less the upstream's own", xlabel="one caller, upstream takes", yscale="log")
    for axes in (rate, p50, added):
        axes.title.set_size(10)
        axes.grid(visible=True, axis="y", linewidth=0.5, color="#ddd")
        axes.spines[["top", "right"]].set_visible(False)
        axes.yaxis.set_major_locator(FixedLocator(TICKS))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    figure.legend(loc="outside lower center", ncols=3, frameon=False, columnspacing=4)
    figure.suptitle(machine, size=9, color="#555")
    return figure


def main() -> None:
    """Read the run and write the plot."""
    source, target = (Path(argument) for argument in sys.argv[1:])
    run = json.loads(source.read_text("utf-8"))
    machine = run["machine"]
    text = {
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 9,
    }
    with mpl.rc_context({**text, "svg.hashsalt": target.name}):
        figure = draw(
            run["parts"]["peers"]["matrix"],
            f"Over plain HTTP; callers, endpoint and simulated upstream on the same {machine['cores']} cores.",
        )
        figure.savefig(target, metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    main()
