"""The default derivative of solutions, as an Optimistix adjoint."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import optimistix as optx
from jaxtyping import PyTree

from ..core import is_successful
from ._sensitivity import AbstractSensitivity, ActiveSet, check_sensitivity, conditions, tangent


class KKTAdjoint(optx.AbstractAdjoint):
    """The default derivative of `solve`, by the implicit function theorem on the KKT conditions; safe in batches.

    It equals the derivative of `optimistix.ImplicitAdjoint()`, with linear algebra that exploits the structure of the
    program. A singular system gives a finite derivative instead of an exception. A failed instance gives zero, and
    `stats.has_derivative` is then false. Works in forward and reverse mode, and for higher derivatives.

    Args:
        sensitivity: `ActiveSet()` for the exact derivative, `Smoothed(mu)` for one that is smooth across changes of the
            active set, `LeastNorm()` where active constraints are linearly dependent.

    Raises:
        TypeError: if `sensitivity` is not an `AbstractSensitivity`.
    """

    sensitivity: AbstractSensitivity = ActiveSet()

    def __check_init__(self) -> None:
        check_sensitivity(self.sensitivity)

    def apply(self, primal_fn: Callable, rewrite_fn: Callable, inputs: PyTree, tags: frozenset[object]) -> PyTree:
        """Runs `primal_fn` and attaches the derivative of the program in `inputs`; `rewrite_fn` is not needed."""
        del rewrite_fn, tags
        loop = jtu.Partial(eqxi.while_loop, kind="lax")
        root, rest = _implicit((*inputs, loop), primal_fn, self.sensitivity)
        return root, jtu.tree_map(eqxi.nondifferentiable_backward, rest)


@eqx.filter_custom_jvp
def _implicit(inputs: Any, primal_fn: Any, sensitivity: Any) -> Any:
    del sensitivity
    return jtu.tree_map(jnp.asarray, primal_fn(inputs))


@_implicit.def_jvp
def _implicit_jvp(primals: Any, tangents: Any) -> Any:
    (inputs, primal_fn, sensitivity), (t_inputs, *_) = primals, tangents
    flat, _, _, p, *_ = inputs
    t_flat, _, _, t_p, *_ = t_inputs
    # The primal function itself again, so that its own derivative is this rule: that makes second derivatives right.
    root, rest = _implicit(inputs, primal_fn, sensitivity)
    ok = is_successful(rest[0])
    n, g = flat.size, flat.n_ineq

    # How the conditions move with the program and the instance, at a decision and multipliers that stand still.
    moving, still = eqx.partition((flat, p), jtu.tree_map(lambda t: t is not None, (t_flat, t_p), is_leaf=_is_none))

    def at(moving: Any) -> Any:
        flat, p = eqx.combine(moving, still)
        x, ineq, eq = jnp.split(root, [n, n + g])
        return conditions(flat, x, ineq, eq, p)

    _, moved = jax.jvp(at, (moving,), ((t_flat, t_p),))
    along, witness = tangent(flat, sensitivity, root, p, moved, ok)
    # Whatever is computed from the solution waits for this factorisation: the next derivative's own one, which LAPACK
    # must not run beside it (decision 2), and a health report's.
    root = jnp.where(jax.lax.stop_gradient(witness) < 0, 0.0, root)
    return (root, rest), (along, jtu.tree_map(lambda _: None, rest))


def _is_none(x: Any) -> bool:
    return x is None
