"""Matrix-free minimisation within bounds, as an Optimistix minimiser."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Bool, Float, Int, Scalar, ScalarLike

Vector = Float[Array, " n"]

_ARMIJO = 1e-4
_SHORTER = 0.25  # factor on a step that was refused
_LONGER = 4.0  # factor on the radius after a good step that it cut short
_MOST_REFUSALS = 20
_PROBES = 4  # products with the Hessian that estimate its rows' norms
_NEAR = 1e-3  # farthest distance at which a bound that the gradient points to counts as reached


class ProjectedNewtonState(eqx.Module):
    """The last accepted point's value and gradient, and the step that is tried from it."""

    f: Scalar
    gradient: Vector
    step: Vector
    length: Scalar
    """Of the step, as a factor."""
    radius: Scalar
    slope: Scalar
    """The largest entry of the projected gradient."""
    refusals: Int[Array, ""]
    """Steps in a row that were refused."""
    cut: Bool[Array, ""]
    """Whether the radius ended the step."""
    is_first: Bool[Array, ""]


class ProjectedNewton(optx.AbstractMinimiser):
    """A matrix-free Newton method for minimisation within bounds, by truncated conjugate gradients.

    Choose it as `inner` of `AugmentedLagrangian`, or as an `optimistix.AbstractMinimiser` over one vector. It takes the
    `options` `lower` and `upper` (vectors, infinite where there is no bound) and `tol` (in place of `atol`).

    Entries at a bound that the gradient pushes outwards stay fixed. For the others, conjugate gradients compute a
    Newton step, until it is accurate enough, reaches the trust radius, or meets a direction of negative curvature,
    which it follows to the radius. The step is shortened along its projection onto the bounds until the function
    decreases.

    Args:
        atol: largest entry of the projected gradient at which it stops.
        cg_steps: largest number of conjugate-gradient iterations per step; each is one Hessian-vector product.

    Source: Bertsekas (1982), Projected Newton methods for optimization problems with simple constraints, DOI
    10.1137/0320018, for the set of bounds that count as active; Steihaug (1983), The conjugate gradient method and
    trust regions in large scale optimization, DOI 10.1137/0720042; Nocedal & Yuan (1998), Combining trust region and
    line search techniques, DOI 10.1007/978-1-4613-3335-7_7, for steps that are shortened instead of computed anew.
    """

    rtol: float
    atol: ScalarLike
    norm: Callable[[Any], Scalar]
    cg_steps: int = eqx.field(static=True)

    def __init__(self, atol: ScalarLike = 1e-8, cg_steps: int = 100):
        self.rtol, self.norm = 0.0, optx.max_norm
        self.atol, self.cg_steps = atol, cg_steps

    def init(
        self, fn: Callable, y: Vector, args: Any, options: dict[str, Any], f_struct: Any, aux_struct: Any, tags: Any
    ) -> ProjectedNewtonState:
        """The initial state; the first step evaluates the start."""
        zero, huge = jnp.zeros((), y.dtype), jnp.full((), jnp.inf, y.dtype)
        none, no = jnp.zeros_like(y), jnp.asarray(False)
        return ProjectedNewtonState(huge, none, none, zero + 1.0, huge, huge, jnp.asarray(0), no, ~no)

    def step(
        self, fn: Callable, y: Vector, args: Any, options: dict[str, Any], state: ProjectedNewtonState, tags: Any
    ) -> tuple[Vector, ProjectedNewtonState, Any]:
        """Accepts or rejects the trial step; after acceptance, computes the next one."""
        lower, upper = _limits(options, y)
        dtype = y.dtype
        trial = jnp.clip(y + state.length * state.step, lower, upper)
        value_and_slope = jax.value_and_grad(lambda v: fn(v, args), has_aux=True)

        def slope_at(v: Vector) -> tuple[Vector, tuple[Scalar, Any]]:
            (f, aux), gradient = value_and_slope(v)
            return gradient, (f, aux)

        gradient, curvature, (f, aux) = jax.linearize(slope_at, trial, has_aux=True)
        slope = projected(trial, gradient, lower, upper)
        finite = jnp.isfinite(f) & jnp.isfinite(slope)
        noise = 10 * jnp.finfo(dtype).eps * jnp.abs(state.f)
        falls = f <= state.f + _ARMIJO * jnp.minimum(state.gradient @ (trial - y), 0.0)
        # Where rounding hides the decrease, the gradient shows it (Hager & Zhang 2005, DOI 10.1137/030601880).
        flattens = (f <= state.f + noise) & (slope < state.slope)
        accepted = (finite & (falls | flattens)) | state.is_first

        weight = _weights(curvature, trial)
        moved = jnp.sqrt(weight @ (trial - y) ** 2)
        longer = jnp.where(state.cut & (state.length == 1.0), _LONGER * state.radius, state.radius)
        radius = jnp.where(state.length < 1.0, 2.0 * moved, longer)
        radius = jnp.where(state.is_first, jnp.sqrt(gradient**2 @ (1.0 / weight)), radius)
        radius = jnp.clip(radius, jnp.finfo(dtype).eps, 1.0 / jnp.finfo(dtype).eps)

        tol = jnp.asarray(options.get("tol", self.atol), dtype)
        skip = ~accepted | ~finite | (slope <= tol)
        model = (curvature, weight, radius)
        step, cut = _direction(model, trial, gradient, (lower, upper), 0.1 * tol, self.cg_steps, skip)
        new = ProjectedNewtonState(
            f, gradient, step, jnp.ones((), dtype), radius, slope, jnp.asarray(0), cut, jnp.asarray(False)
        )
        old = eqx.tree_at(lambda s: (s.length, s.refusals), state, (_SHORTER * state.length, state.refusals + 1))
        pick = lambda a, b: jnp.where(accepted, a, b)
        return pick(trial, y), jax.tree.map(pick, new, old), aux

    def terminate(
        self, fn: Callable, y: Vector, args: Any, options: dict[str, Any], state: ProjectedNewtonState, tags: Any
    ) -> tuple[Bool[Array, ""], optx.RESULTS]:
        """Whether the projected gradient is small, or no step is accepted any more."""
        tol = jnp.asarray(options.get("tol", self.atol), y.dtype)
        stuck = (state.refusals >= _MOST_REFUSALS) | (~state.is_first & ~jnp.isfinite(state.f))
        result = optx.RESULTS.where(stuck, optx.RESULTS.nonlinear_divergence, optx.RESULTS.successful)
        return (state.slope <= tol) | stuck, result

    def postprocess(
        self,
        fn: Callable,
        y: Vector,
        aux: Any,
        args: Any,
        options: dict[str, Any],
        state: ProjectedNewtonState,
        tags: Any,
        result: optx.RESULTS,
    ) -> tuple[Vector, Any, dict[str, Any]]:
        """The result, unchanged."""
        return y, aux, {}


