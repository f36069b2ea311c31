"""Two starts for one instance, and the better of them runs."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Scalar

from ..core import as_floats, invalid, ravel, RESULTS, tree_where, wrong_type
from ..programs import bound_multipliers, flat_residual, FlatProgram
from ._abstract import AbstractSolver, Guess, Point
from ._solve import _slope

_NEGLIGIBLE = 1e-6  # a violation that starts may have


class Race(AbstractSolver):
    """Any solver, started from the better of the cold and the warm start, instance by instance.

    A warm start from yesterday's solution or from a learned predictor saves steps for most instances of a batch and
    costs steps where it is bad. This evaluates both starts once each, before the loop. Against a `state`, the one
    with the smaller largest entry of the unscaled KKT residual runs; against a `Guess`, which has no multipliers, the
    one with the smaller violation (beyond 1e-6), and of two without the one with the smaller objective. The cold one
    runs on a tie, and where the warm one is not finite.

    Args:
        solver: what runs. Its `init` is called for `z0` without `warm`, and for the rival: with `warm`, the `state` of
            an earlier solution, or from the decision in a `Guess` where its `uses_start` says that it looks at one.

    Raises:
        TypeError: if `solver` is a class, or `warm` neither a `Guess` nor a state of `solver`.
        ValueError: if `solver` does not look at a start and `warm` is a `Guess`.

    Gradient: as `solver`.
    """

    solver: AbstractSolver

    def __check_init__(self) -> None:
        if not isinstance(self.solver, AbstractSolver):
            fix = "pass an instance, as in `Race(InteriorPoint())`"
            raise wrong_type("solver", repr(self.solver), "a solver object", fix)

    @property
    def takes_guess(self) -> bool:
        """Yes: it is a start to be tried."""
        return True

    @property
    def uses_start(self) -> bool:
        """As the solver."""
        return self.solver.uses_start

    def suited(self, program: FlatProgram) -> FlatProgram:
        """As the solver."""
        return self.solver.suited(program)

    def prepare(self, program: FlatProgram, p: Any) -> Any:
        """As the solver."""
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
        """As the solver."""
        return self.solver.step(program, constants, state, p)

    def done(self, state: Any) -> Bool[Array, ""]:
        """As the solver."""
        return self.solver.done(state)

    def is_answer(self, state: Any) -> Bool[Array, ""]:
        """As the solver."""
        return self.solver.is_answer(state)

    def finish(self, program: FlatProgram, constants: Any, state: Any, p: Any) -> tuple[Point, RESULTS, Any]:
        """As the solver."""
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
