"""The distribution of optimality gaps."""

from typing import Any

import numpy as np

from ..core import invalid
from ._style import Axes, INK, new_axes, PALETTE, QUIET, tidy, vector


def gap_histogram(gaps: Any, *, ax: Axes | None = None, bins: int | None = None) -> Axes:
    """How the relative gaps are distributed, with their mean and 95th percentile marked.

    Args:
        gaps: relative gaps as `metrics.suboptimality` gives them, shape `[batch]`, all finite.
        ax: where to draw; None makes a figure.
        bins: number of bars; default the root of the number of gaps, between 10 and 40.

    Returns:
        The axes; horizontal in per cent.

    Raises:
        ValueError: if there is no gap, or one that is not finite.
        ImportError: without Matplotlib.
    """
    values = vector(gaps, "gaps")
    if not values.size or not np.isfinite(values).all():
        got = f"{int((~np.isfinite(values)).sum())} of {values.size} that are not finite"
        raise invalid("gaps", got, "at least one gap, all finite", "leave out instances without an exact solution")
    percent = 100.0 * values
    ax = new_axes()[0] if ax is None else ax
    tidy(ax)
    ax.grid(False, axis="x")
    count = int(np.clip(np.ceil(np.sqrt(values.size)), 10, 40)) if bins is None else bins
    ax.hist(percent, bins=count, color=PALETTE[1], alpha=0.75, edgecolor="white", linewidth=0.5)
    mean, p95 = float(percent.mean()), float(np.percentile(percent, 95.0))
    for value, label, height, style in ((mean, "mean", 0.97, "-"), (p95, "95th percentile", 0.85, "--")):
        ax.axvline(value, color=INK if style == "-" else QUIET, linewidth=1.2, linestyle=style)
        at = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
        ax.annotate(f"{label} {value:.2g} %", (value, height), (4, 0), fontsize=9, va="top", color=INK, **at)
    ax.set_xlabel("gap to the exact cost [%]")
    ax.set_ylabel("instances")
    return ax
