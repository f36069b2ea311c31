"""Measured records: one, or several of unequal length as one padded pytree."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from sciml.core import as_floats, batch_size, invalid, Trajectory


class Record(eqx.Module):
    """Times, inputs and outputs of one experiment, or of several under a leading axis; made by `record` and `stack`.

    `u[k]` acts from `t[k]` to `t[k+1]`. Records of unequal length are padded at the end: the padding repeats the last
    time and input, and counts as not measured. Write for one record; `vmap` over a stacked one makes the batch, which
    is compiled once for all lengths.
    """

    t: Float[Array, "*record time"]
    """Times of the samples, in the system's unit; the padding repeats the last one."""
    u: Float[Array, "*record time input"] | None
    """Inputs at these times; None for a system without input."""
    y: Float[Array, "*record time output"]
    """Measured outputs; 0 where nothing was measured."""
    is_measured: Bool[Array, "*record time output"]
    """Whether an output was measured: False for a missing sample and for padding."""
    length: Int[Array, "*record"]
    """The number of samples without padding."""

    @property
    def is_sample(self) -> Bool[Array, "*record time"]:
        """Whether a time belongs to the record, and not to the padding."""
        return jnp.arange(self.t.shape[-1], dtype=self.length.dtype) < self.length[..., None]


# Lists of numbers too: columns of a file are often that.
Column = ArrayLike | Sequence[Any]


def record(y: Column, u: Column | None = None, *, t: Column | None = None, dt: ArrayLike | None = None) -> Record:
    """One record from measured outputs `y`, inputs `u`, and their times `t` (or a sampling time `dt`).

    Args:
        y: outputs, shape `(time, output)`, or `(time,)` for a single one. NaN marks a missing sample.
        u: inputs at the same times, shape `(time, input)` or `(time,)`; finite. None for a system without input.
        t: times, strictly increasing, not necessarily even, in the unit of the model to be fitted.
        dt: sampling time, > 0; the times are then `0, dt, 2 dt, ...`. Give either `t` or `dt`.

    Raises:
        ValueError: shapes that do not fit, inputs that are not finite, infinite outputs, an output channel without any
            measured sample, times that do not increase, both or none of `t` and `dt`.

    Examples:
        ```python
        data = sciml.sources.record(y=[0.0, 0.5, float("nan"), 1.0], u=[1.0, 1.0, 1.0, 0.0], dt=0.1)
        assert data.y.shape == (4, 1) and not data.is_measured[2, 0]
        ```
    """
    ys, steps = _channels(y, "y"), 0
    steps = ys.shape[0]
    if steps < 2:
        raise invalid("y", f"{steps} samples", "at least two", "give the whole record")
    us = None if u is None else _channels(u, "u")
    if us is not None and us.shape[0] != steps:
        raise invalid("u", f"{us.shape[0]} samples", f"{steps}, as many as of `y`", "repeat the last input, or cut `y`")
    if us is not None and not np.all(np.isfinite(us)):
        first = np.argwhere(~np.isfinite(us))[0]
        count = int(np.sum(~np.isfinite(us)))
        got = f"{count} entries that are NaN or infinite, the first one at u[{first[0]}, {first[1]}]"
        fix = "fill gaps in the inputs (held or interpolated), or cut the record there: a model needs every input"
        raise invalid("u", got, "finite numbers", fix)
    if np.any(np.isinf(ys)):
        first = np.argwhere(np.isinf(ys))[0]
        fix = "mark what was not measured with NaN"
        raise invalid("y", f"an infinite entry at y[{first[0]}, {first[1]}]", "numbers, or NaN", fix)
    measured = np.isfinite(ys)
    if not np.all(np.any(measured, axis=0)):
        channel = int(np.argmin(np.any(measured, axis=0)))
        raise invalid("y", f"no number in channel {channel}", "at least one measured sample", "leave the channel out")
    return Record(
        t=jnp.asarray(_times(t, dt, steps)),
        u=None if us is None else jnp.asarray(us),
        y=jnp.asarray(np.where(measured, ys, 0.0)),
        is_measured=jnp.asarray(measured),
        length=jnp.asarray(steps),
    )


