"""Values and derivatives of a program at a primal-dual point: dense, or one stage of optimal control at a time."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from ..core import where_needed
from ..programs import by_stage, FlatProgram, Staged
from ._dense import DenseModel
from ._riccati import AbstractScan, LQ, Sequential
from ._stage_model import StageModel

Vector = Float[Array, " n"]
_SEVERAL = 16  # entries of a decision from which a Hessian is dearer than a loop of one turn
Weigh = Callable[[Array, Array], tuple[Array, Array]]


class Derivatives(eqx.Module):
    """A program at `x`: values, Jacobians, and slope and Hessian of `weight f + λᵀg + νᵀh`."""

    f: Scalar
    g: Float[Array, " g"]
    h: Float[Array, " h"]
    gradient: Vector
    """Of `f`."""
    slope: Vector
    """`weight ∇f + Jgᵀλ + Jhᵀν`."""
    model: DenseModel | StageModel


class _Local(eqx.Module):
    """Derivatives of `(cost, two vectors of rows)`, and of `weight cost` and the rows times their multipliers."""

    values: tuple[Scalar, Array, Array]
    gradient: Array
    slope: Array
    first: Float[Array, "r1 n"]
    second: Float[Array, "r2 n"]
    hessian: Float[Array, "n n"]


class Residuals(eqx.Module):
    """Least squares over vectors, `½ |residual|²` without a constant factor, for a Hessian by Gauss-Newton."""

    end: Callable[[Array], Array]
    """Of the decision, or of the last state where there are stages."""
    stage: Callable[[Array, Any], Array] | None = None
    """Of `(x_k, u_k)` in one vector and the signals of the stage."""


def derivatives(
    program: FlatProgram,
    x: Vector,
    p: Any,
    weigh: Weigh,
    weight: Scalar,
    is_bounded: bool,
    residuals: Residuals | None = None,
    once: bool = False,
) -> Derivatives:
    """Everything that a Newton step needs at `x`.

    Args:
        program: the program.
        x: the decision.
        p: the instance.
        weigh: `(g, h) -> (λ, ν)`, the multipliers, which may depend on the values but are held constant.
        weight: of the objective.
        is_bounded: whether the rows of the model include those of the bounds.
        residuals: None for the Hessian of the Lagrangian, else the Hessian is `weight Jᵀ J`.
        once: whether a dense Hessian is computed in one place, at the price of reverse-mode derivatives.
    """
    if program.structure is not None:
        return _by_stages(program, program.structure, x, p, weigh, weight, is_bounded, residuals)
    residual = None if residuals is None else residuals.end
    at = _local(lambda x: program.functions(x, p), x, weigh, weight, residual, once)
    return Derivatives(*at.values, at.gradient, at.slope, DenseModel(at.hessian, at.first, at.second, None, is_bounded))


def _local(
    parts: Callable[[Array], tuple[Any, Any, Any]],
    v: Array,
    weigh: Weigh,
    weight: Scalar,
    residual: Callable[[Array], Array] | None,
    once: bool = False,
) -> _Local:
    """One linearisation of `v -> (rows, slope)` pushed along all unit vectors: forward passes over one reverse pass.

    With a residual it is linearised in the place of the slope, and no second derivative is taken.

    `once`: left alone, XLA computes a Hessian again inside of everything that reads it, sines and all; it does not fuse
    across the border of a loop.
    """

    def both(v: Array) -> tuple[tuple[Array, Array, Array], Any]:
        f, by_f = jax.value_and_grad(lambda v: parts(v)[0])(v)
        (g, h), pull = jax.vjp(lambda v: parts(v)[1:], v)
        # Constant where they depend on the values; the model's own derivative with respect to them is wanted.
        (bent,) = pull(weigh(*jax.lax.stop_gradient((g, h))))
        # The weight comes last: before that, what is linear is the same in every instance of a batch.
        slope = weight * by_f + bent
        return (g, h, slope if residual is None else residual(v)), ((f, g, h), by_f, slope)

    _, push, (values, by_f, slope) = jax.linearize(both, v, has_aux=True)
    directions = jnp.eye(v.size, dtype=v.dtype)
    by_g, by_h, last = jax.vmap(push)(directions)
    bent = lambda last: last if residual is None else weight * (last @ last.T)
    if once and v.size >= _SEVERAL:
        # Only the Hessian: rows that are linear stay shared by a batch, which what leaves this loop does not. Nobody
        # knows whether `f` is finite before it runs, and where it is not the point is given up.
        again = lambda: bent(jax.vmap(lambda direction: push(direction)[2])(directions))
        hessian = where_needed(jnp.isfinite(values[0]), again, jnp.full_like(directions, jnp.nan))
    else:
        hessian = bent(last)
    return _Local(values, by_f, slope, by_g.T, by_h.T, hessian)


def _by_stages(
    program: FlatProgram, staged: Staged, x: Vector, p: Any, weigh: Weigh, weight: Scalar, is_bounded: bool,
    residuals: Residuals | None,
) -> Derivatives:  # fmt: skip
    """As many directions as one stage has entries, in one stage's functions, for all stages side by side."""
    stages = staged.stages
    N, nx = stages.horizon, stages.nx
    f, g, h = program.functions(x, p)
    ineq, eq = weigh(g, h)
    lam, last_lam = by_stage(ineq[: stages.n_path], N, stages.path_sizes), ineq[stages.n_path :]
    nu, last_nu = by_stage(eq[: N * nx], N, stages.x_sizes), eq[N * nx :]
    x0, w = staged.given(p)
    after, u = stages.split(x)
    before = jnp.concatenate([x0[None], after[:-1]])
    residual = None if residuals is None else residuals.stage
    at_end = None if residuals is None else residuals.end

    def each(v: Array, w: Any, lam: Array, nu: Array) -> _Local:
        # The defect is `x_{k+1} - next_k`.
        own = None if residual is None else lambda v, of=residual: of(v, w)
        return _local(lambda v: staged.stage(v[:nx], v[nx:], w, p), v, lambda *_: (lam, -nu), weight, own)

    at = jax.vmap(each)(jnp.concatenate([before, u], axis=1), w, lam, nu)
    end = _local(lambda v: staged.terminal(v, p), after[-1], lambda *_: (last_lam, last_nu), weight, at_end)
    join = lambda own, last: stages.join(jnp.concatenate([own[1:, :nx], last[None]]), own[:, nx:])
    gradient = join(at.gradient, end.gradient)
    slope = join(at.slope, end.slope) + stages.join(nu, jnp.zeros_like(u))
    scan = program.scan if isinstance(program.scan, AbstractScan) else Sequential()
    return Derivatives(f, g, h, gradient, slope, _stage_model(staged, scan, at, end, is_bounded))


