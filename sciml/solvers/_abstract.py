"""The interface of all solvers, and their statistics."""

from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Bool, Float, Int

from ..core import invalid, RESULTS, wrong_type
from ..programs import Duals, FlatProgram, Residual
from ..programs._vectors import vector


class SolveStats(eqx.Module):
    """Statistics of a solve, one value per instance; they carry no derivatives."""

    steps: Int[Array, "*batch"]
    """Iterations, each with at most one factorisation of the Newton matrix per trial regularisation."""
    residual: Residual
    """The unscaled KKT residual of the answer, evaluated once more from the program after the loop."""
    barrier: Float[Array, "*batch"]
    """The last barrier parameter (in the scaled objective's unit); complementarity is of this order."""
    restorations: Int[Array, "*batch"]
    """How often the solver had to leave the objective aside to regain feasibility."""
    has_derivative: Bool[Array, "*batch"]
    """Whether derivatives of this instance are those of a solution; a failed instance has zero derivatives."""


class Point(eqx.Module):
    """An unscaled primal-dual point over vectors, as a solver returns it; derivatives are taken there."""

    x: Float[Array, "*batch n"]
    ineq: Float[Array, "*batch g"]
    eq: Float[Array, "*batch h"]


class Guess(eqx.Module):
    """A start from elsewhere, for instance a network's prediction or a shifted plan; pass it as `warm`.

    A decision alone needs the solver `Race`, which compares it with the cold start. `SQP`, `InteriorPoint` and
    `AugmentedLagrangian` take a decision with multipliers, and start from both as from an earlier solution.

    Args:
        value: the decision, shaped like `z0`; a trained predictor gives a batch by `Guess(jax.vmap(predictor)(ps))`.
        duals: its multipliers, shaped like `Solution.duals`; None for none.

    Examples:
        ```python
        nearest = sciml.Program(lambda z, p: jnp.sum((z - p) ** 2), ineq=lambda z, p: z @ z - 1.0)
        before = sciml.solve(nearest, sciml.solvers.SQP(), jnp.zeros(2), jnp.array([3.0, 4.0]))
        guess = sciml.solvers.Guess(before.value, before.duals)
        after = sciml.solve(nearest, sciml.solvers.SQP(), jnp.zeros(2), jnp.array([3.0, 4.1]), warm=guess)
        assert after.stats.steps < before.stats.steps
        ```
    """

    value: Any
    duals: Duals | None = None


class PrimalDual(eqx.Module):
    """An unscaled start with multipliers over vectors, as `AbstractSolver.init` gets it from a `Guess`."""

    x: Float[Array, " n"]
    ineq: Float[Array, " g"]
    eq: Float[Array, " h"]
    lower: Float[Array, " n"]
    upper: Float[Array, " n"]

    @property
    def rows(self) -> Float[Array, " m"]:
        """The multipliers of inequalities, lower and upper bounds, in this order."""
        return jnp.concatenate([self.ineq, self.lower, self.upper])


class AbstractSolver(eqx.Module):
    """The interface of a solver: options and tolerances, never the problem; subclass it for a solver of your own.

    `solve` calls `prepare` once, then `init`, then `step` until `done`, then `finish`. `prepare` is outside the loop:
    its results stay unbatched if they do not depend on the instance. Write for one instance; states hold arrays only.
    """

    @property
    def uses_start(self) -> bool:
        """Whether `init` uses the start `z0`."""
        return True

    @property
    def takes_guess(self) -> bool:
        """Whether `warm` may be a `Guess` without multipliers."""
        return False

    @property
    def takes_multipliers(self) -> bool:
        """Whether `warm` may be a `Guess` with multipliers, which `init` then gets as a `PrimalDual`."""
        return False

    def suited(self, program: FlatProgram) -> FlatProgram:
        """The program, with this solver's recursion over its stages; unchanged by default."""
        return program

    @abstractmethod
    def prepare(self, program: FlatProgram, p: Any) -> Any:
        """The constants of the loop, such as bounds and shared factorisations."""

    @abstractmethod
    def init(self, program: FlatProgram, constants: Any, x0: Float[Array, " n"], p: Any, warm: Any) -> Any:
        """The first state; `warm` is the `state` of an earlier solution, or a `PrimalDual`, or None."""

    @abstractmethod
    def step(self, program: FlatProgram, constants: Any, state: Any, p: Any) -> Any:
        """The state after one iteration."""

    @abstractmethod
    def done(self, state: Any) -> Bool[Array, ""]:
        """Whether to stop, in success or in failure."""

    def is_answer(self, state: Any) -> Bool[Array, ""]:
        """Whether `finish` can return an answer at the limit of steps; by default, only if the solver is done."""
        return self.done(state)

    @abstractmethod
    def finish(self, program: FlatProgram, constants: Any, state: Any, p: Any) -> tuple[Point, RESULTS, Any]:
        """The unscaled primal-dual point, the result code of the solver, and (barrier, restorations)."""