def recorded(run: Trajectory) -> Record:
    """The record of what a simulation measured: its times, inputs and outputs, up to a failure.

    Args:
        run: from `simulate` or `rollout`, or a batch of them under `vmap` (one more leading axis). Outputs and inputs
            are arrays `(time, channel)`.

    Returns:
        One record, or one for each run of the batch; samples after a failure are padding.

    Raises:
        ValueError: outputs or inputs that are records of several arrays.
    """
    if not eqx.is_array(run.y) or not (run.u is None or eqx.is_array(run.u)):
        fix = "give the system an `output` that returns one vector"
        raise invalid("run", "outputs or inputs that are no arrays", "arrays (time, channel)", fix)
    u = run.u
    if u is not None and u.shape[-2] == run.t.shape[-1] - 1:
        u = jnp.concatenate([u, u[..., -1:, :]], axis=-2)
    length = run.t.shape[-1] - run.lost
    live = jnp.arange(run.t.shape[-1], dtype=length.dtype) < length[..., None]
    last = jnp.take_along_axis(run.t, length[..., None] - 1, axis=-1)
    mask = jnp.broadcast_to(live[..., None], run.y.shape)
    return Record(jnp.where(live, run.t, last), u, jnp.where(mask, run.y, 0), mask, length)


def stack(records: Sequence[Record]) -> Record:
    """Several records of one plant as one, padded to the longest: every leaf gains a leading axis, the record.

    Args:
        records: with the same channels; of any lengths and sampling times, single or stacked.

    Raises:
        ValueError: no record, or records with other channels.

    Examples:
        ```python
        short, long = (sciml.sources.record(y=jnp.zeros(n), dt=0.1) for n in (5, 9))
        data = sciml.sources.stack([short, long])
        assert data.y.shape == (2, 9, 1) and data.length.tolist() == [5, 9]
        ```
    """
    if not records:
        raise invalid("records", "none", "at least one record", "pass a list of `record(...)`")
    channels = [(None if r.u is None else r.u.shape[-1], r.y.shape[-1]) for r in records]
    if len(set(channels)) > 1:
        got = f"numbers of inputs and outputs {channels}"
        raise invalid("records", got, "the same channels in each", "select the common columns of all records")
    longest = max(r.t.shape[-1] for r in records)
    padded = [_pad(r if r.t.ndim == 2 else _map(lambda leaf: leaf[None], r), longest) for r in records]
    return _map(lambda *leaves: jnp.concatenate(leaves), *padded)


def unstack(data: Record) -> list[Record]:
    """The records of a stacked one, each without its padding. Not for use inside `jit`."""
    if data.t.ndim == 1:
        return [_cut(data, 0, int(data.length))]
    parts = [_map(lambda leaf, i=i: leaf[i], data) for i in range(batch_size(data, "data"))]
    return [_cut(part, 0, int(part.length)) for part in parts]


def cut(data: Record, *, length: int, stride: int | None = None) -> Record:
    """All windows of `length` samples, as stacked records; a window keeps its times.

    Args:
        data: one record, or several.
        length: samples of each window, >= 2.
        stride: samples from one window's start to the next, >= 1; None for `length - 1`, so that windows share their
            end points and every interval is used once.

    Returns:
        As many records as there are whole windows, in order. What is left at the end of a record is not used; records
        shorter than `length` give no window.

    Raises:
        ValueError: `length` or `stride` out of range, or above the length of every record.
    """
    stride = length - 1 if stride is None else stride
    if length < 2 or stride < 1:
        fix = "windows of at least two samples, at least one sample apart"
        raise invalid("length, stride", (length, stride), "length >= 2 and stride >= 1", fix)
    windows = [
        _cut(part, start, start + length)
        for part in unstack(data)
        for start in range(0, int(part.length) - length + 1, stride)
    ]
    if not windows:
        longest = int(np.max(data.length))
        raise invalid("length", length, f"at most {longest}, the longest record", "shorten the windows")
    return stack(windows)


