"""Plots of closed loops: states, references, inputs and their limits."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..core import invalid, Trajectory
from ._style import Axes, FORBIDDEN, INK, new_axes, PALETTE, QUIET, tidy, with_unit

Limits = Sequence[tuple[float | None, float | None] | None] | None


def closed_loops(
    trajectories: Mapping[str, Trajectory],
    *,
    references: Sequence[Any] | None = None,
    x_limits: Limits = None,
    u_limits: Limits = None,
    x_names: Sequence[str] | None = None,
    u_names: Sequence[str] | None = None,
    x_units: Sequence[str] | None = None,
    u_units: Sequence[str] | None = None,
    t_unit: str | None = "s",
    axes: Sequence[Axes] | np.ndarray | None = None,
) -> np.ndarray:
    """Plots runs of one system together: a row per state and per input, limits dashed, the regions beyond them tinted.

    Args:
        trajectories: runs of one system by name, for instance `{"policy": ..., "exact": ...}`; one instance each, with
            states `[N + 1]` or `[N + 1, state]` and inputs `[N]`, `[N + 1]` or with an axis for channels.
        references: for each state its reference over `N` or `N + 1` samples, or None for a state without one.
        x_limits, u_limits: for each state and each input `(low, high)`, either may be None; None for no limits.
        x_names, u_names: names for the rows; default `x1`, `x2`, ..., `u1`, ...
        x_units, u_units: units for the rows.
        t_unit: unit of time; None for none.
        axes: where to draw, as many as there are rows; None makes a figure.

    Returns:
        Array of axes, states first.

    Raises:
        ValueError: for batched trajectories, records as states, runs of different systems, and lists whose length is
            not the number of states or inputs.
        ImportError: without Matplotlib.
    """
    if not trajectories:
        raise invalid("trajectories", "no run", "at least one", "give a dictionary from names to trajectories")
    runs = {name: _signals(name, run) for name, run in trajectories.items()}
    sizes = {(x.shape[1], u.shape[1]) for _, x, u in runs.values()}
    if len(sizes) > 1:
        got = f"runs with (states, inputs) of {sorted(sizes)}"
        raise invalid("trajectories", got, "runs of one system", "plot each system in its own figure")
    ((nx, nu),) = sizes
    rows = [
        *zip(_names("x", x_names, nx), _each("x_units", x_units, nx), _each("x_limits", x_limits, nx), strict=True),
        *zip(_names("u", u_names, nu), _each("u_units", u_units, nu), _each("u_limits", u_limits, nu), strict=True),
    ]
    targets = [*_each("references", references, nx), *[None] * nu]
    if axes is None:
        axes = new_axes(len(rows), size=(7.0, 0.7 + 1.6 * len(rows)))
    axes = np.asarray(axes, dtype=object).ravel()
    if axes.size != len(rows):
        raise invalid("axes", f"{axes.size} axes", f"{len(rows)}: {nx} states and {nu} inputs", "make one for each row")
    for i, (ax, (name, unit, limits), target) in enumerate(zip(axes, rows, targets, strict=True)):
        _draw(ax, runs, i, i - nx, target)
        _limit(ax, limits)
        ax.set_ylabel(with_unit(name, unit))
        ax.margins(x=0.01)
    axes[-1].set_xlabel(with_unit("time", t_unit))
    _legend(axes)
    return axes


def _signals(name: str, run: Trajectory) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times `[N + 1]`, states `[N + 1, state]` and inputs `[N + 1, input]`, the last one held."""
    t = np.asarray(run.t)
    where = f"trajectories[{name!r}]"
    if t.ndim != 1:
        fix = "take one instance: `jax.tree.map(lambda v: v[0], trajectories)`"
        raise invalid(where, f"times of shape {t.shape}", "one run, times of shape [N + 1]", fix)
    x = _columns(run.x, f"{where}.x", (t.size,))
    u = np.zeros((t.size, 0)) if run.u is None else _columns(run.u, f"{where}.u", (t.size - 1, t.size))
    return t, x, u if len(u) == t.size else np.concatenate([u, u[-1:]])


