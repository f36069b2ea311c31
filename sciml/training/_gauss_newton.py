"""Levenberg-Marquardt on the normal equations, for dynamical models and for many starts at once."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
import optimistix as optx
from jaxtyping import Array, Bool, Float, PyTree, Scalar, ScalarLike

from ..core import ravel


class LMState(eqx.Module):
    """The accepted point's cost, gradient and Gauss-Newton matrix, and the damping."""

    trial: Float[Array, " n"]
    cost: Scalar
    gradient: Float[Array, " n"]
    matrix: Float[Array, "n n"]
    damping: Scalar
    decrease: Scalar
    """Relative decrease of the cost in the last accepted step."""
    rejected: Scalar
    """Steps rejected in a row."""


class LevenbergMarquardt(optx.AbstractLeastSquaresSolver):
    """Levenberg-Marquardt with the normal matrix `JᵀJ` only: small models, long records, many starts.

    One evaluation of residuals and Jacobian per step. The Jacobian comes from forward derivatives, one for each group
    of parameters that never share a residual if the loss declares its `sparsity`, and is not kept. A trial that is
    worse or not finite is rejected by that start alone, so that starts which diverge do not disturb the others.
    Choose `optimistix.LevenbergMarquardt` (QR of `J`) where the Jacobian is badly conditioned and single.

    Args:
        rtol: stop when the relative decrease of the cost stays below this.
        atol: stop when the gradient's largest entry falls below this.
        damping: first value of λ, relative to the diagonal of `JᵀJ` (Marquardt's scaling).
        longest: largest change of one parameter in one step, in the parameter's own unit.

    Source: Marquardt (1963), An algorithm for least-squares estimation of nonlinear parameters, DOI 10.1137/0111030;
    Nocedal & Wright (2006), section 10.3.
    """

    rtol: float = 1e-10
    atol: float = 1e-12
    norm: Callable[[PyTree], Scalar] = eqx.field(static=True, default=optx.max_norm)
    damping: ScalarLike = 0.1
    longest: ScalarLike = jnp.inf

    def init(
        self, fn: Any, y: Any, args: Any, options: dict[str, Any], f_struct: Any, aux_struct: Any, tags: Any
    ) -> LMState:
        """Nothing is evaluated yet: the first step accepts `y` itself."""
        flat, _ = ravel(y)
        n, one = flat.size, jnp.ones((), flat.dtype)
        damping = jnp.asarray(4 * self.damping, flat.dtype)  # the first accepted point divides it by 4
        return LMState(
            flat, jnp.inf * one, jnp.zeros_like(flat), jnp.eye(n, dtype=flat.dtype),
            damping, jnp.inf * one, 0 * one,
        )  # fmt: skip

    def step(self, fn: Any, y: Any, args: Any, options: dict[str, Any], state: LMState, tags: Any) -> Any:
        """Evaluates the pending trial, accepts or rejects it, and proposes the next."""
        flat, unravel = ravel(y)
        cost, gradient, matrix, aux = _normal_equations(fn, state.trial, unravel, args, options.get("sparsity"))
        finite = jnp.isfinite(cost) & jnp.all(jnp.isfinite(gradient)) & jnp.all(jnp.isfinite(matrix))
        accept = finite & (cost < state.cost)
        pick = lambda new, old: jnp.where(accept, new, old)
        flat, gradient, matrix = pick(state.trial, flat), pick(gradient, state.gradient), pick(matrix, state.matrix)
        decrease = (state.cost - cost) / jnp.maximum(jnp.abs(state.cost), jnp.finfo(flat.dtype).tiny)
        decrease = pick(jnp.where(jnp.isfinite(state.cost), decrease, jnp.inf), state.decrease)
        cost = pick(cost, state.cost)
        damping = pick(jnp.maximum(state.damping / 4, 1e-9), jnp.minimum(state.damping * 4, 1e9))
        # (JᵀJ + λ diag(JᵀJ)) d = -Jᵀr
        diagonal = jnp.diagonal(matrix)
        diagonal = diagonal + 1e-6 * jnp.max(diagonal) + jnp.finfo(flat.dtype).tiny
        factor = jsl.cho_factor(matrix + damping * jnp.diag(diagonal))
        step = -jsl.cho_solve(factor, gradient)
        longest = jnp.asarray(self.longest, flat.dtype)
        step = jnp.clip(jnp.where(jnp.isfinite(step), step, 0.0), -longest, longest)
        rejected = jnp.where(accept, 0.0, state.rejected + 1.0)
        state = LMState(flat + step, cost, gradient, matrix, damping, decrease, rejected)
        return unravel(flat), state, aux

    def terminate(
        self, fn: Any, y: Any, args: Any, options: dict[str, Any], state: LMState, tags: Any
    ) -> tuple[Bool[Array, ""], Any]:
        """Stops at a flat gradient, at a vanishing decrease, or when no damping helps."""
        evaluated = jnp.isfinite(state.cost)
        flat = jnp.max(jnp.abs(state.gradient), initial=0.0) <= self.atol
        slow = (state.decrease <= self.rtol) & (state.rejected == 0)
        stuck = state.rejected > 15
        return (evaluated & (flat | slow)) | stuck, optx.RESULTS.successful

    def postprocess(
        self, fn: Any, y: Any, aux: Any, args: Any, options: Any, state: LMState, tags: Any, result: Any
    ) -> Any:
        """Hands out the Gauss-Newton matrix and the cost: a covariance needs nothing more."""
        return y, aux, {"cost": state.cost, "matrix": state.matrix}


def _normal_equations(fn: Any, flat: Array, unravel: Any, args: Any, sparsity: Any) -> Any:
    """`½‖r‖²`, `Jᵀr`, `JᵀJ`."""

    def residual(flat: Array) -> tuple[Array, Any]:
        r, aux = fn(unravel(flat), args)
        return ravel(r)[0], aux

    if sparsity is None:
        seeds = jnp.eye(flat.size, dtype=flat.dtype)
    else:
        groups = sparsity.groups
        seeds = (jnp.arange(sparsity.n_groups)[:, None] == groups[None, :]).astype(flat.dtype)
    r, push, aux = jax.linearize(residual, flat, has_aux=True)
    columns = jax.vmap(push)(seeds)
    if sparsity is not None:
        # Each column is its group's derivative, masked to the rows that it touches.
        columns = columns[sparsity.groups] * jnp.asarray(sparsity.pattern.T, flat.dtype)
    return 0.5 * jnp.sum(r**2), columns @ r, columns @ columns.T, aux
