"""Losses over measured records: free runs, single steps, and slopes."""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray, Scalar

from ..core import invalid
from ..simulation import free_run
from ..simulation._replay import check_times
from ..sources import AbstractSource, Batch, Record
from ..systems.models import AbstractStart, Measured, Started
from ._abstract import AbstractLeastSquares, Report
from ._samples import Samples, Term


class FreeRun(AbstractLeastSquares):
    """Half the mean squared error of free runs over stacked records or windows: the simulation error.

    The loss that models are judged by. A free run uses the inputs and the samples that the model's start looks at, so
    that errors accumulate as they do in use; one-step errors hide that. Whole records give the full simulation error,
    windows (`sources.cut`) the truncated one, which is faster and easier to minimise. Samples that were not measured do
    not count.

    Args:
        horizon: samples of each run that count, an array so that another one does not recompile (a curriculum:
            `training.curriculum`); None for all.
        weight: of each output, such as one over its standard deviation; None for one.
        method, substeps, is_interpolated: as in `simulation.replay`.

    A model is `systems.models.Started`, or a system whose outputs are its states; a batch is a `Record`, or several. A
    run that diverges is frozen at its last state, where it pays for every sample left, and it counts as failed. A
    record without the measurements that its start needs does not count in the mean, and counts as failed too.

    Raises:
        ValueError: (outside `jit`) not a single sample counts, or the samples do not lie a discrete model's `dt` apart.

    Source: Forgione & Piga (2021), Continuous-time system identification with neural networks: model structures and
    fitting criteria, DOI 10.1016/j.ejcon.2021.01.008, equations (6) and (12).

    Examples:
        ```python
        halve = sciml.systems.LinearDiscrete(A=0.5 * jnp.eye(1), B=jnp.zeros((1, 1)), dt=1.0)
        data = sciml.sources.record(y=[1.0, 0.6, 0.25], u=jnp.zeros(3), dt=1.0)
        loss = sciml.losses.FreeRun()
        assert jnp.isclose(loss(halve, data), 0.5 * 0.1**2 / 2)  # the first sample is given
        ```
    """

    horizon: Scalar | None = None
    weight: Float[Array, " output"] | None = None
    method: diffrax.AbstractSolver | None = None
    substeps: int = eqx.field(static=True, default=1)
    is_interpolated: bool = eqx.field(static=True, default=False)

    def residuals(self, model: Any, batch: Record) -> Float[Array, "record time output"]:
        """The scaled errors of every sample; 0 where nothing counts."""
        (term,) = self.structure(model, batch).terms
        return term.scale * jax.vmap(lambda one: term.function(model, one))(term.data)

    def init(self, model: Any, source: AbstractSource) -> None:
        """No memory; the data are checked."""
        if isinstance(data := source.all(), Record):
            self.structure(model, data)

    def structure(self, model: Any, batch: Record) -> Samples:
        """Every record has residuals of its own."""
        check_times(model.system if isinstance(model, Started) else model, batch)
        data = batch if batch.t.ndim == 2 else jax.tree.map(lambda leaf: leaf[None], batch)
        counts = jax.vmap(lambda one: self._counts(model, one))(data)
        if not isinstance(counts, Tracer) and not bool(jnp.any(counts)):
            fix = "cut the records where measurements begin, or use `Started(model, Encoder(...))`"
            raise invalid("batch", "no sample that counts", "measured samples, in records whose start is known", fix)
        total = jnp.maximum(jnp.sum(counts), 1).astype(batch.y.dtype)
        return Samples((Term(self._errors, data, 1 / jnp.sqrt(total)),))

    def evaluate(self, model: Any, batch: Batch, state: None, *, key: PRNGKeyArray) -> tuple[Scalar, None, Report]:
        """The loss, and the fraction of runs that diverged or could not start."""
        (term,) = self.structure(model, batch.value).terms
        errors, lost = jax.vmap(lambda one: self._run(model, one))(term.data)
        value = 0.5 * jnp.sum((term.scale * errors) ** 2)
        known = jax.vmap(_start(model).is_known)(term.data)
        failed = jnp.mean(((lost > 0) | ~known).astype(value.dtype))
        return value, None, Report(jax.lax.stop_gradient(failed))

    def _run(self, model: Any, record: Record) -> tuple[Float[Array, "time output"], Array]:
        lag = _lag(model)
        run = free_run(model, record, method=self.method, substeps=self.substeps, is_interpolated=self.is_interpolated)
        errors = run.y - record.y[lag:]
        errors = errors if self.weight is None else errors * self.weight.astype(errors.dtype)
        return jnp.where(self._counts(model, record), errors, 0), run.lost

    def _errors(self, model: Any, record: Record) -> Float[Array, "time output"]:
        return self._run(model, record)[0]

    def _counts(self, model: Any, record: Record) -> Array:
        """Which samples count: measured, within the horizon, in a record whose start is known."""
        lag = _lag(model)
        counts = record.is_measured[lag:]
        if self.horizon is not None:
            sample = jnp.arange(counts.shape[0])
            counts = counts & (sample <= jnp.asarray(self.horizon))[:, None]
        start = _start(model)
        counts = counts & start.is_known(record)
        if start.is_measured_state:
            counts = counts.at[0].set(False)  # the given state is no prediction
        return counts


