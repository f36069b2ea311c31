"""A program: a cost and its constraints, as pure functions of a decision and an instance."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Scalar

from ..core import invalid, wrong_type
from ._stages import Staged


class AbstractProgram(eqx.Module):
    """The interface of all programs: an objective, constraints and bounds, and what is known of their structure.

    `Program` is made of functions, `QuadraticProgram` of matrices; solvers, losses and certificates accept either.
    """

    objective: eqx.AbstractVar[Callable[[Any, Any], Any]]
    ineq: eqx.AbstractVar[Callable[[Any, Any], Any] | None]
    eq: eqx.AbstractVar[Callable[[Any, Any], Any] | None]
    lower: eqx.AbstractVar[Any]
    upper: eqx.AbstractVar[Any]
    structure: eqx.AbstractVar[Callable[[Any, Any, Any], Staged] | None]

    @property
    @abstractmethod
    def matrices(self) -> Callable[[Any, Any], Any] | None:
        """`(z, p) -> Quadratic` if the program is given by its matrices, else None; only the shapes of `z` matter."""


class Program(AbstractProgram):
    """The program: minimise `f(z, p)` subject to `g(z, p) <= 0`, `h(z, p) = 0`, `lower <= z <= upper`.

    The decision `z` and the instance `p` are pytrees of real arrays. `g` and `h` return pytrees; multipliers,
    violations and weights have the same structure, so that their names come from your own types. Write the functions
    for one instance; `jax.vmap` makes the batch.

    Args:
        objective: `(z, p) -> scalar`, twice differentiable.
        ineq: `(z, p) -> pytree`, feasible where every entry is `<= 0` (helpers: `le`, `ge`, `between`); or None.
        eq: `(z, p) -> pytree`, feasible where every entry is `= 0`; or None.
        lower, upper: bounds on the decision: a pytree shaped like `z` or a prefix of it (one number may bound a whole
            record; None or infinity: no bound), or a function of `p` that returns such a pytree.
        structure: `(z, g, h) -> Staged` from the shapes of decision and constraints: the same functions stage by stage
            (`transcribe` knows them); None for dense.

    Raises:
        TypeError: if the objective or a constraint is no function.

    Gradient: a program holds no derivative rules; solvers differentiate solutions with respect to every leaf of `p`.

    Source: Boyd & Vandenberghe (2004), Convex Optimization, section 4.1, for the form and chapter 5 for the signs of
    the multipliers: `L = f + λᵀg + νᵀh` with `λ >= 0`.

    Examples:
        ```python
        def cost(z, p):
            return jnp.sum((z - p) ** 2)

        def limits(z, p):
            return {"disc": z @ z - 1.0, "half": z[0] - z[1]}

        program = sciml.Program(cost, ineq=limits, lower=0.0)
        excess = sciml.programs.violation(program, jnp.array([2.0, 0.0]), jnp.zeros(2))
        assert excess.ineq["disc"] == 3.0 and excess.ineq["half"] == 2.0
        ```
    """

    objective: Callable[[Any, Any], Any]
    ineq: Callable[[Any, Any], Any] | None = None
    eq: Callable[[Any, Any], Any] | None = None
    lower: Any = None
    upper: Any = None
    structure: Callable[[Any, Any, Any], Staged] | None = None

    def __check_init__(self) -> None:
        functions: dict[str, Any] = {"objective": self.objective, "ineq": self.ineq, "eq": self.eq}
        for name, function in functions.items():
            if not (callable(function) or (function is None and name != "objective")):
                shape = getattr(function, "shape", None)
                got = repr(function) if shape is None else f"an array of shape {shape}"
                expected = "a function `(z, p) -> " + ("scalar`" if name == "objective" else "residuals`, or None")
                raise wrong_type(name, got, expected, "pass the function itself, without calling it")

    @property
    def matrices(self) -> None:
        """None, because the program is given by functions."""
        return None


def bounds(program: AbstractProgram, z: Any, p: Any) -> tuple[Any, Any]:
    """The lower and upper bounds of every entry of `z`, as two pytrees shaped like `z` (infinite where unbounded)."""
    lower = program.lower(p) if callable(program.lower) else program.lower
    upper = program.upper(p) if callable(program.upper) else program.upper
    return spread(lower, z, -jnp.inf, "lower"), spread(upper, z, jnp.inf, "upper")


def cost(program: AbstractProgram, z: Any, p: Any) -> Scalar:
    """`f(z, p)` as an array of shape `()`.

    Raises:
        ValueError: if the objective returns anything but one real number, such as None for a forgotten `return`.
    """
    value = program.objective(z, p)
    if not eqx.is_array_like(value) or jnp.shape(value) not in ((), (1,)) or jnp.iscomplexobj(value):
        got = f"{jnp.result_type(value)}{list(jnp.shape(value))}" if eqx.is_array_like(value) else repr(value)
        fix = "sum or average over the entries before returning; end the function with `return`"
        raise invalid("objective", got, "one real scalar", fix)
    return jnp.asarray(value).reshape(())


def constraints(program: AbstractProgram, z: Any, p: Any) -> tuple[Any, Any]:
    """The values `g(z, p)` and `h(z, p)`; an empty tuple for a missing block.

    Raises:
        ValueError: if a function returns something else than real residuals, such as None for a forgotten `return`, or
            the truth of a comparison.
    """
    g = () if program.ineq is None else residuals("ineq", program.ineq(z, p), "<= 0")
    h = () if program.eq is None else residuals("eq", program.eq(z, p), "= 0")
    return g, h


def residuals(argument: str, value: Any, sign: str) -> Any:
    """What a constraint function returned, checked: no None, no truth values."""
    for path, leaf in jtu.tree_leaves_with_path(returned(argument, value)):
        is_number = eqx.is_array_like(leaf)
        if not (is_number and jnp.issubdtype(jnp.result_type(leaf), jnp.floating)):
            raise invalid(
                f"{argument}{jtu.keystr(path)}",
                f"dtype {jnp.result_type(leaf)}" if is_number else f"a {type(leaf).__name__}",
                f"a real residual, feasible where it is {sign}",
                "return the difference of the two sides (see `le`, `ge`, `between`) instead of a comparison",
            )
    return value


def returned(argument: str, value: Any) -> Any:
    """What a user's function returned, checked to hold no None: a forgotten `return` gives one."""
    for path, leaf in jtu.tree_leaves_with_path(value, is_leaf=lambda leaf: leaf is None):
        if leaf is None:
            fix = "end the function with `return`; for nothing, return `()` or leave the function out"
            raise invalid(f"{argument}{jtu.keystr(path)}", "a function that returned None", "numbers", fix)
    return value


def spread(bound: Any, z: Any, missing: float, argument: str) -> Any:
    """`bound`, a prefix of `z`, broadcast to every leaf of `z`; `missing` where it is None."""

    def fill(one: Any, part: Any) -> Any:
        value = missing if one is None else one
        return jtu.tree_map(lambda leaf: _broadcast(value, leaf, argument), part)

    try:
        return jtu.tree_map(fill, bound, z, is_leaf=lambda x: x is None)
    except (ValueError, TypeError) as error:
        if f"`{argument}`" in str(error):
            raise
        raise invalid(
            argument,
            f"the structure {jtu.tree_structure(bound)}",
            f"the decision's structure {jtu.tree_structure(z)} or a prefix of it",
            "give one bound for each leaf of `z`, or a single number for all",
        ) from error


def _broadcast(value: Any, leaf: Any, argument: str) -> Any:
    value, shape = jnp.asarray(value), jnp.shape(leaf)
    try:
        return jnp.broadcast_to(value.astype(jax.dtypes.result_type(leaf)), shape)
    except ValueError as error:
        raise invalid(
            argument,
            f"shape {value.shape}",
            f"a shape that broadcasts to the decision's {shape}",
            "give one bound for each entry, or a scalar",
        ) from error