def check_guess(solver: AbstractSolver, warm: Any, z0: Any) -> None:
    """Raises where `warm` is a `Guess` that the solver does not take, or that is not shaped like `z0`."""
    if not isinstance(warm, Guess):
        return
    name = type(solver).__name__
    if warm.duals is not None and not solver.takes_multipliers:
        fix = "pass the `state` of an earlier solution, or choose `SQP`, `InteriorPoint` or `AugmentedLagrangian`"
        raise wrong_type("warm", f"a `Guess` with multipliers for {name}", "a state of this solver", fix)
    if warm.duals is None and not solver.takes_guess:
        fix = f"give multipliers too, or race it against the cold start: `Race({name}(...))`"
        if not solver.takes_multipliers:
            fix = f"race it against the cold start: `Race({name}(...))`"
        if not solver.uses_start:
            fix = f"pass a state: {name} starts from a point of its own"
        raise wrong_type("warm", f"a `Guess` for {name}", "the `state` of an earlier solution", fix)
    got, wanted = (
        (jtu.tree_structure(tree), [jnp.shape(v) for v in jtu.tree_leaves(tree)]) for tree in (warm.value, z0)
    )
    if got != wanted:
        said = " of shapes ".join(map(str, got)), " of shapes ".join(map(str, wanted))
        raise invalid("warm", *said, "predict every leaf of `z0`, in its structure")


def begin(
    solver: AbstractSolver, program: FlatProgram, constants: Any, x0: Float[Array, " n"], p: Any, warm: Any
) -> Any:
    """The first state; a `warm` that is not a state of this solver and program raises."""
    if warm is not None and not isinstance(warm, Guess):
        cold = jax.eval_shape(lambda: solver.init(program, constants, x0, p, None))
        if isinstance(cold, eqx.Module) and type(warm) is not type(cold):
            expected = f"the `state` of a solution by {type(solver).__name__}"
            fix = "pass the `state` of a solution by this solver, or `Guess(value)` with `Race`"
            raise wrong_type("warm", type(warm).__name__, expected, fix)
        kind = lambda v: f"{jnp.result_type(v)}{list(jnp.shape(v))}"
        for had, wanted in zip(jtu.tree_leaves(warm), jtu.tree_leaves(cold), strict=False):
            if kind(had) != f"{wanted.dtype}{list(wanted.shape)}":
                got = f"a state with an entry of {kind(had)}"
                expected = f"{wanted.dtype}{list(wanted.shape)}, as this program has"
                fix = "pass the state of a program of the same size and dtype; map over a batch with `vmap`"
                raise wrong_type("warm", got, expected, fix)
    return solver.init(program, constants, x0, p, _primal_dual(program, warm, x0.dtype))


def _primal_dual(program: FlatProgram, warm: Any, dtype: Any) -> Any:
    """A `Guess` with multipliers over vectors; anything else as it is.

    Raises:
        ValueError: multipliers of another size than the constraints.
    """
    if not isinstance(warm, Guess) or warm.duals is None:
        return warm
    duals = warm.duals
    parts = [vector(part, dtype) for part in (warm.value, duals.ineq, duals.eq, duals.lower, duals.upper)]
    sizes = (program.size, program.n_ineq, program.n_eq, program.size, program.size)
    for name, part, size in zip(("ineq", "eq", "lower", "upper"), parts[1:], sizes[1:], strict=True):
        if part.size != size:
            fix = "shape it like the `duals` of a solution of this program"
            raise invalid(f"warm.duals.{name}", f"{part.size} multipliers", f"{size}", fix)
    return PrimalDual(*parts)