def _columns(signal: Any, argument: str, lengths: tuple[int, ...]) -> np.ndarray:
    if not hasattr(signal, "shape"):
        got, fix = f"a {type(signal).__name__}", "stack the entries of the record into one array with a last axis"
        raise invalid(argument, got, "an array", fix)
    array = np.asarray(signal)
    if array.ndim not in (1, 2) or array.shape[0] not in lengths:
        expected = f"[time] or [time, channel] with {' or '.join(map(str, lengths))} samples"
        raise invalid(argument, f"shape {array.shape}", expected, "give one run with as many samples as times")
    return array.reshape(array.shape[0], -1)


def _names(letter: str, names: Sequence[str] | None, n: int) -> Sequence[str]:
    return [f"{letter}{i + 1}" for i in range(n)] if names is None else _each(f"{letter}_names", names, n)


def _each(argument: str, values: Sequence[Any] | None, n: int) -> Sequence[Any]:
    """One value for each of `n` rows, None for none."""
    if values is None:
        return [None] * n
    if isinstance(values, str) or len(values) != n:
        raise invalid(argument, repr(values), f"a sequence of {n}, one entry per row", "use None for a row without")
    return values


def _draw(ax: Axes, runs: dict[str, Any], state: int, channel: int, target: Any) -> None:
    """The curves of one row: states as lines, inputs as steps."""
    tidy(ax)
    if target is not None:
        t, target = next(iter(runs.values()))[0], np.asarray(target).ravel()
        if target.size not in (t.size, t.size - 1):
            expected = f"{t.size - 1} or {t.size} samples"
            raise invalid(f"references[{state}]", f"{target.size} samples", expected, "give one value per step")
        target = np.append(target, target[-1:]) if target.size < t.size else target
        ax.plot(t, target, color=INK, linewidth=1.0, linestyle=":", drawstyle="steps-post", label="reference")
    for k, (name, (t, x, u)) in enumerate(runs.items()):
        colour, width = PALETTE[k % len(PALETTE)], 1.8 if k == 0 else 1.3
        if channel < 0:
            ax.plot(t, x[:, state], color=colour, linewidth=width, label=name)
        else:
            ax.plot(t, u[:, channel], color=colour, linewidth=width, drawstyle="steps-post", label=name)


def _limit(ax: Axes, limits: tuple[float | None, float | None] | None) -> None:
    """Dashed lines at the limits, and a tint beyond them; the view includes both."""
    ends = [e if e is not None and np.isfinite(e) else None for e in limits or ()]
    finite = [float(e) for e in ends if e is not None]
    if not finite:
        return
    bottom, top = ax.get_ylim()
    bottom, top = min(bottom, *finite), max(top, *finite)
    room = 0.06 * (top - bottom)
    bottom, top = bottom - room, top + room
    for end, edge in zip(ends, (bottom, top), strict=True):
        if end is not None:
            ax.axhspan(*sorted((float(end), edge)), color=FORBIDDEN, linewidth=0, zorder=0)
            ax.axhline(float(end), color=QUIET, linewidth=1.0, linestyle="--", label="limit")
    ax.set_ylim(bottom, top)


def _legend(axes: np.ndarray) -> None:
    """One legend above the first row for everything that any row shows."""
    shown: dict[str, Any] = {}
    for ax in axes:
        handles, labels = ax.get_legend_handles_labels()
        shown = dict(zip(labels, handles, strict=True)) | shown
    last = [name for name in ("reference", "limit") if name in shown]
    order = [name for name in shown if name not in last] + last
    axes[0].legend(
        [shown[name] for name in order],
        order,
        frameon=False,
        ncols=len(order),
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        borderaxespad=0.2,
    )