def _stage_model(staged: Staged, scan: AbstractScan, at: _Local, end: _Local, is_bounded: bool) -> StageModel:
    """The model from the derivatives of all stages. Stage 0 has no state: `x_0` is given."""
    nx = staged.stages.nx
    drop = lambda blocks: blocks.at[0].set(0.0)
    even = lambda blocks: 0.5 * (blocks + blocks.mT)
    H = even(jnp.concatenate([drop(at.hessian[:, :nx, :nx]), end.hessian[None]]))
    S, R = drop(at.hessian[:, nx:, :nx]), even(at.hessian[:, nx:, nx:])
    lq = LQ(H, S, R, drop(at.second[:, :, :nx]), at.second[:, :, nx:])
    Gx, Gu = drop(at.first[:, :, :nx]), at.first[:, :, nx:]
    return StageModel(staged.stages, scan, lq, Gx, Gu, end.first, end.second, is_bounded)


def largest_by_rows(program: FlatProgram, x: Vector, p: Any) -> tuple[tuple[Array, Array, Array], Array]:
    """The values, and the largest derivative of the objective and of every row in absolute value."""
    if program.structure is None:
        stacked = lambda x: (lambda parts: (_joined(parts), parts))(program.functions(x, p))
        n_rows = 1 + program.n_ineq + program.n_eq
        rows, values = (jax.jacrev if n_rows < program.size else jax.jacfwd)(stacked, has_aux=True)(x)
        return values, jnp.max(jnp.abs(rows), axis=1, initial=0.0)
    none = lambda g, h: (jnp.zeros_like(g), jnp.zeros_like(h))
    at = derivatives(program, x, p, none, jnp.ones((), x.dtype), False)
    assert isinstance(at.model, StageModel)
    g, h = at.model.largest_by_rows()
    return (at.f, at.g, at.h), _joined((jnp.max(jnp.abs(at.gradient), initial=0.0), g, h))


def _joined(parts: tuple[Scalar, Array, Array]) -> Array:
    f, g, h = parts
    return jnp.concatenate([f[None], g, h])
