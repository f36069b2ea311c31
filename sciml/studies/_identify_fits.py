"""The identification study: how each model of the short list is fitted."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Scalar

from ..core import invalid, is_successful, tree_size
from ..losses import FreeRun, Regularised
from ..sources import cut, Record
from ..systems.models import Started
from ..training import ensemble, fit, KeepBest, LevenbergMarquardt, pick_member, subspace
from ._identify_models import block_errors, Candidate, candidate, KINDS, linear_candidate, pick, Plan

ORDERS = (1, 2, 3, 4, 6, 8)
WHOLE = 4000  # longest record that is simulated as a whole
RIDGES = (1e-2, 2e-3)  # weights of the networks' parameters to try, in deviations of the outputs
SEEDS = 4  # of the networks, for each weight
STRIDE = 5  # steps between looks at the validation part
MOST = 3  # parameters for each measured value: a class with more is not fitted
WORK = 1e10  # operations of all fits of a class, which bound how many weights and seeds are tried


def linear(plan: Plan) -> list[Candidate]:
    """Linear models of several orders in closed form, and the best of them refined; that one first."""
    found: list[Candidate] = []
    has_inputs = plan.train.u is not None
    for order, is_direct in [(order, direct) for order in ORDERS for direct in (False, True)[: 1 + has_inputs]]:
        if plan.lag * plan.train.y.shape[-1] <= order:
            continue  # the record is too short for this order
        model, _ = subspace(plan.train, order, lag=plan.lag, has_feedthrough=is_direct)
        found.append(linear_candidate(f"linear-{order}{'-direct' * is_direct}", model, plan))
    if not found:
        fix = "take a longer record, or declare fewer inputs and outputs"
        raise invalid("train", f"{int(jnp.max(plan.train.length))} samples", "enough for a linear model", fix)
    ranked = sorted(found, key=lambda c: c.validation)
    return [refine(ranked[0], plan), *ranked]


def refine(one: Candidate, plan: Plan) -> Candidate:
    """A linear model fitted to whole records, or long windows.

    The start stays as it is, here and in `nonlinear`: a long record says little about it.
    """
    names = ("A", "B", "C", "D") if one.name.endswith("direct") else ("A", "B", "C")
    free = lambda m: tuple(getattr(m.system, name) for name in names)
    return better(one, plan, windows(plan.train, WHOLE, plan.lag), FreeRun(), free)


def nonlinear(name: str, line: Started, plan: Plan) -> Candidate | None:
    """The best model of a nonlinear class over weights, seeds and steps; the seeds of a weight are fitted together.

    None where the record is too short for the class.
    """
    kind, data = KINDS[name], windows(plan.train, WHOLE, plan.lag)
    size = tree_size(eqx.filter(kind.build(line, plan.key).system, eqx.is_inexact_array))
    if size > MOST * int(jnp.sum(data.is_measured[:, plan.lag :])):
        return None
    tries = int(np.clip(WORK / (data.y.size * size**2 * plan.steps), 1, SEEDS * len(RIDGES)))
    keys = jr.split(plan.key, min(tries, SEEDS))
    first = eqx.filter_vmap(lambda key: kind.build(line, key))(keys)
    best = candidate(name, pick_member(first, 0), plan)
    for ridge in RIDGES[: max(1, tries // SEEDS)]:
        models = first
        for _ in range(-(-plan.steps // STRIDE)):
            models = _advance(models, name, jnp.asarray(ridge), data)
            blocks = np.asarray(_judge(models, plan.validation))
            k = int(np.argmin(np.mean(blocks, axis=1)))
            best = min(best, Candidate(name, pick_member(models, k), blocks[k]), key=lambda c: c.validation)
    return best


@eqx.filter_jit
def _advance(models: Started, name: str, ridge: Scalar, data: Record) -> Started:
    """Stacked models after some steps of a fit of their systems."""
    loss, method = Regularised(FreeRun(), ridge, KINDS[name].network), LevenbergMarquardt(rtol=1e-6)
    return ensemble(models, loss, data, method, steps=STRIDE, trainable=lambda m: m.system).state


@eqx.filter_jit
def _judge(models: Started, data: Record) -> Float[Array, "member block"]:
    """`block_errors` of stacked models."""
    return eqx.filter_vmap(lambda model: block_errors(model, data))(models)


def restart(one: Candidate, plan: Plan) -> Candidate:
    """The model with its start fitted by itself, to many short windows, if that helps."""
    loss = Regularised(FreeRun(), jnp.asarray(RIDGES[0]), KINDS[one.name].network)
    return better(one, plan, overlapping(plan.train, plan.lag), loss, lambda m: m.start)


def better(one: Candidate, plan: Plan, data: Record, loss: Any, trainable: Any) -> Candidate:
    """A candidate after a fit, or before it if the validation part says that this was better."""
    watch = KeepBest(score=eqx.Partial(_flipped, plan.validation), every=5, patience=None)
    done = fit(
        one.model, loss, data, LevenbergMarquardt(rtol=1e-6), steps=plan.steps, key=plan.key, monitor=watch,
        trainable=trainable, progress=False, throw=False,
    )  # fmt: skip
    if not bool(is_successful(done.result)):
        return one
    return min(candidate(one.name, done.value, plan), one, key=lambda c: c.validation)


def _flipped(data: Record, model: Started) -> Scalar:
    return jnp.mean(block_errors(model, data))


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
    """All candidates: the one to pick first, the linear ones in the order of `linear`, the rest by validation error."""
    announce("linear models")
    lines = linear(plan)
    found: list[Candidate | None] = []
    for name in kinds:
        announce(name)
        large = [c for c in lines if c.model.system.A.shape[0] >= KINDS[name].least]
        found.append(nonlinear(name, (large or lines)[0].model, plan))
    curved = sorted((c for c in found if c is not None), key=lambda c: c.validation)
    chosen = pick([lines[0], *curved])
    if chosen is lines[0]:
        return [*lines, *curved]
    return [restart(chosen, plan), *lines, *(c for c in curved if c is not chosen)]
