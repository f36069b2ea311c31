"""Levenberg-Marquardt from a handful of parameters to tens of thousands, for one start or many."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import optimistix as optx
from jaxtyping import Array, Bool, Float, Int, PyTree, Scalar, ScalarLike

from ..core import invalid, ravel, wrong_type
from ..losses import Samples, Sparsity
from ._damped import dense_steps, EIGEN, krylov_steps, predicted
from ._jacobian import Residuals, System

_FEW = 64  # parameters up to which a Jacobian costs about as much as an evaluation of the residuals
_LADDER = (0.1, 1.0, 10.0, 100.0)  # dampings tried on one factorisation, relative to the last one
_DAMPINGS = (1e-10, 1e10)


class LMState(eqx.Module):
    """The Gauss-Newton model at the accepted point, and the damping."""

    system: System
    damping: Scalar
    growth: Scalar
    """Factor of the damping at the next rejection."""
    decrease: Scalar
    """Relative decrease of the cost in the last accepted step."""
    rejected: Int[Array, ""]
    """Steps rejected in a row."""
    products: Int[Array, ""]
    """Products with `JᵀJ` so far; 0 where the matrix is formed."""


class LevenbergMarquardt(optx.AbstractLeastSquaresSolver):
    """Levenberg-Marquardt for small models, networks, long records and many starts.

    Choose it for every least-squares fit of this library. The Jacobian is computed in chunks that keep within `memory`,
    by what the loss declares: the rows of one sample at a time (`losses.MeanSquares`), one forward derivative for each
    group of parameters that never share a residual (`losses.Sparsity`), else columns by forward or rows by reverse
    mode. The linear system has one of three forms:

    * few parameters: `JᵀJ`, by Cholesky;
    * fewer residuals than parameters: `J D⁻¹ Jᵀ`, the same step from the smaller matrix;
    * both numbers above `dense_up_to`, or a matrix beyond the memory: conjugate gradients with products `JᵀJ v`,
      preconditioned by `D`, the diagonal of `JᵀJ`.

    Above 64 parameters, trial steps are judged by the residuals before a Jacobian is computed; up to 256 parameters (or
    residuals, if fewer), and with conjugate gradients, four dampings are tried on one factorisation. A trial that is
    worse or not finite is rejected by that start alone, so that under `vmap` starts which diverge do not disturb the
    others. `optimistix.LevenbergMarquardt` (QR of `J`) is the alternative for a single, badly conditioned Jacobian.

    Args:
        rtol: stop when the relative decrease of the cost stays below this.
        atol: stop when the gradient's largest entry falls below this.
        damping: first value of λ, relative to the diagonal of `JᵀJ` (Marquardt's scaling).
        longest: largest change of one parameter in one step, in the parameter's own unit.
        memory: bytes for Jacobian, normal matrix and intermediate values, > 0. Intermediate values are estimated from
            above by all values that the residuals compute.
        dense_up_to: largest matrix to factor, >= 0.
        cg_rtol: conjugate gradients end when the scaled residual is this small, relative to the gradient, >= 0.
        cg_steps: most products `JᵀJ v` for a step.

    Raises:
        ValueError: `memory` or `cg_steps` not positive, `dense_up_to` or `cg_rtol` negative.
        TypeError: `memory` is no number.

    Examples:
        A straight line through three points:

        ```python
        import jax
        import jax.numpy as jnp

        import sciml
        from sciml.losses import MeanSquares
        from sciml.training import LevenbergMarquardt

        loss = MeanSquares(lambda line, point: line[0] + line[1] * point[0] - point[1])
        points = (jnp.array([0.0, 1.0, 2.0]), jnp.array([1.0, 2.0, 3.0]))
        key = jax.random.key(0)
        fitted = sciml.fit(jnp.zeros(2), loss, points, LevenbergMarquardt(), steps=30, key=key, progress=False)
        assert jnp.allclose(fitted.value, jnp.array([1.0, 1.0]), atol=1e-4)
        ```

    Source: Marquardt (1963), An algorithm for least-squares estimation of nonlinear parameters, DOI 10.1137/0111030;
    the damping follows the ratio of actual and predicted decrease as in Nielsen (1999), Damping parameter in
    Marquardt's method, IMM-REP-1999-05, equation (2.5), but falls by up to ten; Nocedal & Wright (2006), section 10.3.
    """

    rtol: float = 1e-10
    atol: float = 1e-12
    norm: Callable[[PyTree], Scalar] = eqx.field(static=True, default=optx.max_norm)
    damping: ScalarLike = 0.1
    longest: ScalarLike = jnp.inf
    memory: float | int = eqx.field(static=True, default=2**31)
    dense_up_to: int = eqx.field(static=True, default=4096)
    cg_rtol: float = eqx.field(static=True, default=1e-2)
    cg_steps: int = eqx.field(static=True, default=200)

    def __check_init__(self) -> None:
        if not isinstance(self.memory, int | float):
            raise wrong_type("memory", repr(self.memory), "a number of bytes", "write 2 GiB as `2**31`")
        if not self.memory > 0:
            raise invalid("memory", self.memory, "a positive number of bytes", "leave it at its default, 2 GiB")
        if self.cg_steps < 1:
            raise invalid("cg_steps", self.cg_steps, "an integer >= 1", "leave it at its default")
        for name in ("dense_up_to", "cg_rtol"):
            if not getattr(self, name) >= 0:
                raise invalid(name, getattr(self, name), "a number >= 0", "leave it at its default")

    def init(
        self, fn: Any, y: Any, args: Any, options: dict[str, Any], f_struct: Any, aux_struct: Any, tags: Any
    ) -> LMState:
        """Nothing is evaluated yet: the first step is zero and leads to `y` itself."""
        flat, _ = ravel(y)
        m, n = sum(leaf.size for leaf in jtu.tree_leaves(f_struct)), flat.size
        shape = {"normal": (n, n), "dual": (m, n + 1)}.get(self._form(m, n, flat.dtype))
        zeros = jnp.zeros(n, flat.dtype)
        one = jnp.ones((), flat.dtype)
        # The unit diagonal keeps the first, empty system regular.
        matrix = None if shape is None else jnp.zeros(shape, flat.dtype)
        system = System(jnp.inf * one, zeros, matrix, jnp.ones_like(zeros))
        damping = jnp.asarray(self.damping, flat.dtype)
        return LMState(system, damping, 4.0 * one, jnp.inf * one, jnp.asarray(0), jnp.asarray(0))

    def step(self, fn: Any, y: Any, args: Any, options: dict[str, Any], state: LMState, tags: Any) -> Any:
        """Proposes steps, evaluates the best, and accepts or rejects it."""
        flat, unravel = ravel(y)
        problem = self._problem(fn, flat, unravel, args, options)
        form, system = self._form(*problem.shape, flat.dtype), state.system
        dampings = jnp.clip(state.damping * jnp.asarray(_ladder(form, *problem.shape), flat.dtype), *_DAMPINGS)
        if form == "free":
            product = problem.product(flat)
            steps, count = krylov_steps(system, product, dampings, rtol=self.cg_rtol, max_steps=self.cg_steps)
        else:
            steps, count = dense_steps(system, dampings, is_dual=form == "dual"), jnp.asarray(0)
            product = lambda d: _normal_product(system, d)
        longest = jnp.asarray(self.longest, flat.dtype)
        steps = jnp.clip(steps, -longest, longest)
        evaluate = {"normal": problem.normal, "dual": problem.rows, "free": problem.diagonal}[form]
        if flat.size > _FEW:
            # Trials are cheap beside a Jacobian, which is computed only at a point that is better.
            costs = problem.costs(flat + steps)
            costs = jnp.where(jnp.isfinite(costs), costs, jnp.inf)
            best = jnp.argmin(costs)
            at = flat + steps[best]
            new = jax.lax.cond(costs[best] < system.cost, lambda: evaluate(at), lambda: system)
        else:
            best, at = 0, flat + steps[0]
            new = evaluate(at)
        finite = jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jtu.tree_leaves(new)])
        accept = jnp.all(finite) & (new.cost < system.cost)
        expected = predicted(system, steps[best], steps[best] @ product(steps[best]))
        state = _judged(state, new, accept, dampings[best], dampings[-1], expected, state.products + count)
        return unravel(jnp.where(accept, at, flat)), state, None

    def terminate(
        self, fn: Any, y: Any, args: Any, options: dict[str, Any], state: LMState, tags: Any
    ) -> tuple[Bool[Array, ""], Any]:
        """Stops at a flat gradient, at a vanishing decrease, or when no damping helps."""
        evaluated = jnp.isfinite(state.system.cost)
        flat = jnp.max(jnp.abs(state.system.gradient), initial=0.0) <= self.atol
        slow = (state.decrease <= self.rtol) & (state.rejected == 0)
        stuck = (state.rejected > 15) | ((state.rejected > 0) & (state.damping >= _DAMPINGS[1]))
        return (evaluated & (flat | slow)) | stuck, optx.RESULTS.successful

    def postprocess(
        self, fn: Any, y: Any, aux: Any, args: Any, options: Any, state: LMState, tags: Any, result: Any
    ) -> Any:
        """Hands out the cost and, where it was formed, `JᵀJ`: a covariance needs nothing more."""
        n = state.system.gradient.size
        matrix = state.system.matrix
        is_normal = matrix is not None and matrix.shape == (n, n)
        return y, aux, {"cost": state.system.cost, "matrix": matrix if is_normal else None}

    def _form(self, m: int, n: int, dtype: Any) -> str:
        """The linear system: `JᵀJ` ("normal"), `J D⁻¹ Jᵀ` ("dual"), or products only ("free")."""
        form, held = ("dual", 2 * m * n + 3 * m**2) if m < n else ("normal", 4 * n**2)
        is_small = min(m, n) <= self.dense_up_to and held * jnp.dtype(dtype).itemsize <= self.memory
        return form if is_small else "free"

    def _problem(self, fn: Any, flat: Array, unravel: Any, args: Any, options: dict[str, Any]) -> Residuals:
        """The residuals as functions of the flat parameters, with the structure that `options` declares."""
        structure = options.get("structure")
        whole = lambda flat: ravel(fn(unravel(flat), args)[0])[0]
        m, n = jax.eval_shape(whole, flat).size, flat.size
        terms = None
        if isinstance(structure, Samples):
            # The scale comes last: a residual that overflows is not hidden by it.
            one = lambda term: lambda flat, sample: term.scale * ravel(term.function(unravel(flat), sample))[0]
            terms = tuple((one(term), term.data) for term in structure.terms)
        kept = {"normal": 4 * n**2, "dual": m * n + 3 * m**2, "free": 0}[self._form(m, n, flat.dtype)]
        memory = max(self.memory - kept * flat.dtype.itemsize, self.memory / 4)
        sparsity = structure if isinstance(structure, Sparsity) else None
        return Residuals(whole, terms, sparsity, (m, n), memory)


def _ladder(form: str, m: int, n: int) -> tuple[float, ...]:
    """Dampings to try, relative to the last one."""
    is_cheap = form == "free" or min(m, n) <= EIGEN
    return _LADDER if n > _FEW and is_cheap else (1.0,)


def _normal_product(system: System, d: Float[Array, " n"]) -> Float[Array, " n"]:
    """`JᵀJ d` from what the system keeps."""
    assert system.matrix is not None
    if system.matrix.shape[1] == d.size:
        return system.matrix @ d
    J = system.matrix[:, :-1]
    return (J @ d) @ J


def _judged(
    state: LMState, new: System, accept: Bool[Array, ""], used: Scalar, most: Scalar, expected: Scalar, products: Array
) -> LMState:
    """The state after a trial with damping `used`, where `most` is the largest that was tried."""
    before = state.system.cost
    is_first = ~jnp.isfinite(before)
    change = before - new.cost
    # λ ← λ max(1/10, 1 - (2ρ - 1)³), ρ the ratio of actual and expected decrease
    ratio = change / jnp.where(expected > 0, expected, jnp.inf)
    factor = jnp.clip(1 - (2 * ratio - 1) ** 3, 0.1, 2.0)
    damping = jnp.where(accept, jnp.where(is_first, state.damping, used * factor), most * state.growth)
    growth = jnp.where(accept, 4.0, 2 * state.growth).astype(damping.dtype)
    decrease = change / jnp.maximum(jnp.abs(before), jnp.finfo(before.dtype).tiny)
    decrease = jnp.where(accept, jnp.where(is_first, jnp.inf, decrease), state.decrease)
    system = jtu.tree_map(lambda a, b: jnp.where(accept, a, b), new, state.system)
    rejected = jnp.where(accept, 0, state.rejected + 1)
    return LMState(system, jnp.clip(damping, *_DAMPINGS), growth, decrease, rejected, products)
