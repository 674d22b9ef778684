"""The terminal: a line with a mark for each step, a progress bar for the long one, and the verdict.

The bar appears only on a terminal; lines are never wrapped, so that a command can be pasted whole.
"""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from diagnose.records import Help, Step
from diagnose.remedies import set_command
from diagnose.verdict import FAULTY, HEALTHY, Verdict

_MARKS = {True: ("✓", "green"), False: ("✗", "red"), None: ("-", "dim")}


class Terminal:
    """Shows a run. A context manager, so that an interrupted bar leaves the cursor as it was."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, markup=False, emoji=False)
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._end()

    def line(self, text: str = "", style: str | None = None) -> None:
        """Print one line, however long."""
        self._console.print(text, style=style, soft_wrap=True)

    def step(self, step: Step) -> None:
        """Print a finished step; under a failed one, what it means and what to paste."""
        mark, colour = _MARKS[step.ok]
        self._console.print(Text.assemble((mark, colour), f" {step.name}: {step.text}"), soft_wrap=True)
        if step.help:
            self._help(step.help)

    def advance(self, done: int, total: int, doing: str) -> None:
        """Move the bar."""
        if done >= total:
            self._end()
            return
        if self._bar is None:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
                disable=not self._console.is_terminal,
            )
            self._bar.start()
            self._task = self._bar.add_task(doing, total=total)
        if self._task is not None:
            self._bar.update(self._task, completed=done, description=doing)

    def verdict(self, verdict: Verdict) -> None:
        """Print the verdict, and the settings to use."""
        self.line()
        self.line(f"Verdict: {verdict.headline}", "bold green" if verdict.exit_status == HEALTHY else "bold red")
        for reason in verdict.because:
            self.line(f"  {reason}")
        if not verdict.settings:
            return
        must = verdict.exit_status == FAULTY and verdict.new
        self.line()
        self.line("Set:" if must else "What the counts support:")
        for name, value in verdict.settings:
            self.line(f"  {name}={value}")
        if must:
            self.line(f"  $ {set_command(dict(verdict.settings))}")

    def _help(self, help_: Help) -> None:
        self.line(f"    {help_.means}")
        for command in help_.paste:
            self.line(f"    $ {command}")

    def _end(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = None
