"""Result codes: one enumeration for the whole library."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool


class RESULTS(diffrax.RESULTS):  # pyright: ignore[reportGeneralTypeIssues]
    """The result of a solve, a simulation or a fit; the message of a failure states its cause and what to try.

    Extends `diffrax.RESULTS` (which extends those of Optimistix and Lineax), so that the result of an
    inner computation can be converted: `RESULTS.promote(inner)`.
    """

    successful = ""
    infeasible = (
        "The solver stopped at a point that locally minimises the constraint violation but is not feasible: the "
        "constraints contradict each other there. Relax a constraint, or start from another `z0`."
    )
    contradictory_bounds = (
        "`lower > upper` for at least one entry: no decision can satisfy the bounds. Swap or relax them."
    )
    unbounded = (
        "The objective decreases without limit along feasible points. Bound the decision, or check the sign of the "
        "objective."
    )
    nonfinite_start = (
        "The objective, a constraint or a derivative is NaN or infinite at the start. If `p` holds no NaN, choose "
        "a `z0` inside the domain of the functions (for instance a positive argument of `log`)."
    )
    nonfinite_step = (
        "No trial step gave finite values of the objective and the constraints. Bound the decision so that it stays "
        "inside the domain of the functions, or rescale the program."
    )
    stalled = (
        "No step improves the iterate any further, and the tolerance is not met. Loosen the solver's `tol` to what the "
        "dtype allows, scale the program, or start from another `z0`."
    )
    diverged = (
        "The state of a run, or the loss or a parameter of a fit, became NaN or infinite; the last finite one is kept. "
        "In a run: shorten the step, bound the input, or start from another state. In a fit: lower the learning rate, "
        "and evaluate the loss at the start."
    )
    unstable = (
        "A matrix equation has no stabilising solution: the matrix of a Lyapunov equation, or every closed loop that a "
        "Riccati equation allows, is not stable, or is so only within rounding. Give every mode that does not decay an "
        "input that moves it, and a weight."
    )


def is_successful(result: RESULTS) -> Bool[Array, "*batch"]:
    """Whether `result` is a success, elementwise over a batch of results."""
    with jax.ensure_compile_time_eval():
        success = jnp.asarray(RESULTS.successful._value)
    return jnp.asarray(result._value) == success


def message(result: RESULTS) -> str:
    """The message of a single `result`: its cause and what to try; empty for a success."""
    return RESULTS[result]


def tally(result: RESULTS) -> dict[str, int]:
    """The number of instances with each result, by name, most frequent first: `{"successful": 98, "stalled": 2}`.

    A single result counts as a batch of one. Call it on the host, not under `jit`.
    """
    names = {int(getattr(RESULTS, name)._value): name for name in RESULTS._name_to_item}
    values, counts = np.unique(np.asarray(result._value), return_counts=True)
    return {names[int(values[i])]: int(counts[i]) for i in np.argsort(-counts, kind="stable")}
