"""What the designs of linear quadratic regulators share: a linear model, weights, set points."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Bool, Float

from sciml.core import as_floats, cholesky, invalid, one_at_a_time, wrong_type
from sciml.systems import (
    AbstractContinuousSystem,
    AbstractDiscreteSystem,
    LinearContinuous,
    LinearDiscrete,
    linearise,
)

_qr, _pinv = one_at_a_time(jnp.linalg.qr), one_at_a_time(jnp.linalg.pinv)


class Equilibrium(eqx.Module):
    """A state and an input at which a system rests, and its output there."""

    x: Float[Array, " x"]
    u: Float[Array, " u"]
    y: Float[Array, " y"]


class Targets(eqx.Module):
    """The equilibrium for each set point: `x_s = x + X (w - y)`, `u_s = u + U (w - y)`."""

    X: Float[Array, "x y"]
    U: Float[Array, "u y"]


class Weights(eqx.Module):
    """The cost `xᵀ Q x + uᵀ R u + 2 xᵀ S u` of a step."""

    Q: Float[Array, "x x"]
    R: Float[Array, "u u"]
    S: Float[Array, "x u"]


def model_of(plant: Any, x: ArrayLike | None, u: ArrayLike | None) -> tuple[Any, Equilibrium]:
    """The linear model of a plant at an equilibrium, zero for a linear plant unless given."""
    if not isinstance(plant, AbstractContinuousSystem | AbstractDiscreteSystem):
        fix = "pass a system, such as `systems.LinearDiscrete(A, B)`"
        raise wrong_type("plant", repr(plant), "a continuous or a discrete system", fix)
    if isinstance(plant, LinearContinuous | LinearDiscrete):
        model, dtype = plant, plant.A.dtype
        at = [
            jnp.zeros(size, dtype) if value is None else as_floats(value, name)
            for name, value, size in zip("xu", (x, u), plant.B.shape, strict=True)
        ]
        for name, value, size in zip("xu", at, plant.B.shape, strict=True):
            if value.shape != (size,):
                raise invalid(name, f"shape {value.shape}", f"({size},)", "give one number per entry")
    elif x is None or u is None:
        fix = "give the equilibrium at which to linearise, `x=` and `u=`"
        raise invalid("x" if x is None else "u", None, f"a vector at which {type(plant).__name__} rests", fix)
    else:
        at = [as_floats(x, "x"), as_floats(u, "u")]
        model = linearise(plant, *at)
    rate, y = _rest(plant, *at)
    if not isinstance(rate, Tracer):
        allowed = float(jnp.finfo(rate.dtype).eps) ** (1 / 3) * (1 + np.max(np.abs(np.asarray(at[0]))))
        if not np.max(np.abs(np.asarray(rate))) <= allowed:
            fix = "find an equilibrium first, for instance by `optimistix.root_find`"
            raise invalid("x, u", f"a point that moves by {np.asarray(rate)}", "an equilibrium of the plant", fix)
    return model, Equilibrium(at[0], at[1], y)


@eqx.filter_jit
def _rest(plant: Any, x: Array, u: Array) -> tuple[Array, Array]:
    """How far a point is from rest, and its output."""
    t = jnp.zeros((), x.dtype)
    if isinstance(plant, AbstractContinuousSystem):
        return plant.vector_field(t, x, u), plant.output(t, x, u)
    return plant.step(t, x, u) - x, plant.output(t, x, u)


def check_discrete(plant: Any, what: str) -> None:
    """Raise if the plant is in continuous time."""
    if isinstance(plant, AbstractContinuousSystem):
        fix = "sample it: `systems.discretise(plant, RK4(), dt=...)`, or `Exact()` for a linear one"
        raise wrong_type(
            "plant", f"{type(plant).__name__}, in continuous time", f"a system in discrete time for `{what}`", fix
        )


def as_weight(value: ArrayLike, size: int, argument: str, dtype: Any) -> Float[Array, "n n"]:
    """A weight from one number, one per entry, or a symmetric matrix."""
    array = as_floats(value, argument).astype(dtype)
    if array.shape not in ((), (size,), (size, size)):
        expected = f"a number, ({size},) or ({size}, {size})"
        raise invalid(argument, f"shape {array.shape}", expected, "give one weight per entry, or a matrix")
    matrix = array if array.ndim == 2 else array * jnp.eye(size, dtype=dtype)
    if isinstance(matrix, Tracer):
        return matrix
    values = np.asarray(matrix, float)
    if not np.all(np.isfinite(values)):
        raise invalid(argument, values.tolist(), "finite weights", "look for NaN in it")
    if np.max(np.abs(values - values.T), initial=0.0) > _slack(dtype) * np.max(np.abs(values), initial=0.0):
        fix = "the cost of `W` is that of `(W + W.T) / 2`: pass that"
        raise invalid(argument, f"a matrix that is not symmetric, {values.tolist()}", "a symmetric weight", fix)
    return matrix


def _slack(dtype: Any) -> float:
    """What rounding may do to weights that are made by products."""
    return float(jnp.finfo(dtype).eps) ** 0.75


def as_weights(Q: ArrayLike, R: ArrayLike, S: ArrayLike | None, model: Any) -> Weights:
    """The weights of a regulator; raises outside `jit` where they are not those of a convex cost."""
    (n, m), dtype = model.B.shape, model.A.dtype
    q, r = as_weight(Q, n, "Q", dtype), as_weight(R, m, "R", dtype)
    s = jnp.zeros((n, m), dtype) if S is None else as_floats(S, "S").astype(dtype)
    if s.shape != (n, m):
        raise invalid("S", f"shape {s.shape}", f"({n}, {m})", "give one row per state and one column per input")
    if _least(r) <= 0:
        fix = "give every input a weight > 0, however small"
        raise invalid("R", f"a least eigenvalue of {_least(r):.3g}", "a positive definite weight", fix)
    if _is_indefinite(q):
        fix = "check the sign of its entries; off the diagonal they may not exceed the geometric mean of the two on it"
        raise invalid("Q", f"a least eigenvalue of {_least(q):.3g}", "a positive semidefinite weight", fix)
    weights = Weights(q, r, s)
    if S is not None and _is_indefinite(_whole(weights)):
        got = f"a least eigenvalue of {_least(_whole(weights)):.3g} of [[Q, S], [S.T, R]]"
        raise invalid("S", got, "a positive semidefinite block matrix", "make `S` smaller, or `Q` and `R` larger")
    return weights


def _whole(weights: Weights) -> Float[Array, "n n"]:
    return jnp.block([[weights.Q, weights.S], [weights.S.T, weights.R]])


def _least(matrix: Array) -> float:
    """The least eigenvalue of a matrix, on the host; infinity where it is not known, or has no entries."""
    if isinstance(matrix, Tracer):
        return float("inf")
    values = np.asarray(matrix, float)
    return float(np.min(np.linalg.eigvalsh(0.5 * (values + values.T)), initial=np.inf))


def _is_indefinite(matrix: Array) -> bool:
    """Whether an eigenvalue is below zero by more than rounding; false where the matrix is not known."""
    least = _least(matrix)
    return least < 0 and least < -_slack(matrix.dtype) * float(np.linalg.norm(np.asarray(matrix, float)))


def is_convex(weights: Weights) -> Bool[Array, ""]:
    """Whether the cost of a step is convex, up to rounding."""
    whole = jax.lax.stop_gradient(_whole(weights))
    shift = _slack(whole.dtype) * jnp.linalg.norm(whole) * jnp.eye(whole.shape[0], dtype=whole.dtype)
    return jnp.all(jnp.isfinite(cholesky(0.5 * (whole + whole.T) + shift)))


def targets(model: LinearContinuous | LinearDiscrete) -> Targets:
    """The equilibria whose outputs are nearest to unit set points; of several, those of the least norm of `[x, u]`.

    Equilibria are the null space of `E = [A - I, B]` (`[A, B]` in continuous time), onto which `Π` projects. With
    `F = [C, D]`, the least-squares solution of `F Π z = w` is `z = (F Π)⁺ w`. `E` has full rank for every plant that a
    feedback can stabilise.
    """
    n, m = model.B.shape
    rest = jnp.eye(n, dtype=model.A.dtype) if isinstance(model, LinearDiscrete) else jnp.zeros_like(model.A)
    basis, _ = _qr(jnp.concatenate([model.A - rest, model.B], axis=1).T)
    F = jnp.concatenate([model.C, model.D], axis=1)
    F = F - (F @ basis) @ basis.T
    both = _pinv(F)
    both = both - basis @ (basis.T @ both)
    return Targets(both[:n], both[n:])


def reference(w: Any, at: Equilibrium) -> Array:
    """`w - y`, the change of the set point from the equilibrium; raises for another shape."""
    w = jnp.asarray(w)
    if w.shape != at.y.shape:
        fix = "give `C` a row for each output with a reference, or pass None to regulate to the equilibrium"
        raise invalid("w", f"a reference of shape {w.shape}", f"{at.y.shape}, one number per output of the plant", fix)
    return w - at.y


def finite(tree: Any, exists: Array) -> Any:
    """`tree`, zero where the design has failed."""
    return jax.tree.map(lambda a: jnp.where(exists & jnp.all(jnp.isfinite(a)), a, 0.0), tree)
