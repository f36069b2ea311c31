"""The Hessian of the quadratic models of `SQP`: exact, by Gauss-Newton, or with a multiple of the identity added."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Scalar, ScalarLike

from ..core import invalid, ravel, where_needed
from ..programs import FlatProgram
from ._dense import DenseFactors
from ._derivatives import Residuals
from ._evaluate import evaluate, Evaluation, Scaling
from ._models import ScaledModel
from ._stage_model import StageFactors

_TRIALS = 10  # weights and shifts of the exact Hessian
_HOLD = (10.0, 1e3)  # weights of active rows relative to the Hessian: the usual one, and what is tried before a shift
_EASE = 8.0  # by which a shift falls from one iteration to the next

Vector = Float[Array, " n"]
Multipliers = tuple[Float[Array, " g"], Float[Array, " h"]]


class ShiftedModel(eqx.Module):
    """A model with `½ shift |x|² + ½ xᵀCᵀ diag(held) C x` added."""

    model: ScaledModel
    shift: Scalar
    held: Float[Array, " m"]
    """Weights of rows."""
    unit: Float[Array, " h"]
    """What makes `delta` that of equalities with rows of norm one."""

    @property
    def eliminates(self) -> bool:
        """Whether a solve satisfies the equalities exactly."""
        return self.model.eliminates

    def curvature(self, x: Float[Array, " n"]) -> Float[Array, " n"]:
        """`(H + shift I + Cᵀ diag(held) C) x`."""
        bent = self.model.curvature(x) + self.shift * x
        return bent + self.model.rows_transposed(self.held * self.model.rows(x))

    def rows(self, x: Float[Array, " n"]) -> Float[Array, " m"]:
        """`C x`."""
        return self.model.rows(x)

    def rows_transposed(self, y: Float[Array, " m"]) -> Float[Array, " n"]:
        """`Cᵀ y`."""
        return self.model.rows_transposed(y)

    def equalities(self, x: Float[Array, " n"]) -> Float[Array, " h"]:
        """`E x`."""
        return self.model.equalities(x)

    def equalities_transposed(self, y: Float[Array, " h"]) -> Float[Array, " n"]:
        """`Eᵀ y`."""
        return self.model.equalities_transposed(y)

    def factorise(self, weights: Float[Array, " m"], rho: Scalar, delta: Scalar) -> DenseFactors | StageFactors:
        """Factors of the shifted model; `delta` is that of equalities whose rows have norm one."""
        return self.model.factorise(weights + self.held, rho + self.shift, delta * self.unit)

    def solve(self, factors: Any, right: Float[Array, " n"], level: Float[Array, " h"]) -> tuple[Array, Array]:
        """`dx` and `dν`, from factors of the shifted model."""
        return self.model.solve(factors, right, level)


class AbstractHessian(eqx.Module):
    """The Hessian of the quadratic models of `SQP`; it affects the steps, not the solution."""

    @abstractmethod
    def evaluate(
        self, program: FlatProgram, x: Vector, multipliers: Multipliers, scaling: Scaling, p: Any
    ) -> Evaluation:
        """Values and derivatives of the scaled program at `x`, with this Hessian in the model."""

    @abstractmethod
    def convexify(self, model: ScaledModel, active: Float[Array, " m"], last: Scalar) -> ShiftedModel:
        """The model, modified to be convex.

        Args:
            model: of `evaluate`.
            active: 1 for rows estimated to be active, else 0.
            last: the shift of the last iteration, raised after a failed step.
        """


class ExactHessian(AbstractHessian):
    """The exact Hessian of the Lagrangian, for quadratic convergence; the default.

    If the Hessian is not positive definite on the null space of the equalities, weights of the rows active in the last
    model are added, then larger ones. If these do not suffice, the smallest sufficient multiple of the identity from a
    sequence is added, in the units in which `SQP` scales the decision.

    Source: Nocedal & Wright (2006), Numerical Optimization, sections 18.1 and 3.4.
    """

    def evaluate(
        self, program: FlatProgram, x: Vector, multipliers: Multipliers, scaling: Scaling, p: Any
    ) -> Evaluation:
        """Values and derivatives at `x`, with the Hessian `∇²f + Σ λ ∇²g + Σ ν ∇²h`."""
        return evaluate(program, x, multipliers, scaling, p, jnp.asarray(False))

    def convexify(self, model: ScaledModel, active: Float[Array, " m"], last: Scalar) -> ShiftedModel:
        """The model with weights of active rows or a shift, if it is not convex on the equalities' null space."""
        return _definite(model, active, last)


