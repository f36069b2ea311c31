"""Lean explicit Runge-Kutta methods for fixed steps, as Diffrax solvers."""

from collections.abc import Callable
from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from diffrax import AbstractTerm, RESULTS, ThirdOrderHermitePolynomialInterpolation


def in_both_modes(method: diffrax.AbstractSolver) -> diffrax.AbstractSolver:
    """`method` whose steps are differentiable in forward and reverse mode when called outside `diffeqsolve`.

    By default, the loop over the stages in Diffrax's Runge-Kutta methods supports reverse mode only.
    """
    if isinstance(method, diffrax.AbstractRungeKutta) and method.scan_kind is None:
        return eqx.tree_at(lambda m: m.scan_kind, method, "bounded", is_leaf=lambda leaf: leaf is None)
    return method


def _add(y: Any, *scaled: tuple[float, Any]) -> Any:
    """`y + sum(c * k)` leafwise."""
    ks = [k for _, k in scaled]
    cs = [c for c, _ in scaled]
    return jax.tree.map(lambda a, *bs: a + sum(c * b for c, b in zip(cs, bs, strict=True)), y, *ks)


def _dense(terms: AbstractTerm, t0: Any, t1: Any, args: Any, y0: Any, y1: Any, k0: Any) -> dict[str, Any]:
    # The Hermite cubic needs the increments h f at both ends. The evaluation at the end is dead code
    # (removed by XLA) unless dense output is asked for.
    return dict(y0=y0, y1=y1, k0=k0, k1=terms.vf_prod(t1, y1, args, terms.contr(t0, t1)))


class RK4(diffrax.AbstractSolver):
    """The classical fourth-order Runge-Kutta method with fixed steps; the default choice for smooth, non-stiff systems.

    Four evaluations per step. Use it in `discretise`, in `simulate(..., dt=...)` and in `diffrax.diffeqsolve`
    with constant steps; it has no error estimate, so adaptive step sizes need another method, such as `diffrax.Tsit5`.
    Dense output is the cubic Hermite polynomial from the end slopes (error of order 4 in the step).

    Args:
        is_looped: whether the four stages form a loop in the compiled program. A large vector field then compiles up
            to four times faster and runs a little slower; leave it off for small ones.

    Gradient: through the steps, exact for the discrete scheme.

    Source: Kutta (1901), Zeitschrift fuer Mathematik und Physik 46, 435-453; Hairer, Norsett & Wanner (1993),
    Solving Ordinary Differential Equations I, table II.1.2, doi:10.1007/978-3-540-78862-1.
    """

    is_looped: bool = False

    term_structure: ClassVar = AbstractTerm
    interpolation_cls: ClassVar[Callable[..., Any]] = ThirdOrderHermitePolynomialInterpolation

    def order(self, terms: Any) -> int:
        """The order of convergence: 4."""
        return 4

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> None:
        """The solver state: None, because the method has no memory."""
        return None

    def step(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any, solver_state: Any, made_jump: Any) -> Any:
        """One step from `t0` to `t1`, with the interface of `diffrax.AbstractSolver.step`."""
        control = terms.contr(t0, t1)
        if self.is_looped:
            y1, k1 = _looped(terms, t0, t1, y0, args, control)
            return y1, None, _dense(terms, t0, t1, args, y0, y1, k1), None, RESULTS.successful
        half = t0 + 0.5 * (t1 - t0)
        k1 = terms.vf_prod(t0, y0, args, control)
        k2 = terms.vf_prod(half, _add(y0, (0.5, k1)), args, control)
        k3 = terms.vf_prod(half, _add(y0, (0.5, k2)), args, control)
        k4 = terms.vf_prod(t1, _add(y0, (1.0, k3)), args, control)
        # y1 = y0 + (k1 + 2 k2 + 2 k3 + k4) / 6
        y1 = jax.tree.map(lambda y, a, b, c, d: y + (a + 2 * (b + c) + d) * (1 / 6), y0, k1, k2, k3, k4)
        return y1, None, _dense(terms, t0, t1, args, y0, y1, k1), None, RESULTS.successful

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        """The vector field at `(t0, y0)`."""
        return terms.vf(t0, y0, args)


