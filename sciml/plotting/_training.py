"""Plots of training losses."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..core import invalid
from ._style import Axes, axes_or_new, PALETTE, vector, with_unit


def training_curve(
    steps: Any,
    losses: Any,
    *,
    ax: Axes | None = None,
    log: bool = True,
    name: str = "loss",
    unit: str | None = None,
) -> Axes:
    """Plots the loss over the steps, with a running median if there are many.

    Args:
        steps: shape `[step]`.
        losses: shape `[step]`, or a dictionary from names to such arrays (for instance training and validation);
            values that are not finite leave a gap.
        ax: where to draw; None makes a figure.
        log: a logarithmic vertical axis, which needs positive losses.
        name, unit: of the loss, for the axis' label.

    Returns:
        The axes.

    Raises:
        ValueError: for lengths that differ, nothing finite to draw, or losses `<= 0` with `log`.
        ImportError: without Matplotlib.
    """
    at = vector(steps, "steps")
    curves = losses if isinstance(losses, Mapping) else {"": losses}
    drawn = {key: vector(values, f"losses[{key!r}]" if key else "losses", at.size) for key, values in curves.items()}
    everything = np.concatenate([np.zeros(0), *drawn.values()])
    if not np.isfinite(everything).any():
        raise invalid("losses", "no finite value", "at least one", "look at `result` of the fit")
    if log and everything[np.isfinite(everything)].min() <= 0:
        raise invalid("losses", "a value <= 0", "positive losses on a logarithmic axis", "give `log=False`")
    ax = axes_or_new(ax)
    for k, (key, values) in enumerate(drawn.items()):
        colour, smooth = PALETTE[(k + 1) % len(PALETTE)], _running_median(values)
        if smooth is not None:
            ax.plot(at, values, color=colour, linewidth=0.6, alpha=0.3)
        places, line = (slice(None), values) if smooth is None else smooth
        ax.plot(at[places], line, color=colour, linewidth=1.6, label=key or None)
    if log:
        ax.set_yscale("log")
    ax.set_xlabel("step")
    ax.set_ylabel(with_unit(name, unit))
    ax.margins(x=0.01)
    if any(drawn):
        ax.legend(frameon=False)
    return ax


def _running_median(values: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Centred medians over a fiftieth of the values, at up to 2000 places; None for fewer than 200 values."""
    half = values.size // 100
    if half < 2:
        return None
    finite = np.pad(np.where(np.isfinite(values), values, np.nan), half, constant_values=np.nan)
    places = np.arange(0, values.size, -(-values.size // 2000))
    windows = np.lib.stride_tricks.sliding_window_view(finite, 2 * half + 1)[places]
    empty = np.all(np.isnan(windows), axis=1)
    medians = np.nanmedian(np.where(empty[:, None], 0.0, windows), axis=1)
    return places, np.where(empty, np.nan, medians)
