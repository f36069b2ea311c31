"""Plotting: figures for reports. Each function draws on Matplotlib axes and returns them.

New figures are made without `pyplot`, so that nothing global changes: save one by `ax.figure.savefig(...)`, show one in
a notebook by `ax.figure`. Needs the extra `plot`.
"""

from ._certificates import gap_histogram as gap_histogram
from ._closed_loops import closed_loops as closed_loops
from ._forecasts import measured_vs_simulated as measured_vs_simulated
from ._training import training_curve as training_curve