def _looped(terms: Any, t0: Any, t1: Any, y0: Any, args: Any, control: Any) -> tuple[Any, Any]:
    """The four stages in a scan: `k_i = f(t0 + c_i h, y0 + c_i h k_{i-1})`, `y1 = y0 + h Σ w_i k_i`."""
    nodes, weights = jnp.asarray([0.0, 0.5, 0.5, 1.0]), jnp.asarray([1.0, 2.0, 2.0, 1.0]) / 6.0

    def stage(carry: Any, coefficients: Any) -> tuple[Any, Any]:
        k, total = carry
        node, weight = coefficients
        shift = lambda y, k: y + node.astype(y.dtype) * k
        k = terms.vf_prod(t0 + node.astype(jnp.result_type(t0)) * (t1 - t0), jax.tree.map(shift, y0, k), args, control)
        return (k, jax.tree.map(lambda y, k: y + weight.astype(y.dtype) * k, total, k)), k

    zero = jax.tree.map(jnp.zeros_like, y0)
    (_, y1), ks = jax.lax.scan(stage, (zero, y0), (nodes, weights))
    return y1, jax.tree.map(lambda k: k[0], ks)


class Midpoint(diffrax.AbstractSolver):
    """The explicit midpoint method of second order with fixed steps; two evaluations per step.

    Choose it over `RK4` for models of limited accuracy at a short sampling time. Dense output and gradients are
    those of `RK4`.

    Source: Runge (1895), Mathematische Annalen 46, 167-178, doi:10.1007/BF01446807.
    """

    term_structure: ClassVar = AbstractTerm
    interpolation_cls: ClassVar[Callable[..., Any]] = ThirdOrderHermitePolynomialInterpolation

    def order(self, terms: Any) -> int:
        """The order of convergence: 2."""
        return 2

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> None:
        """The solver state: None, because the method has no memory."""
        return None

    def step(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any, solver_state: Any, made_jump: Any) -> Any:
        """One step from `t0` to `t1`, with the interface of `diffrax.AbstractSolver.step`."""
        control = terms.contr(t0, t1)
        k1 = terms.vf_prod(t0, y0, args, control)
        k2 = terms.vf_prod(t0 + 0.5 * (t1 - t0), _add(y0, (0.5, k1)), args, control)
        y1 = _add(y0, (1.0, k2))
        return y1, None, _dense(terms, t0, t1, args, y0, y1, k1), None, RESULTS.successful

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        """The vector field at `(t0, y0)`."""
        return terms.vf(t0, y0, args)


class Heun(diffrax.AbstractSolver):
    """Heun's method (the explicit trapezoidal rule) of second order with fixed steps; two evaluations per step.

    Like `Midpoint`, but evaluates at the ends of the step only: prefer it where the input is given at those times.
    Dense output and gradients are those of `RK4`.

    Source: Heun (1900), Zeitschrift fuer Mathematik und Physik 45, 23-38.
    """

    term_structure: ClassVar = AbstractTerm
    interpolation_cls: ClassVar[Callable[..., Any]] = ThirdOrderHermitePolynomialInterpolation

    def order(self, terms: Any) -> int:
        """The order of convergence: 2."""
        return 2

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> None:
        """The solver state: None, because the method has no memory."""
        return None

    def step(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any, solver_state: Any, made_jump: Any) -> Any:
        """One step from `t0` to `t1`, with the interface of `diffrax.AbstractSolver.step`."""
        control = terms.contr(t0, t1)
        k1 = terms.vf_prod(t0, y0, args, control)
        k2 = terms.vf_prod(t1, _add(y0, (1.0, k1)), args, control)
        y1 = _add(y0, (0.5, k1), (0.5, k2))
        return y1, None, _dense(terms, t0, t1, args, y0, y1, k1), None, RESULTS.successful

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        """The vector field at `(t0, y0)`."""
        return terms.vf(t0, y0, args)
