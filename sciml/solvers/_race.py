"""A solver that chooses the better of two starts."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Scalar

from ..core import as_floats, invalid, ravel, RESULTS, tree_where, wrong_type
from ..programs import bound_multipliers, flat_residual, FlatProgram
from ._abstract import AbstractSolver, Guess, Point
from ._solve import _slope

_NEGLIGIBLE = 1e-6  # a violation that starts may have


class Race(AbstractSolver):
    """Runs another solver from the better of the cold and the warm start, instance by instance.

    Choose it if some warm starts of a batch may be bad: an earlier solution or a network's prediction saves steps for
    most instances, but costs steps where it is poor. Both starts are evaluated once, before the loop. If `warm` is a
    `state` or a `Guess` with multipliers, the start with the smaller unscaled KKT residual (largest entry) runs. If it
    is a `Guess` without, the start with the smaller violation runs; if neither is violated beyond 1e-6, the one with
    the smaller objective. The cold start runs on a tie, and if the warm one is not finite.

    Args:
        solver: the solver to run. A `Guess` needs a solver that uses its start (`uses_start`).

    Raises:
        TypeError: if `solver` is a class, or `warm` neither a `Guess` nor a state of `solver`.
        ValueError: if `warm` is a `Guess` and `solver` ignores its start.

    Gradient: that of `solver`.
    """

    solver: AbstractSolver

    def __check_init__(self) -> None:
        if not isinstance(self.solver, AbstractSolver):
            fix = "pass an instance, as in `Race(InteriorPoint())`"
            raise wrong_type("solver", repr(self.solver), "a solver object", fix)

    @property
    def takes_guess(self) -> bool:
        """True: a `Guess` is one of the two starts."""
        return True

    @property
    def takes_multipliers(self) -> bool:
        """Whether the wrapped solver takes a `Guess` with multipliers."""
        return self.solver.takes_multipliers

    @property
    def uses_start(self) -> bool:
        """Whether the wrapped solver uses the start `z0`."""
        return self.solver.uses_start

    def suited(self, program: FlatProgram) -> FlatProgram:
        """The program as the wrapped solver adapts it."""
        return self.solver.suited(program)

    def prepare(self, program: FlatProgram, p: Any) -> Any:
        """The constants of the wrapped solver."""
        return self.solver.prepare(program, p)

    def init(self, program: FlatProgram, constants: Any, x0: Float[Array, " n"], p: Any, warm: Any) -> Any:
        """The better start of the two; the cold one without `warm`."""
        if isinstance(warm, Guess) and not self.solver.uses_start:
            name = type(self.solver).__name__
            fix = "pass the `state` of an earlier solution, or race another solver"
            raise invalid("warm", f"a `Guess` for {name}", f"a state: {name} starts from a point of its own", fix)
        cold = self.solver.init(program, constants, x0, p, None)
        if warm is None:
            return cold
        judge = self._by_decision if isinstance(warm, Guess) else self._by_residual
        standing = judge(program, constants, cold, p)
        # Zero, but the compiler does not know: the two starts follow each other (see the note on chains of
        # factorisations in `_newton`).
        after = jnp.minimum(standing[0], 0.0)
        if isinstance(warm, Guess):
            guess = ravel(as_floats(warm.value, "warm.value"))[0].astype(x0.dtype)
            hot = self.solver.init(program, constants, guess + after, p, None)
        else:
            hot = self.solver.init(program, constants, x0 + after, p, warm)
        (first, second), (last_first, last_second) = judge(program, constants, hot, p), standing
        wins = (first < last_first) | ((first == last_first) & (second < last_second))
        return tree_where(wins, hot, cold)

    def step(self, program: FlatProgram, constants: Any, state: Any, p: Any) -> Any:
        """One iteration of the wrapped solver."""
        return self.solver.step(program, constants, state, p)

    def done(self, state: Any) -> Bool[Array, ""]:
        """Whether the wrapped solver stops."""
        return self.solver.done(state)

    def is_answer(self, state: Any) -> Bool[Array, ""]:
        """Whether the wrapped solver has an answer."""
        return self.solver.is_answer(state)

    def finish(self, program: FlatProgram, constants: Any, state: Any, p: Any) -> tuple[Point, RESULTS, Any]:
        """The answer of the wrapped solver."""
        return self.solver.finish(program, constants, state, p)

    def _by_residual(self, program: FlatProgram, constants: Any, state: Any, p: Any) -> tuple[Scalar, Scalar]:
        """The largest entry of the unscaled KKT residual, infinite where it is not finite; and nothing else."""
        point, _, _ = self.solver.finish(program, constants, state, p)
        limits, (slope, g, h) = program.limits(p), _slope(program, point.x, point.ineq, point.eq, p)
        below, above = bound_multipliers(point.x, slope, *limits)
        largest = flat_residual(point.x, slope, g, h, limits, (point.ineq, below, above)).largest
        return jnp.where(jnp.isfinite(largest), largest, jnp.inf), jnp.zeros_like(largest)

    def _by_decision(self, program: FlatProgram, constants: Any, state: Any, p: Any) -> tuple[Scalar, Scalar]:
        """The violation as far as it counts, then the objective: a decision alone has no multipliers."""
        point, _, _ = self.solver.finish(program, constants, state, p)
        f, g, h = program.functions(point.x, p)
        violation = jnp.max(jnp.concatenate([g, jnp.abs(h)]), initial=_NEGLIGIBLE)
        finite = jnp.isfinite(f) & jnp.isfinite(violation)
        return jnp.where(finite, violation, jnp.inf), jnp.where(finite, f, jnp.inf)
