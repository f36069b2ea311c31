"""The common style of all figures: few lines, frameless legends, colours that all readers can distinguish."""

from collections.abc import Sequence
from typing import Any, TYPE_CHECKING

import numpy as np

from ..core import explain, invalid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
else:  # Matplotlib is optional: at run time an axes is anything
    Axes = Any

# Okabe & Ito (2008), Color Universal Design, without yellow, which is too light for a line on white.
PALETTE = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
INK = "#222222"
QUIET = "#8A8A8A"
FORBIDDEN = "#F9EAEA"


def new_axes(
    rows: int = 1, *, size: tuple[float, float] = (7.0, 3.2), heights: Sequence[int] | None = None
) -> np.ndarray:
    """An array of `rows` styled axes above each other that share their horizontal axis, in a new figure."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        message = explain("matplotlib", "no such package", "Matplotlib >= 3.9", 'pip install "sciml-jax[plot]"')
        raise ImportError(message) from error
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for ax in axes:
        tidy(ax)
    figure.align_ylabels(axes)
    return axes


def axes_or_new(ax: Axes | None) -> Axes:
    """`ax`, or the one axes of a new figure, styled."""
    if ax is None:
        return new_axes()[0]
    tidy(ax)
    return ax


def tidy(ax: Axes) -> None:
    """Only the left and the bottom spine, quiet ticks, a faint grid behind the data."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(QUIET)
    ax.tick_params(color=QUIET, labelcolor=INK, labelsize=9)
    ax.grid(True, color="#E8E8E8", linewidth=0.6)
    ax.set_axisbelow(True)


def with_unit(name: str, unit: str | None) -> str:
    """The label `name [unit]`, or `name` alone without a unit."""
    return f"{name} [{unit}]" if unit else name


def vector(values: Any, argument: str, length: int | None = None) -> np.ndarray:
    """`values` on the host as one signal of shape `[time]`; a single channel `[time, 1]` is accepted."""
    array = np.asarray(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise invalid(argument, f"shape {array.shape}", "one signal of shape [time]", "draw one channel at a time")
    if length is not None and array.size != length:
        raise invalid(argument, f"{array.size} samples", f"{length}, as many as times", "give signals of equal length")
    return array