class GaussNewton(AbstractHessian):
    """The Gauss-Newton Hessian `Jᵀ J` of an objective `½ |residual|²`: first derivatives only, never indefinite.

    Choose it for least squares with small residuals at the solution: it then converges nearly as fast as exact second
    derivatives, for the cost of a Jacobian. It neglects the curvature of residuals and constraints. Convergence is
    therefore linear where these matter, and may fail where they dominate. The residual affects the quadratic model
    only; objective and constraints are those of the program.

        SQP(hessian=GaussNewton(lambda z, p: model(z, p.times) - p.readings))

    For optimal control use `StageGaussNewton`.

    Args:
        residual: `(z, p) -> pytree` such that the objective is `½ Σ residual²`, up to what is linear. A least-squares
            cost without the factor ½ has the residual `√2 r`. Pass varying data in `p`, not by closure.

    Raises:
        ValueError: when solved, if the program has stages: `J` would be dense.

    Source: Bock (1983), Recent advances in parameter identification techniques for O.D.E., DOI
    10.1007/978-1-4684-7324-7_7, for the constrained method; Nocedal & Wright (2006), Numerical Optimization, section
    10.3.
    """

    residual: Callable[[Any, Any], Any]

    def evaluate(
        self, program: FlatProgram, x: Vector, multipliers: Multipliers, scaling: Scaling, p: Any
    ) -> Evaluation:
        """Values and derivatives at `x`, with the Hessian `Jᵀ J` in the objective's scaling."""
        if program.structure is not None:
            fix = "write `StageGaussNewton(stage=..., terminal=...)`, whose residuals are of one stage each"
            raise invalid("hessian", "GaussNewton", "a Hessian by stages for a program of optimal control", fix)
        whole = lambda x: _flat(self.residual(program.decision(x), p), x.dtype)
        return evaluate(program, x, multipliers, scaling, p, jnp.asarray(False), Residuals(whole))

    def convexify(self, model: ScaledModel, active: Float[Array, " m"], last: Scalar) -> ShiftedModel:
        """The model itself, which is convex, with a shift after failed steps."""
        return ShiftedModel(model, _eased(model, last), jnp.zeros_like(active), _unit(model))


class StageGaussNewton(AbstractHessian):
    """The Gauss-Newton Hessian of optimal control, stage by stage, for least-squares costs.

    The cost is `Σ_k ½ |stage residual|² + ½ |terminal residual|²`. Choose it for tracking in predictive control. It
    needs no second derivatives of dynamics and path limits, and its model of every stage is convex. With `max_steps=1`,
    `SQP` is then the usual real-time iteration. The residuals affect the quadratic model only; the objective is that of
    the program.

        SQP(hessian=StageGaussNewton(lambda x, u, w, p: (3.0 * (x - w), 0.1 * u), lambda x, p: 10.0 * x))

    Args:
        stage: `(x, u, w, p) -> pytree`, the residual of one step, with the arguments of `OptimalControl.stage`.
        terminal: `(x_N, p) -> pytree`, or None.

    Slacks of an `elastic` program have no curvature here. Pass varying data in `p` or `w`, not by closure.

    Raises:
        ValueError: when solved, if the program has no stages.

    Source: Bock (1983), DOI 10.1007/978-1-4684-7324-7_7; Diehl, Bock & Schlöder (2005), DOI 10.1137/S0363012902400713.
    """

    stage: Callable[[Any, Any, Any, Any], Any]
    terminal: Callable[[Any, Any], Any] | None = None

    def evaluate(
        self, program: FlatProgram, x: Vector, multipliers: Multipliers, scaling: Scaling, p: Any
    ) -> Evaluation:
        """Values and derivatives at `x`, with the Hessian `Jᵀ J` of each stage in the objective's scaling."""
        staged, terminal = program.structure, self.terminal
        if staged is None:
            fix = "write `GaussNewton(residual)`, or make the program by `transcribe`"
            raise invalid("hessian", "StageGaussNewton", "a Hessian for a program without stages", fix)
        nx, dtype = staged.stages.nx, x.dtype
        each = lambda v, w: _flat(self.stage(*staged.arguments(v[:nx], v[nx:], w), p), dtype)
        end = lambda x: jnp.zeros((0,), dtype) if terminal is None else _flat(terminal(staged.state(x), p), dtype)
        return evaluate(program, x, multipliers, scaling, p, jnp.asarray(False), Residuals(end, each))

    def convexify(self, model: ScaledModel, active: Float[Array, " m"], last: Scalar) -> ShiftedModel:
        """The model itself, which is convex, with a shift after failed steps."""
        return ShiftedModel(model, _eased(model, last), jnp.zeros_like(active), _unit(model))