def projected(y: Vector, gradient: Vector, lower: Vector, upper: Vector) -> Scalar:
    """The largest entry of `y - proj(y - gradient)`: zero where `y` is stationary within the bounds."""
    return jnp.max(jnp.abs(y - jnp.clip(y - gradient, lower, upper)), initial=0.0)


def _limits(options: dict[str, Any], y: Vector) -> tuple[Vector, Vector]:
    lower = jnp.broadcast_to(jnp.asarray(options.get("lower", -jnp.inf), y.dtype), y.shape)
    return lower, jnp.broadcast_to(jnp.asarray(options.get("upper", jnp.inf), y.dtype), y.shape)


def _weights(curvature: Callable, y: Vector) -> Vector:
    """About the norm of each row of the Hessian: the units in which steps are measured, and a preconditioner.

    The root mean square of products with directions that are fixed and equidistributed (as Hutchinson 1990, DOI
    10.1080/03610919008812866, estimates a diagonal), between 1e-6 times the largest, and it.
    """
    rows = jnp.sqrt(jnp.mean(jax.vmap(curvature)(directions(y, _PROBES)) ** 2, axis=0))
    largest = jnp.max(jnp.where(jnp.isfinite(rows), rows, 0.0), initial=0.0)
    largest = jnp.where(largest > 0, largest, 1.0)
    return jnp.clip(jnp.where(jnp.isfinite(rows), rows, largest), 1e-6 * largest, largest)


def directions(like: Vector, count: int) -> Float[Array, "k n"]:
    """Fixed directions with entries of unit variance: `√2 cos(2π i √prime)`."""
    roots = jnp.sqrt(jnp.asarray([2.0, 3.0, 5.0, 7.0, 11.0, 13.0][:count], like.dtype))
    turns = jnp.arange(1, like.size + 1).astype(like.dtype) * roots[:, None]
    return (2.0**0.5 * jnp.cos(2.0 * jnp.pi * (turns - jnp.floor(turns)))).astype(like.dtype)


def _direction(
    model: tuple[Callable, Vector, Scalar], y: Vector, gradient: Vector, limits: tuple[Vector, Vector], floor: Scalar,
    most: int, skip: Bool[Array, ""],
) -> tuple[Vector, Bool[Array, ""]]:  # fmt: skip
    """A truncated Newton step in the entries that are free to move, and whether the radius cut it."""
    (curvature, weight, radius), (lower, upper) = model, limits
    near = jnp.minimum(_NEAR, projected(y, gradient, lower, upper))
    at_lower = (y - lower <= near) & (gradient > 0)
    at_upper = (upper - y <= near) & (gradient < 0)
    free = ~(at_lower | at_upper)
    onto = jnp.where(at_lower, lower - y, jnp.where(at_upper, upper - y, 0.0))
    mask = lambda v: jnp.where(free, v, 0.0)
    inner = lambda a, b: a @ (weight * b)
    safe = lambda v: jnp.where(v > 0, v, 1.0)
    r = -mask(gradient)
    size = jnp.linalg.norm(r)
    # Superlinear: the smaller the gradient, the better the step.
    target = jnp.maximum(jnp.minimum(0.1, jnp.sqrt(size)) * size, floor)

    def going(carry: Any) -> Array:
        _, r, _, count, ended, _ = carry
        return ~ended & (r @ r > target**2) & (count < most)

    def go(carry: Any) -> Any:
        d, r, q, count, _, _ = carry
        Hq = mask(curvature(q))
        bend, rr = q @ Hq, r @ (r / weight)
        flat = ~(bend > jnp.finfo(y.dtype).eps * inner(q, q))
        alpha = rr / jnp.where(flat, 1.0, bend)
        far = inner(d + alpha * q, d + alpha * q) >= radius**2
        leave = flat | far
        # To the radius: |d + τ q| = radius with τ > 0, without cancellation.
        a, b, c = inner(q, q), inner(d, q), jnp.maximum(radius**2 - inner(d, d), 0.0)
        root = jnp.sqrt(b**2 + a * c)
        tau = jnp.where(b > 0, c / safe(b + root), (root - b) / safe(a))
        d = d + jnp.where(leave, tau, alpha) * q
        r = r - jnp.where(leave, 0.0, alpha) * Hq
        return d, r, r / weight + (r @ (r / weight)) / safe(rr) * q, count + 1, leave, leave

    start = (jnp.zeros_like(y), r, r / weight, jnp.asarray(0), skip, jnp.asarray(False))
    d, _, _, _, _, cut = jax.lax.while_loop(going, go, start)
    return d + onto, cut
