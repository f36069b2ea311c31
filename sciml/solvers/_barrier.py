"""Barrier parameters: chosen in every pass by prediction, lowered by a monotone rule where that leads nowhere."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Scalar

from ._evaluate import Evaluation
from ._newton import Factors
from ._state import Constants, distances, largest_step, Rows, State

# Wächter & Biegler (2006), table of section 4, for the monotone rule.
_KAPPA_EPSILON = 10.0  # the barrier problem is solved to this multiple of the barrier parameter
_KAPPA_MU, _THETA_MU = 0.2, 1.5  # linear and superlinear decrease of the barrier parameter
_WITH = 1e-2  # of the other residuals, or their squares, the least barrier parameter that is chosen freely
_BEND = 1.0  # largest correction of a product, relative to the mean product
_CRAMPED = 0.1  # a step shorter than this is followed by one to the centre
_STALE = 4  # passes without progress after which the monotone rule takes over


def lower_barrier(constants: Constants, state: State, at: Evaluation, tol: Scalar) -> Scalar:
    """The barrier parameter, lowered (up to thrice) while its own problem is solved well enough."""
    least = jnp.minimum(tol, tol * state.scaling.objective) / 10
    primal, relax = _imbalance(constants, state, at)
    products = distances(constants, state.x, state.slack) * state.dual
    mu = state.mu
    for _ in range(3):
        gap = jnp.max(jnp.where(constants.exists, jnp.abs(products - mu), 0.0), initial=0.0) / relax
        solved = jnp.maximum(primal, gap) <= _KAPPA_EPSILON * mu
        lower = jnp.maximum(least, jnp.minimum(_KAPPA_MU * mu, mu**_THETA_MU))
        free = (state.finishing > 0) | (state.stale < _STALE)
        mu = jnp.where(solved & ~state.restoring & ~free, jnp.minimum(mu, lower), mu)
    return mu


def adapt_barrier(
    constants: Constants, state: State, at: Evaluation, factors: Factors, tol: Scalar
) -> tuple[State, Rows]:
    """The barrier parameter as the step without a barrier suggests, while the residual falls.

    `σ = (μ after the affine step / μ)³` (Mehrotra 1992); where the residual has not fallen for some passes, the barrier
    is lowered by the monotone rule until it does (Nocedal, Wächter & Waltz 2009, Adaptive barrier update strategies for
    nonlinear interior methods, DOI 10.1137/060649513, algorithm A).
    """
    t = distances(constants, state.x, state.slack)
    step, count = factors.affine(state.dual), jnp.maximum(jnp.sum(constants.exists), 1).astype(t.dtype)
    along = lambda v, dv: v + largest_step(v, dv, jnp.ones_like(state.mu), constants.exists) * dv
    mean = lambda v: jnp.sum(jnp.where(constants.exists, v, 0.0)) / count
    now, after = mean(t * state.dual), mean(along(t, step.rows) * along(state.dual, step.dual))
    sigma = jnp.clip(after / jnp.where(now > 0, now, 1.0), 0.0, 1.0) ** 3
    least = jnp.minimum(tol, tol * state.scaling.objective) / 10
    # A barrier that vanishes before the other conditions hold leaves the iterate at the boundary.
    error, _ = _imbalance(constants, state, at)
    least = jnp.maximum(least, jnp.minimum(now, _WITH * jnp.minimum(error, error**2)))
    short = (state.failures > 0) | (state.length < _CRAMPED)
    falls = (state.residual <= 0.999 * state.best) & ~short
    stale = jnp.where(falls, 0, state.stale + 1)
    held = stale >= _STALE
    apart = state.restoring | (state.finishing > 0)
    # After a short step, or none, comes one to the centre.
    mu = jnp.where(short, now, jnp.maximum(sigma * now, least))
    mu = jnp.where(held, jnp.where(stale == _STALE, 0.8 * now, state.mu), mu)
    mu = jnp.where(apart, state.mu, mu)
    best = jnp.where(falls & ~apart, state.residual, state.best)
    # Another barrier parameter is another merit function, which may do with a smaller penalty.
    penalty = jnp.where(~apart & ~held & (mu < state.mu), 1.0, state.penalty)
    products = jnp.where(held | short, 0.0, jnp.clip(step.rows * step.dual, -_BEND * now, _BEND * now))
    changes = (mu, best, jnp.where(apart, state.stale, stale), penalty)
    return eqx.tree_at(lambda s: (s.mu, s.best, s.stale, s.penalty), state, changes), products


def _imbalance(constants: Constants, state: State, at: Evaluation) -> tuple[Scalar, Scalar]:
    """The scaled residual of all conditions but complementarity, and the factor by which it was relaxed."""
    n_g, n = state.slack.size, state.x.size
    # Large multipliers make small residuals unreachable: Wächter & Biegler (2006), equation (6).
    mean = (jnp.sum(state.dual) + jnp.sum(jnp.abs(state.eq))) / max(state.dual.size + state.eq.size, 1)
    relax = jnp.maximum(100.0, mean) / 100.0
    slope = at.slope - state.dual[n_g : n_g + n] + state.dual[n_g + n :]
    slope = jnp.where(constants.is_fixed, 0.0, slope) / relax
    return jnp.max(jnp.abs(jnp.concatenate([slope, at.g + state.slack, at.h])), initial=0.0), relax
