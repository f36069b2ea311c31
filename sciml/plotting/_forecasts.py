"""Plots of measured and simulated signals."""

from typing import Any

from ..core import invalid
from ..metrics import rmse
from ._style import Axes, INK, new_axes, PALETTE, QUIET, tidy, vector, with_unit


def measured_vs_simulated(
    t: Any,
    measured: Any,
    simulated: Any,
    *,
    ax: Axes | None = None,
    residual_ax: Axes | None = None,
    labels: tuple[str, str] = ("measured", "simulated"),
    name: str = "output",
    unit: str | None = None,
    t_unit: str | None = "s",
    skip: int = 0,
) -> Axes:
    """Plots a measured and a simulated signal, with their difference below and the RMSE in the legend.

    Args:
        t: times, shape `[time]`.
        measured, simulated: one signal each, shape `[time]` or `[time, 1]`.
        ax: where to draw; None makes a figure of two axes, signals above and residual below.
        residual_ax: where to draw the residual if `ax` is given; None for no residual.
        labels: of the two signals.
        name: of the quantity.
        unit, t_unit: of the quantity and of time, for the axes' labels; None for none.
        skip: number of initial samples that are not scored; they are shaded.

    Returns:
        The axes of the signals; the residual's is `ax.figure.axes[1]` in a new figure.

    Raises:
        ValueError: for signals that are not single, of unequal length or not finite, or a `skip` that leaves nothing.
        ImportError: without Matplotlib.
    """
    time = vector(t, "t")
    y, s = vector(measured, "measured", time.size), vector(simulated, "simulated", time.size)
    score = float(rmse(y, s, skip=skip))
    if ax is None:
        if residual_ax is not None:
            raise invalid("residual_ax", "an axes without `ax`", "both or neither", "give `ax` as well")
        axes = list(new_axes(2, size=(7.0, 4.0), heights=(3, 1)))
    else:
        axes = [ax] if residual_ax is None else [ax, residual_ax]
    for each in axes:
        tidy(each)
        if skip:
            each.axvspan(time[0], time[skip], color="#EFEFEF", linewidth=0, zorder=0)
    top = axes[0]
    top.plot(time, y, color=INK, linewidth=1.6, label=labels[0])
    text = f"{labels[1]} (RMSE {score:.3g}{f' {unit}' if unit else ''})"
    top.plot(time, s, color=PALETTE[0], linewidth=1.2, label=text)
    if skip:
        at = top.get_xaxis_transform()
        top.text(time[0], 0.01, " not scored", transform=at, fontsize=8, color=QUIET, va="bottom")
    top.set_ylabel(with_unit(name, unit))
    top.legend(frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0.0, 1.0), borderaxespad=0.2)
    for below in axes[1:]:
        below.axhline(0.0, color=QUIET, linewidth=0.8)
        below.plot(time, y - s, color=PALETTE[1], linewidth=0.9)
        below.set_ylabel(with_unit("residual", unit))
    axes[-1].set_xlabel(with_unit("time", t_unit))
    top.margins(x=0.01)
    return top
