"""What the examples share: data from the plants, fits, errors of free runs, and what an example reports."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import sciml
from sciml.simulation import free_run, replay
from sciml.sources import cut, Record
from sciml.systems.models import Started
from sciml.training import LevenbergMarquardt

NEUROMANCER = "NeuroMANCER 1.5.6"


class Finding(NamedTuple):
    """One number that an example found, what it means, and the number of the rival."""

    metric: str
    value: float
    target: float | None = None
    unit: str = "1"
    better: str = "lower"
    rival: float | None = None
    part: str = ""
    """Which of several experiments of the example it belongs to."""


class Clock:
    """CPU seconds of this process from here on, compilation included."""

    def __init__(self) -> None:
        self.start = time.process_time()

    def __call__(self) -> float:
        return time.process_time() - self.start


def blank(steps: int, dt: float, u: Any = None, *, start: float = 0.0) -> Record:
    """Times and inputs of an experiment whose outputs are still to come."""
    t = start + dt * np.arange(steps)
    return sciml.sources.record(y=np.zeros((steps, 1)), u=None if u is None else np.asarray(u), t=t)


def measured(system: Any, x0: Any, experiment: Record, *, substeps: int = 1) -> Record:
    """What a plant does in an experiment, without noise; by a method of order eight, which no fit here uses."""
    return _measured(system, jnp.asarray(x0), experiment, substeps)


@eqx.filter_jit
def _measured(system: Any, x0: Any, experiment: Record, substeps: int) -> Record:
    run = replay(system, x0, experiment, method=diffrax.Dopri8(), substeps=substeps)
    mask = jnp.ones(run.y.shape, bool)
    return Record(experiment.t, experiment.u, run.y, mask, experiment.length)


def several(system: Any, x0s: Any, experiments: Record, *, substeps: int = 1) -> Record:
    """The same for several initial states, in one experiment or in as many."""
    axis = 0 if experiments.t.ndim == 2 else None
    return _several(system, jnp.asarray(x0s), experiments, substeps, axis)


@eqx.filter_jit
def _several(system: Any, x0s: Any, experiments: Record, substeps: int, axis: int | None) -> Record:
    return jax.vmap(lambda x0, e: _measured(system, x0, e, substeps), in_axes=(0, axis))(x0s, experiments)


def in_box(low: Any, high: Any, count: int, seed: int) -> Any:
    """Initial states, uniform in a box."""
    low, high = jnp.asarray(low), jnp.asarray(high)
    return low + (high - low) * jr.uniform(jr.key(seed), (count, low.size), low.dtype)


def levenberg(model: Any, loss: Any, data: Record, *, steps: int, monitor: Any = None, **options: Any) -> Any:
    """The model after `steps` of Levenberg-Marquardt."""
    method = LevenbergMarquardt(**options)
    fitted = sciml.fit(model, loss, data, method, steps=steps, key=jr.key(0), monitor=monitor, progress=False)
    return fitted.value


def windows(data: Record, intervals: int) -> Record:
    """Every interval once, in windows of so many."""
    return cut(data, length=intervals + 1, stride=intervals)


class FreeRunErrors(NamedTuple):
    """Of free runs over several records; the given initial states do not count."""

    nmse: float
    """Mean over the channels of MSE / variance, over all records together; inf if a run fails. R² is `1 - NMSE`."""
    rmse: np.ndarray
    """Of each channel."""
    failed: float
    """The share of runs that diverged."""


def judge(model: Any, test: Record, **options: Any) -> FreeRunErrors:
    """Errors of free runs over stacked records."""
    y, lost = free_runs(model, test, options)
    lag = model.start.lag if isinstance(model, Started) else 0
    skip = 1 if lag == 0 else 0  # a measured initial state is no prediction
    truth, y = np.asarray(test.y)[:, lag + skip :], np.asarray(y)[:, skip:]
    with np.errstate(over="ignore", invalid="ignore"):
        square = np.mean((y - truth) ** 2, axis=(0, 1))
    variance = np.var(truth, axis=(0, 1))
    failed = float(np.mean(np.asarray(lost) > 0))
    if failed or not np.all(np.isfinite(square)):
        return FreeRunErrors(float("inf"), np.full(square.shape, np.inf), failed)
    return FreeRunErrors(float(np.mean(square / variance)), np.sqrt(square), failed)


@eqx.filter_jit
def free_runs(model: Any, test: Record, options: dict[str, Any]) -> tuple[Any, Any]:
    """Outputs of free runs over stacked records, and how many steps each lost to divergence."""

    def one(record: Record) -> tuple[Any, Any]:
        run = free_run(model, record, **options)
        return run.y, run.lost

    return jax.vmap(one)(test)


def size_of(model: Any) -> int:
    """The number of trained parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array)))


def relative_error(found: dict[str, Any], true: dict[str, float]) -> float:
    """The largest relative error of named parameters."""
    return max(abs(float(found[name]) - value) / abs(value) for name, value in true.items())


def best_of(models: list[Any], score: Callable[[Any], float]) -> Any:
    """The model with the lowest score on data held out from training."""
    return min(models, key=score)
