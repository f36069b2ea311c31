"""What the questions share, so that each is its problem, its referee and its contestants only.

It needs NumPy alone: rivals run with it in environments of their own.
"""

from harness.contestants import BUDGET, Contestant, Failed, measure
from harness.environment import child, commit, data_folder, ONE_THREAD, pin, versions
from harness.rows import (
    cpu,
    finish,
    finite,
    origin,
    OURS,
    paired,
    quantile_rows,
    ratio,
    row,
    series_rows,
    show,
    solved_row,
    time_rows,
    TIMES,
)
from harness.runs import command, command_line, Run
from harness.storing import merge, without_outputs, write

__all__ = [
    "BUDGET",
    "child",
    "command",
    "command_line",
    "commit",
    "Contestant",
    "cpu",
    "data_folder",
    "Failed",
    "finish",
    "finite",
    "measure",
    "merge",
    "ONE_THREAD",
    "origin",
    "OURS",
    "paired",
    "pin",
    "quantile_rows",
    "ratio",
    "row",
    "Run",
    "series_rows",
    "show",
    "solved_row",
    "time_rows",
    "TIMES",
    "versions",
    "without_outputs",
    "write",
]
