"""The identification study, first half: the short list of models, and how each is fitted and judged."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, Scalar

from ..core import invalid, is_successful
from ..losses import FreeRun, Regularised
from ..simulation import free_run
from ..sources import cut, Record
from ..systems import LinearDiscrete
from ..systems.models import HammersteinWiener, Residual, Started, StateSpace
from ..training import fit, KeepBest, LevenbergMarquardt, observer, subspace

ORDERS = (1, 2, 3, 4, 6, 8)
WINDOW = 120  # samples of a window in the first stage of a nonlinear fit
WHOLE = 4000  # longest record that is simulated as a whole
RIDGE = 3e-3  # weight of the networks' parameters, in deviations of the outputs


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
    validation: float
    """Root mean squared error of the free run on the validation part, in deviations of the outputs."""


class Stage(NamedTuple):
    """One fit of several in a row."""

    data: Record
    trainable: Any = None


class Kind(NamedTuple):
    """A class of models around a linear one."""

    build: Callable[[Started, PRNGKeyArray], Started]
    network: Callable[[Any], Any]
    """What the ridge acts on."""
    extra: int = 0
    """States beyond those of the best linear model."""


def hammerstein_wiener(linear: Started, key: PRNGKeyArray) -> Started:
    """Static bends of inputs and outputs around the linear model."""
    before, after = jr.split(key)
    system, width = linear.system, 6
    bends = dict(before=Residual(system.B.shape[1], width=width, key=before)) if system.B.shape[1] else {}
    block = HammersteinWiener(system, after=Residual(system.C.shape[0], width=width, key=after), **bends)
    return Started(block, linear.start)


def state_space(linear: Started, key: PRNGKeyArray, *, width: int) -> Started:
    """A neural state space around the linear model."""
    system = linear.system
    n, m, p = system.A.shape[0], system.B.shape[1], system.C.shape[0]
    inner = StateSpace(n, m, p, dt=system.dt, linear=system, width=width, bends_output=True, key=key)
    return Started(inner, observer(system, linear.start.lag, width=width, key=jr.fold_in(key, 1)))


def _bends(model: Started) -> Any:
    return model.system.f, model.system.g, model.start.network


KINDS = {
    "hammerstein-wiener": Kind(hammerstein_wiener, lambda m: (m.system.before, m.system.after)),
    "state-space-8": Kind(partial(state_space, width=8), _bends),
    "state-space-16": Kind(partial(state_space, width=16), _bends, extra=1),
}
"""The nonlinear classes by name; the linear one is always fitted."""


def blank(name: str, order: int, inputs: int, outputs: int, lag: int, dt: float) -> Started:
    """A model like the fitted one of this name and these sizes, to load its numbers into."""
    system = LinearDiscrete(
        0.5 * np.eye(order), np.zeros((order, inputs)), np.zeros((outputs, order)), np.zeros((outputs, inputs)), dt=dt
    )
    line = Started(system, observer(system, lag))
    return line if name.startswith("linear") else KINDS[name].build(line, jr.key(0))


@eqx.filter_jit
def error(model: Started, data: Record) -> Float[Array, " output"]:
    """Root mean squared error of free runs over one record or several, by output; infinite if a run diverged."""
    data = data if data.t.ndim == 2 else jax.tree.map(lambda leaf: leaf[None], data)
    runs = jax.vmap(lambda one: free_run(model, one))(data)
    lag = model.start.lag
    counts = data.is_measured[:, lag:]
    squares = jnp.sum(jnp.where(counts, runs.y - data.y[:, lag:], 0) ** 2, axis=(0, 1))
    root = jnp.sqrt(squares / jnp.maximum(jnp.sum(counts, axis=(0, 1)), 1).astype(squares.dtype))
    return jnp.where(jnp.any(runs.lost > 0) | ~jnp.isfinite(root), jnp.inf, root)


def mean_error(model: Started, data: Record) -> Scalar:
    """`error` over all outputs together."""
    return jnp.sqrt(jnp.mean(error(model, data) ** 2))


def linear(plan: Plan) -> list[Candidate]:
    """Linear models of several orders in closed form, the two best of them refined; best first."""
    found: list[Candidate] = []
    for order in ORDERS:
        if plan.lag * plan.train.y.shape[-1] <= order:
            continue  # the record is too short for this order
        model, _ = subspace(plan.train, order, lag=plan.lag)
        found.append(Candidate(f"linear-{order}", model, float(mean_error(model, plan.validation))))
    if not found:
        fix = "take a longer record, or declare fewer inputs and outputs"
        raise invalid("train", f"{int(jnp.max(plan.train.length))} samples", "enough for a linear model", fix)
    ranked = sorted(found, key=lambda c: c.validation)
    # Free parameters: the matrices; the observer stays where it is, so that few parameters are left.
    free = lambda m: (m.system.A, m.system.B, m.system.C)
    refined = [refine(one, plan, trainable=free) for one in ranked[:2]]
    return sorted([*refined, *ranked], key=lambda c: c.validation)


def refine(one: Candidate, plan: Plan, *, network: Any = None, trainable: Any = None) -> Candidate:
    """The model with the best free run on the validation part, of a Levenberg-Marquardt fit that starts at this one.

    Nonlinear models are fitted to windows first, then to whole records, if these are not too long. A whole record says
    little about its start, so the start is fitted last, by itself, to many short windows.
    """
    whole = windows(plan.train, WHOLE, plan.lag)
    stages = [Stage(whole, trainable)]
    if network is not None:
        short = windows(plan.train, WINDOW, plan.lag)
        stages = [Stage(short), *stages, Stage(overlapping(plan.train, plan.lag), lambda m: m.start)]
    best = one
    model = one.model
    for stage in stages:
        loss = FreeRun() if network is None else Regularised(FreeRun(), jnp.asarray(RIDGE), network)
        watch = KeepBest(eqx.Partial(_flipped, plan.validation), every=5, patience=25)
        done = fit(
            model, loss, stage.data, LevenbergMarquardt(rtol=1e-6), steps=plan.steps, key=plan.key, monitor=watch,
            trainable=stage.trainable, progress=False, throw=False,
        )  # fmt: skip
        if not bool(is_successful(done.result)):
            continue
        model = done.value
        now = float(mean_error(model, plan.validation))
        if now < best.validation:
            best = Candidate(one.name, model, now)
    return best


def _flipped(data: Record, model: Started) -> Scalar:
    return mean_error(model, data)


def windows(data: Record, length: int, lag: int) -> Record:
    """Records, or windows of `length` scored samples where they are longer."""
    longest = int(np.max(np.asarray(data.length)))
    if longest <= lag + int(1.5 * length):
        return data if data.t.ndim == 2 else jax.tree.map(lambda leaf: leaf[None], data)
    count = max(1, round((longest - lag) / length))
    scored = (longest - lag) // count
    return cut(data, length=scored + lag, stride=scored)


def overlapping(data: Record, lag: int) -> Record:
    """Windows of 30 scored samples, at most a hundred or so, spread evenly."""
    longest = int(np.max(np.asarray(data.length)))
    length = lag + min(30, longest - lag)
    return cut(data, length=length, stride=max(1, (longest - length) // 100))


def compare(plan: Plan, kinds: list[str], announce: Callable[[str], None]) -> list[Candidate]:
    """All candidates, best on the validation part first."""
    announce("linear models")
    lines = linear(plan)
    found = list(lines)
    for name in kinds:
        announce(name)
        kind, line = KINDS[name], lines[0].model
        if kind.extra:
            line, _ = subspace(plan.train, line.system.A.shape[0] + kind.extra, lag=plan.lag)
        model = kind.build(line, jr.fold_in(plan.key, len(found)))
        start = Candidate(name, model, float(mean_error(model, plan.validation)))
        found.append(refine(start, plan, network=kind.network))
    return sorted(found, key=lambda c: c.validation)