class Regularised(AbstractHessian):
    """Another Hessian plus `shift` times the identity, for shorter steps, as in a proximal method.

    Choose it if full steps are too long: for models that are accurate only nearby, for a rank-deficient Gauss-Newton
    Hessian (`Regularised(1e-3, GaussNewton(residual))` is that of Levenberg-Marquardt), or for real-time iterations
    that must not jump. The solution stays the same; convergence becomes linear, with a rate of about `shift / (shift +
    curvature)`.

    Args:
        shift: `>= 0`, in the unit of the scaled objective's Hessian (see `scale_to` of `SQP`).
        hessian: the Hessian that the shift is added to.

    Source: Levenberg (1944), DOI 10.1090/qam/10666; Rockafellar (1976), Monotone operators and the proximal point
    algorithm, DOI 10.1137/0314056.
    """

    shift: ScalarLike
    hessian: AbstractHessian = ExactHessian()

    def __check_init__(self) -> None:
        if not isinstance(self.shift, Tracer) and not np.all(np.asarray(self.shift) >= 0):
            raise invalid("shift", self.shift, "a number >= 0", "give the multiple of the identity, such as 1e-3")

    def evaluate(
        self, program: FlatProgram, x: Vector, multipliers: Multipliers, scaling: Scaling, p: Any
    ) -> Evaluation:
        """Values and derivatives of the other Hessian, with the shift added to the model."""
        at = self.hessian.evaluate(program, x, multipliers, scaling, p)
        return eqx.tree_at(lambda at: at.model, at, at.model.shifted(jnp.asarray(self.shift, x.dtype)))

    def convexify(self, model: ScaledModel, active: Float[Array, " m"], last: Scalar) -> ShiftedModel:
        """The convex model of the other Hessian."""
        return self.hessian.convexify(model, active, last)


def _flat(tree: Any, dtype: Any) -> Array:
    return ravel(tree)[0].astype(dtype)


def _eased(model: ScaledModel, last: Scalar) -> Scalar:
    """An eighth of the last shift, until rounding hides it."""
    eased = last / _EASE
    return jnp.where(eased > jnp.finfo(last.dtype).eps * model.size(), eased, 0.0)


def _unit(model: ScaledModel) -> Float[Array, " h"]:
    """The squared norms of the rows of the equalities before scaling; one for those that are zero."""
    _, rows = model.row_sizes()
    return jnp.where(rows > 0, rows, 1.0) / model.eq**2


def _definite(model: ScaledModel, active: Float[Array, " m"], last: Scalar) -> ShiftedModel:
    """The model with as little as makes it positive definite where the equalities hold.

    First weights of the active rows, usual ones and firmer ones: where these hold the model stays exact, so that
    convergence stays fast. Then a shift of a ladder.
    """
    dtype = last.dtype
    size = jnp.maximum(model.size(), 1.0)
    rho, unit = jnp.finfo(dtype).eps ** 0.5 * size, _unit(model)
    delta = jnp.finfo(dtype).eps ** 0.5 / size * unit
    rows, _ = model.row_sizes()
    weights = size / jnp.where(rows > 0, rows, 1.0) * active
    definite = lambda shift, weights: model.factorise(weights, rho + shift, delta).is_definite
    first = _eased(model, last)
    usual, firmer = jnp.asarray(_HOLD, dtype)

    def climb(carry: tuple[Array, Scalar, Scalar, Array]) -> tuple[Array, Scalar, Scalar, Array]:
        _, shift, _, count = carry
        rise = jnp.where(shift < last, 2.0, 8.0)  # finely up to what was enough
        raised = jnp.maximum(rise * shift, jnp.where(first > 0, 0.0, 1e-3 * size))
        shift, hold = jnp.where(count > 1, raised, shift), jnp.where(count == 1, firmer, usual)
        return definite(shift, hold * weights), shift, hold, count + 1

    going = lambda carry: ~carry[0] & (carry[3] < _TRIALS)
    # As it is first: a batch that shares its matrices shares this factorisation.
    enough = (first <= 0) & definite(jnp.zeros((), dtype), jnp.zeros_like(weights))
    none = jnp.zeros((), dtype)
    ladder = lambda: jax.lax.while_loop(going, climb, (enough, first, none, jnp.asarray(0)))[1:3]
    shift, hold = where_needed(~enough, ladder, (first, none))  # what does not vary over the rungs stays in here
    return ShiftedModel(model, shift, hold * weights, unit)