def split_time(data: Record, fractions: Sequence[float]) -> tuple[Record, ...]:
    """Cuts every record along time into consecutive parts, for instance to train on the first and validate on the last.

    `split` divides a stacked record by experiments instead.

    Args:
        data: one record, or several.
        fractions: the share of each part, > 0, with sum 1, of each record's own length.

    Returns:
        As many data sets as there are fractions, each like `data`, with the times of the original.

    Raises:
        ValueError: fractions that are not positive or do not sum to 1, or a part with fewer than two samples.
    """
    total = float(sum(fractions))
    if not fractions or min(fractions) <= 0 or abs(total - 1) > 1e-6:
        fix = "write for instance (0.75, 0.25)"
        raise invalid("fractions", tuple(fractions), "positive shares with sum 1", fix)
    ends = np.cumsum([0.0, *fractions])
    parts: list[list[Record]] = [[] for _ in fractions]
    for whole in unstack(data):
        marks = [round(end * int(whole.length)) for end in ends.tolist()]
        if np.min(np.diff(marks)) < 2:
            got = f"a part of {int(np.min(np.diff(marks)))} samples of a record of {int(whole.length)}"
            raise invalid("fractions", got, "at least two samples in each part", "increase the smallest share")
        for k, part in enumerate(parts):
            part.append(_cut(whole, marks[k], marks[k + 1]))
    return tuple(stack(part) if data.t.ndim == 2 else part[0] for part in parts)


def _channels(values: Any, argument: str) -> np.ndarray:
    """Samples as `(time, channel)`, double precision on the host."""
    try:
        array = np.asarray(as_floats(values, argument) if eqx.is_array(values) else values, dtype=None)
        array = array if np.issubdtype(array.dtype, np.floating) else array.astype(float)
    except (TypeError, ValueError) as error:
        fix = "remove units, headers and comments from the columns; mark what is missing with NaN"
        raise invalid(argument, f"something that is no number ({error})", "numbers", fix) from error
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or array.shape[1] == 0:
        expected = "(time, channel), or (time,) for one channel"
        raise invalid(argument, f"shape {array.shape}", expected, "put the samples along the first axis")
    return array


def _times(t: Any, dt: Any, steps: int) -> np.ndarray:
    """The times of the samples, checked to increase."""
    if (t is None) == (dt is None):
        got = "neither" if t is None else "both"
        raise invalid("t, dt", got, "one of the two", "give `dt` for even sampling, else the times `t`")
    if dt is not None:
        step = float(np.asarray(dt))
        if not (np.isfinite(step) and step > 0):
            raise invalid("dt", step, "a sampling time > 0", "give it in the unit of the model's time")
        return step * np.arange(steps)
    times = np.asarray(t, float)
    if times.shape != (steps,):
        raise invalid("t", f"shape {times.shape}", f"({steps},), one time for each sample", "give one time per row")
    gaps = np.diff(times)
    if not np.all(np.isfinite(times)) or not np.all(gaps > 0):
        k = int(np.argmin(gaps > 0))
        count = int(np.sum(~(gaps > 0)))
        got = f"t[{k}] = {times[k]:.9g}, t[{k + 1}] = {times[k + 1]:.9g}, and {count} such pairs in all"
        fix = "sort the rows by time, and drop or average rows with the same time"
        raise invalid("t", got, "strictly increasing, finite times", fix)
    return times


def _map(function: Any, *trees: Record) -> Record:
    leaves = [(r.t, r.u, r.y, r.is_measured, r.length) for r in trees]
    mapped: list[Any] = [None if parts[0] is None else function(*parts) for parts in zip(*leaves, strict=True)]
    return Record(*mapped)


def _pad(data: Record, longest: int) -> Record:
    """Stacked records, lengthened by repeating the last time and input."""
    missing = ((0, 0), (0, longest - data.t.shape[1]))
    zero = (*missing, (0, 0))
    return Record(
        t=jnp.pad(data.t, missing, mode="edge"),
        u=None if data.u is None else jnp.pad(data.u, zero, mode="edge"),
        y=jnp.pad(data.y, zero),
        is_measured=jnp.pad(data.is_measured, zero),
        length=data.length,
    )


def _cut(one: Record, start: int, stop: int) -> Record:
    part = slice(int(start), int(stop))
    u = None if one.u is None else one.u[part]
    return Record(one.t[part], u, one.y[part], one.is_measured[part], jnp.asarray(int(stop) - int(start)))