class OneStep(AbstractLeastSquares):
    """Half the mean squared error of single steps from measured states: the prediction error of one sample.

    Choose it to initialise a model whose states are all measured: every step is a problem of its own, without long
    gradients. It says little about free runs: an error that is small in one step may grow in hundreds.

    Args:
        weight, method, substeps, is_interpolated: as in `FreeRun`.

    A model is a system whose outputs are its states, bare or in `Started(system)`; a batch is a `Record`. A step counts
    where its first sample is measured in all channels.
    """

    weight: Float[Array, " output"] | None = None
    method: diffrax.AbstractSolver | None = None
    substeps: int = eqx.field(static=True, default=1)
    is_interpolated: bool = eqx.field(static=True, default=False)

    def residuals(self, model: Any, batch: Record) -> Float[Array, "record time output"]:
        """The scaled errors of every step."""
        return self._loss().residuals(model, _steps(model, batch))

    def init(self, model: Any, source: AbstractSource) -> None:
        """No memory; the data are checked."""
        if isinstance(data := source.all(), Record):
            self.structure(model, data)

    def structure(self, model: Any, batch: Record) -> Samples:
        """Every step has residuals of its own."""
        return self._loss().structure(model, _steps(model, batch))

    def _loss(self) -> FreeRun:
        return FreeRun(None, self.weight, self.method, self.substeps, self.is_interpolated)


def _start(model: Any) -> AbstractStart:
    return model.start if isinstance(model, Started) else Measured()


def _lag(model: Any) -> int:
    return _start(model).lag


def _steps(model: Any, batch: Record) -> Record:
    """Every pair of neighbouring samples as a record of its own."""
    if not _start(model).is_measured_state:
        fix = "fit by `FreeRun` or `MultipleShooting`, which find hidden states"
        raise invalid("model", f"a start by {type(_start(model)).__name__}", "a measured state", fix)
    data = batch if batch.t.ndim == 2 else jax.tree.map(lambda leaf: leaf[None], batch)

    def pairs(leaf: Array) -> Array:
        both = jnp.stack([leaf[:, :-1], leaf[:, 1:]], axis=2)
        return both.reshape(-1, 2, *leaf.shape[2:])

    is_sample = pairs(data.is_sample[..., None])[..., 0]
    length = jnp.maximum(jnp.sum(is_sample, axis=1).astype(data.length.dtype), 1)
    return Record(pairs(data.t), jax.tree.map(pairs, data.u), pairs(data.y), pairs(data.is_measured), length)
