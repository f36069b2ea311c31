"""Free runs of models that know how to begin."""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer

from sciml.core import invalid, Trajectory
from sciml.sources import Record
from sciml.systems import AbstractContinuousSystem, AbstractDiscreteSystem
from sciml.systems.models import Started

from ._replay import replay


def free_run(
    model: Any,
    record: Record,
    *,
    method: diffrax.AbstractSolver | None = None,
    substeps: int = 1,
    is_interpolated: bool = False,
) -> Trajectory:
    """What a model predicts for a record, from the inputs and at most the first `lag` outputs.

    Args:
        model: `systems.models.Started`; a bare system starts at the first measurement, which must be its state.
        record: one record; `vmap` for several.
        method, substeps, is_interpolated: as in `replay`.

    Returns:
        The run from sample `model.start.lag` on: compare `y` with `record.y[lag:]` where `record.is_measured[lag:]`.

    Raises:
        ValueError: a record that is not longer than `lag`; (outside `jit` and `vmap`) a record without the measurements
            that the start needs; a system whose outputs are not its states, without a start that finds them; and as
            `replay`.

    Gradient: as of `replay`, through the start too.
    """
    model = model if isinstance(model, Started) else Started(model)
    if record.t.ndim != 1:
        raise invalid("record", f"{record.t.shape[0]} stacked records", "one record", "`jax.vmap` over the records")
    known = model.start.is_known(record)
    if not isinstance(known, Tracer) and not bool(known):
        fix = "cut the record, or use `Started(model, Encoder(...))`, which copes with gaps"
        sample = f"sample {model.start.lag} with outputs that were not measured"
        raise invalid("record", sample, "a measured state to start from", fix)
    x0 = model.start(record)
    if model.start.is_measured_state:
        _check_state(model.system, x0, jax.tree.map(lambda leaf: leaf[0], record.u))
    return replay(
        model.system, x0, after(record, model.start.lag),
        method=method, substeps=substeps, is_interpolated=is_interpolated,
    )  # fmt: skip


def _check_state(system: Any, x0: Any, u: Any) -> None:
    """Raises where the measured outputs are no state of the system."""
    if not isinstance(system, AbstractContinuousSystem | AbstractDiscreteSystem):
        return
    shape = system.input_shape()
    if u is not None and shape is not None and u.shape != shape:
        return  # `replay` says so
    move = system.vector_field if isinstance(system, AbstractContinuousSystem) else system.step
    why = ""
    try:
        moved = eqx.filter_eval_shape(move, jnp.zeros((), x0.dtype), x0, u)
        if getattr(moved, "shape", None) == x0.shape:
            return
    except (TypeError, ValueError, IndexError) as error:
        why = f", on which it raises: {error}"
    fix = "put it into `Started(model, Encoder(...))`, or another start that gives its state"
    got = f"{x0.size} outputs as the state of a {type(system).__name__}{why}"
    raise invalid("model", got, "a system whose outputs are its states", fix)


def after(record: Record, lag: int) -> Record:
    """One record without its first `lag` samples."""
    steps = record.t.shape[0]
    if steps - lag < 2:
        fix = "give longer records or windows, or a start that looks at fewer samples"
        raise invalid("record", f"{steps} samples", f"at least {lag + 2}, two more than the start looks at", fix)
    cut = lambda leaf: leaf[lag:]
    u = jax.tree.map(cut, record.u)
    return Record(cut(record.t), u, cut(record.y), cut(record.is_measured), jnp.maximum(record.length - lag, 1))
