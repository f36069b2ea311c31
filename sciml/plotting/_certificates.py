"""Histograms of optimality gaps."""

from typing import Any

import numpy as np

from ..core import invalid
from ._style import Axes, axes_or_new, INK, PALETTE, QUIET, vector


def gap_histogram(gaps: Any, *, ax: Axes | None = None, bins: int | None = None) -> Axes:
    """A histogram of relative optimality gaps, with their mean and 95th percentile.

    The mean shown is the mean of the gaps, whereas `Certificate.gap_mean` is the gap of the mean costs.

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
    ax = axes_or_new(ax)
    ax.grid(False, axis="x")
    count = int(np.clip(np.ceil(np.sqrt(values.size)), 10, 40)) if bins is None else bins
    ax.hist(percent, bins=count, color=PALETTE[1], alpha=0.75, edgecolor="white", linewidth=0.5)
    ax.set_ylim(top=1.2 * ax.get_ylim()[1])
    mean, p95 = float(percent.mean()), float(np.percentile(percent, 95.0))
    for value, label, height, style in ((mean, "mean", 0.97, "-"), (p95, "95th percentile", 0.85, "--")):
        ax.axvline(value, color=INK if style == "-" else QUIET, linewidth=1.2, linestyle=style)
        text = f" {label} {value:.2g} %"
        ax.text(value, height, text, transform=ax.get_xaxis_transform(), fontsize=9, va="top", color=INK)
    ax.set_xlabel("gap to the exact cost [%]")
    ax.set_ylabel("instances")
    return ax
