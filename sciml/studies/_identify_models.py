"""The identification study: the short list of models, and how they are judged and picked."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..core import tree_size
from ..metrics import rmse
from ..simulation import free_run
from ..sources import Record
from ..systems import LinearDiscrete
from ..systems.models import HammersteinWiener, Residual, Started, StateSpace
from ..training import initial_state_encoder

BLOCKS = 8  # parts of the validation part, whose errors say how sure a difference is
TIE = 1.05  # most of the smallest validation error that a smaller model may have


class Plan(NamedTuple):
    """What the fits of one data set share, in scaled units."""

    train: Record
    validation: Record
    lag: int
    """Samples that every start looks at."""
    steps: int
    key: PRNGKeyArray


class Candidate(NamedTuple):
    """A fitted model and how it did."""

    name: str
    model: Started
    blocks: Float[np.ndarray, " block"]
    """Mean squared errors of a free run in consecutive parts of the validation part, in squared deviations."""

    @property
    def validation(self) -> float:
        """Root mean squared error of the free run on the validation part, in deviations of the outputs."""
        return float(np.sqrt(np.mean(self.blocks)))


class Kind(NamedTuple):
    """A class of models around a linear one."""

    build: Callable[[Started, PRNGKeyArray], Started]
    network: Callable[[Any], Any]
    """What the ridge acts on."""
    least: int = 1
    """States of the linear model that it begins at: the best one with so many or more."""


def hammerstein_wiener(linear: Started, key: PRNGKeyArray) -> Started:
    """Static nonlinearities of inputs and outputs around the linear model."""
    first, second = jr.split(key)
    system, width = linear.system, 6
    inputs = dict(input_nonlinearity=Residual(system.B.shape[1], width=width, key=first)) if system.B.shape[1] else {}
    block = HammersteinWiener(
        system, output_nonlinearity=Residual(system.C.shape[0], width=width, key=second), **inputs
    )
    return Started(block, linear.start)


def state_space(linear: Started, key: PRNGKeyArray, *, width: int) -> Started:
    """A neural state space around the linear model."""
    system = linear.system
    n, m, p = system.A.shape[0], system.B.shape[1], system.C.shape[0]
    inner = StateSpace(n, m, p, dt=system.dt, linear=system, width=width, has_output_network=True, key=key)
    return Started(inner, initial_state_encoder(system, linear.start.lag, width=width, key=jr.fold_in(key, 1)))


def _networks(model: Any) -> Any:
    return model.system.f, model.system.g, model.start.network


KINDS = {
    "hammerstein-wiener": Kind(
        hammerstein_wiener, lambda m: (m.system.input_nonlinearity, m.system.output_nonlinearity)
    ),
    "state-space": Kind(partial(state_space, width=12), _networks, least=4),
}
"""The nonlinear classes by name; the linear one is always fitted."""


def blank(name: str, order: int, inputs: int, outputs: int, lag: int, dt: float) -> Started:
    """A model like the fitted one of this name and these sizes, to load its numbers into."""
    system = LinearDiscrete(
        0.5 * np.eye(order), np.zeros((order, inputs)), np.zeros((outputs, order)), np.zeros((outputs, inputs)), dt=dt
    )
    line = Started(system, initial_state_encoder(system, lag))
    return line if name.startswith("linear") else KINDS[name].build(line, jr.key(0))


@eqx.filter_jit
def error(model: Started, data: Record) -> Float[Array, " output"]:
    """Root mean squared error of free runs over one record or several, by output; infinite if a run diverged."""
    data = data if data.t.ndim == 2 else jax.tree.map(lambda leaf: leaf[None], data)
    runs = jax.vmap(lambda one: free_run(model, one))(data)
    y, s, mask = (jnp.reshape(part, (-1, part.shape[-1])) for part in (
        data.y[:, model.start.lag :], runs.y, data.is_measured[:, model.start.lag :]
    ))  # fmt: skip
    root = rmse(y, s, is_measured=mask)
    return jnp.where(jnp.any(runs.lost > 0) | ~jnp.isfinite(root), jnp.inf, root)


@eqx.filter_jit
def block_errors(model: Started, data: Record) -> Float[Array, " block"]:
    """Mean squared errors over all outputs of a free run over one record, in consecutive blocks."""
    run = free_run(model, data)
    return jnp.where(run.lost > 0, jnp.inf, blocks_of(run.y, data, model.start.lag))


def blocks_of(y: Any, data: Record, lag: int) -> Float[Array, " block"]:
    """Mean squared errors in blocks, scaled so that their mean is the mean over all measured samples."""
    counts = data.is_measured[lag:]
    squares = jnp.where(counts, y - data.y[lag:], 0) ** 2 / jnp.maximum(jnp.mean(counts.astype(y.dtype), axis=0), 1e-9)
    length = squares.shape[0]
    count = min(BLOCKS, length)
    edges = np.linspace(0, length, count + 1).astype(int)
    means = jnp.stack([jnp.mean(squares[a:b]) * ((b - a) * count / length) for a, b in pairwise(edges)])
    return jnp.where(jnp.all(jnp.isfinite(means)), means, jnp.inf)


_blocks_of = eqx.filter_jit(blocks_of)


def candidate(name: str, model: Started, plan: Plan) -> Candidate:
    """The model with its errors on the validation part."""
    return Candidate(name, model, np.asarray(block_errors(model, plan.validation)))


def linear_candidate(name: str, model: Any, plan: Plan) -> Candidate:
    """`candidate` of a linear model, simulated in NumPy: nothing to compile for each order."""
    data, s, lag = plan.validation, model.system, model.start.lag
    A, B, C, D = (np.asarray(part) for part in (s.A, s.B, s.C, s.D))
    y = np.where(data.is_measured, data.y, 0)
    u = np.zeros((len(y), 0)) if data.u is None else np.asarray(data.u)
    x = np.asarray(model.start.W) @ np.concatenate([y[:lag].ravel(), u[:lag].ravel()])
    states = np.zeros((len(y) - lag, len(x)))
    pushed = u[lag:] @ B.T
    for k in range(len(states)):
        states[k] = x
        x = A @ x + pushed[k]
    return Candidate(name, model, np.asarray(_blocks_of(jnp.asarray(states @ C.T + u[lag:] @ D.T), data, lag)))


def pick(found: list[Candidate]) -> Candidate:
    """The smallest model whose validation error is not surely larger than the smallest one.

    That is, larger by no more than one standard error of the mean difference over the blocks, nor by more than `TIE`:
    what a larger model wins by less is luck of the validation part.

    Source: Hastie, Tibshirani & Friedman (2009), The elements of statistical learning, section 7.10, the one-standard-
    error rule, here of paired differences.
    """
    best = min(found, key=lambda c: c.validation)
    found = [c for c in found if np.isfinite(c.validation)]
    for one in sorted(found, key=lambda c: tree_size(eqx.filter(c.model.system, eqx.is_inexact_array))):
        more = one.blocks - best.blocks
        if one.validation <= TIE * best.validation and np.mean(more) <= np.std(more, ddof=1) / len(more) ** 0.5:
            return one
    return best
