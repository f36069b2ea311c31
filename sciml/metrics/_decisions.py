"""Optimality gaps and violations of a batch of decisions."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Float, Scalar, ScalarLike

from ..core import as_arrays, batch_size, invalid, is_successful, Solution, Trajectory
from ..programs import AbstractProgram, Program, violation


def suboptimality(
    program: AbstractProgram,
    zs: Any,
    ps: Any,
    exact: Solution,
    *,
    exact_program: AbstractProgram | None = None,
    in_axes: Any = 0,
    floor: ScalarLike = 0.0,
) -> Float[Array, " batch"]:
    """The relative optimality gaps `(f(z) - f(z*)) / max(|f(z*)|, floor)`, one per instance.

    A gap is negative if the decision is cheaper than the exact one. This happens if it is infeasible, or if the exact
    solution is only a local one; so look at `violations` too.

    Args:
        program: whose objective `zs` are judged by.
        zs: decisions, leading axis `batch` on every leaf.
        ps: instances, batched as `in_axes` says.
        exact: batched solution, as `solve_batch` or `vmap` of `solve` gives.
        exact_program: the program that `exact` solves, if it is another one; its objective must be the same quantity.
        in_axes: 0 or None for all of `ps`, or a prefix of it, as in `jax.vmap`.
        floor: smallest denominator, `>= 0`, in the objective's unit; give one if the optimal cost can be zero.

    Returns:
        The gaps. If both `f(z*)` and `floor` are zero, a gap is 0 for equal costs and infinite otherwise.

    Raises:
        ValueError: if leading axes differ, or `exact` has another structure than `zs` and `exact_program` is missing.

    Gradient: differentiable in `zs`, `ps` and `exact.value`, in both modes.
    """
    reference = exact_costs(program, zs, ps, exact, exact_program, in_axes)
    return relative_gaps(costs_and_violations(program, zs, ps, in_axes)[0], reference, floor)


def violations(program: AbstractProgram, zs: Any, ps: Any, *, in_axes: Any = 0) -> Float[Array, " batch"]:
    """The largest violation of any inequality, equality or bound, one per instance, each in its own unit.

    Args:
        program: whose constraints and bounds `zs` are judged by.
        zs: decisions, leading axis `batch` on every leaf.
        ps: instances, batched as `in_axes` says.
        in_axes: 0 or None for all of `ps`, or a prefix of it, as in `jax.vmap`.

    Returns:
        Nonnegative numbers; infinite where a constraint is NaN, and for a `Trajectory` that failed, because its frozen
        state no longer obeys the dynamics.

    Raises:
        ValueError: if the leading axes of `zs` and `ps` differ.

    Gradient: of the largest violation, in both modes; zero where nothing is violated.
    """
    return costs_and_violations(program, zs, ps, in_axes)[1]


def costs_and_violations(
    program: AbstractProgram, zs: Any, ps: Any, in_axes: Any
) -> tuple[Float[Array, " batch"], Float[Array, " batch"]]:
    """`f(z, p)` and the largest violation, for every instance."""
    zs, ps = as_arrays(zs), as_arrays(ps)
    check_instances(ps, in_axes, batch_size(zs, "zs"))
    return _evaluate(program, zs, ps, in_axes)


def exact_costs(
    program: AbstractProgram, zs: Any, ps: Any, exact: Solution, exact_program: AbstractProgram | None, in_axes: Any
) -> Float[Array, " batch"]:
    """`f(z*, p)` for every instance, by the program that `exact` solves."""
    n, found = batch_size(zs, "zs"), batch_size(exact.value, "exact.value")
    if n != found:
        raise invalid("exact", f"{found} solutions", f"one for each of the {n} decisions `zs`", "solve the same `ps`")
    ours, theirs = jtu.tree_structure(zs), jtu.tree_structure(exact.value)
    if exact_program is None and ours != theirs:
        raise invalid(
            "exact",
            f"decisions of structure {theirs}",
            f"the structure of `zs`, {ours}, or the program that `exact` answers",
            "give `exact_program`, for instance `transcribe(problem)` beside `along_trajectory(problem)`",
        )
    check_instances(ps, in_axes, n)
    return _costs(program if exact_program is None else exact_program, exact.value, as_arrays(ps), in_axes)


def relative_gaps(
    cost: Float[Array, " batch"], reference: Float[Array, " batch"], floor: ScalarLike
) -> Float[Array, " batch"]:
    """`(cost - reference) / max(|reference|, floor)`, with a safe value at a zero denominator."""
    size = jnp.maximum(jnp.abs(reference), jnp.asarray(floor, reference.dtype))
    difference = cost.astype(reference.dtype) - reference
    limit = jnp.where(difference == 0, 0.0, jnp.sign(difference) * jnp.inf).astype(size.dtype)
    return jnp.where(size > 0, difference / jnp.where(size > 0, size, 1.0), limit)


def check_instances(ps: Any, in_axes: Any, n: int) -> None:
    """Raises unless the batched leaves of `ps` have a leading axis of length `n`."""
    is_none = lambda x: x is None
    batched = jtu.tree_map(lambda axis, part: None if axis is None else part, in_axes, ps, is_leaf=is_none)
    for path, leaf in jtu.tree_leaves_with_path(batched):
        if jnp.shape(leaf)[:1] != (n,):
            got, expected = f"an array of shape {jnp.shape(leaf)}", f"a leading axis of {n}, as `zs` has"
            raise invalid(f"ps{jtu.keystr(path)}", got, expected, "stack the instances, or give `in_axes=None` for it")


@eqx.filter_jit
def _costs(program: AbstractProgram, zs: Any, ps: Any, in_axes: Any) -> Float[Array, " batch"]:
    return jax.vmap(lambda z, p: jnp.asarray(program.objective(z, p)).reshape(()), in_axes=(0, in_axes))(zs, ps)


@eqx.filter_jit
def _evaluate(
    program: AbstractProgram, zs: Any, ps: Any, in_axes: Any
) -> tuple[Float[Array, " batch"], Float[Array, " batch"]]:
    def one(z: Any, p: Any) -> tuple[Scalar, Scalar]:
        cost = jnp.asarray(program.objective(z, p)).reshape(())
        return cost, _largest_violation(program, z, p).astype(cost.dtype)

    return jax.vmap(one, in_axes=(0, in_axes))(zs, ps)


def _largest_violation(program: AbstractProgram, z: Any, p: Any) -> Scalar:
    """The largest violation, infinite for a decision that is no answer."""
    # A trajectory holds a result code and a counter beside its real numbers; no bound applies to those.
    real, rest = eqx.partition(z, eqx.is_inexact_array)
    ineq, eq = program.ineq, program.eq
    over_reals = Program(
        program.objective,
        ineq=None if ineq is None else lambda r, p: ineq(eqx.combine(r, rest), p),
        eq=None if eq is None else lambda r, p: eq(eqx.combine(r, rest), p),
        lower=program.lower,
        upper=program.upper,
    )
    worst = violation(over_reals, real, p).largest
    parts = jtu.tree_leaves(z, is_leaf=_is_trajectory)
    for run in filter(_is_trajectory, parts):
        worst = jnp.where(is_successful(run.result), worst, jnp.inf)
    return jnp.where(jnp.isnan(worst), jnp.inf, worst)


def _is_trajectory(x: Any) -> bool:
    return isinstance(x, Trajectory)
