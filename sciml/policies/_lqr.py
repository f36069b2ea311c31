"""The linear quadratic regulator with an infinite horizon."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Complex, Float

from sciml.core import checked, explain, one_at_a_time, RESULTS
from sciml.systems import AbstractContinuousSystem, AbstractDiscreteSystem, care, dare, LinearDiscrete
from sciml.systems._riccati import continuous_gain, discrete_gain, explain_modes, is_known_failure, Matrices

from ._design import as_weights, Equilibrium, finite, is_convex, model_of, reference, Targets, targets, Weights

_eigvals = one_at_a_time(jnp.linalg.eigvals)


class LQR(eqx.Module):
    """The linear quadratic regulator `u = u_s - K (x - x_s)`, with `(x_s, u_s)` the equilibrium of the set point `w`.

    `lqr` makes it. It is a policy without memory, for `rollout`, `OutputFeedback` and, in continuous time, any vector
    field. `w` is the reference of the plant's output, or None for the equilibrium of the design.
    """

    gain: Float[Array, "u x"]
    """`K`."""
    cost: Float[Array, "x x"]
    """`P`: the cost of a run from `x` to its equilibrium is `(x - x_s)ᵀ P (x - x_s)`."""
    loop: Float[Array, "x x"]
    """`A - B K`, the matrix of the closed loop."""
    at: Equilibrium
    """The equilibrium of the design; zero for a linear plant unless given."""
    targets: Targets
    """From set points to equilibria."""
    result: RESULTS
    """How the design ended."""

    def __call__(self, x: Float[Array, " x"], w: Float[Array, " y"] | None) -> Float[Array, " u"]:
        """The input for a state and a reference."""
        x_s, u_s = self.target(w)
        return u_s - self.gain @ (x - x_s)

    def target(self, w: Float[Array, " y"] | None) -> tuple[Float[Array, " x"], Float[Array, " u"]]:
        """The equilibrium `(x_s, u_s)` whose output is the nearest to `w`, in the linear model.

        Raises:
            ValueError: a reference with another shape than the plant's output.
        """
        if w is None:
            return self.at.x, self.at.u
        change = reference(w, self.at)
        return self.at.x + self.targets.X @ change, self.at.u + self.targets.U @ change

    @property
    def poles(self) -> Complex[Array, " x"]:
        """The eigenvalues of the closed loop: inside the unit circle, or in the left half-plane in continuous time.

        They carry no derivative; JAX computes them on CPUs and GPUs, not on TPUs.
        """
        return poles_of(self.loop)


def poles_of(loop: Float[Array, "n n"]) -> Complex[Array, " n"]:
    """The eigenvalues of a matrix, without derivative."""
    return _eigvals(jax.lax.stop_gradient(loop))


def lqr(
    plant: AbstractContinuousSystem | AbstractDiscreteSystem,
    Q: ArrayLike,
    R: ArrayLike,
    S: ArrayLike | None = None,
    *,
    x: ArrayLike | None = None,
    u: ArrayLike | None = None,
    throw: bool = True,
) -> LQR:
    """The policy that minimises `Σ xᵀ Q x + uᵀ R u + 2 xᵀ S u` (an integral in continuous time) of a linear plant.

    Of a nonlinear plant it takes the linear model at an equilibrium. To use it in `rollout`, design it for the sampled
    plant: the gain of a continuous plant is optimal for an input that changes at all times. `lqi` also rejects constant
    disturbances and errors of the model; `finite_lqr` has a horizon.

    Args:
        plant: `LinearDiscrete`, `LinearContinuous`, or any system whose states, inputs and outputs are vectors. Its
            output is what a reference `w` of the policy refers to.
        Q: weight of the state: one number, one for each state, or a symmetric positive semidefinite matrix. Unstable
            modes need none.
        R: weight of the input, likewise, positive definite.
        S: weight `(x, u)` of the product of state and input; zero if None. `[[Q, S], [Sᵀ, R]]` has to be positive
            semidefinite.
        x: equilibrium state, needed for a nonlinear plant; zero if None. Weights count from it.
        u: equilibrium input, likewise.
        throw: whether a failure raises; if not, it is the `result` of the policy.

    Returns:
        An `LQR`. Where the design fails its gain and cost are zero, so that it gives the input of the equilibrium.

    Raises:
        ValueError: shapes that do not fit; outside `jit`, weights that are not symmetric or of the wrong sign, or a
            point that is no equilibrium.
        TypeError: a plant that is no system.
        RuntimeError: with `throw`, `RESULTS.unstable` (no input moves a mode that does not decay), `unbounded` (weights
            of the wrong sign) and `stalled` (rounding).

    Gradient: in both modes and repeated, by plant, weights and equilibrium: see `systems.dare`. Where the design fails
    it is zero.

    Source: Anderson & Moore (1990), Optimal Control: Linear Quadratic Methods, chapters 3 and 4; set points as in
    Rawlings, Mayne & Diehl (2017), Model Predictive Control, section 1.5.1.

    Examples:
        ```python
        mass = sciml.systems.discretise(sciml.systems.zoo.double_integrator(), sciml.systems.Exact(), dt=0.1)
        policy = sciml.policies.lqr(mass, Q=1.0, R=0.1)
        assert jnp.max(jnp.abs(policy.poles)) < 0.9
        run = sciml.rollout(mass, policy, jnp.zeros(2), jnp.tile(jnp.array([2.0, 0.0]), (100, 1)))
        assert jnp.allclose(run.x[-1], jnp.array([2.0, 0.0]), atol=1e-3)  # position 2, at rest
        ```
    """
    model, at = model_of(plant, x, u)
    weights = as_weights(Q, R, S, model)
    policy = _design(model, at, weights)
    return reported(policy, model) if throw else policy


@eqx.filter_jit
def _design(model: Any, at: Equilibrium, weights: Weights) -> LQR:
    with jax.default_matmul_precision("highest"):
        gain, cost, loop, result = infinite(model, weights)
        points = finite(targets(model), has_design(result))
    return LQR(gain, cost, loop, at, points, result)


def infinite(model: Any, weights: Weights) -> tuple[Array, Array, Array, RESULTS]:
    """Gain, cost, closed loop and result of the infinite horizon; gain and cost are zero after a failure."""
    A, B, Q, R, S = model.A, model.B, weights.Q, weights.R, weights.S
    is_discrete = isinstance(model, LinearDiscrete)
    equation, law = (dare, discrete_gain) if is_discrete else (care, continuous_gain)
    solution = equation(A, B, Q, R, S, throw=False)
    result = RESULTS.where(is_convex(weights), solution.result, RESULTS.unbounded)
    exists = has_design(result)
    P = jnp.where(exists, solution.value, 0.0)
    # What is not there has no derivative either: a failed instance is replaced before it enters a factorisation.
    R = jnp.where(exists, R, jnp.eye(R.shape[0], dtype=R.dtype))
    safe_A, safe_B, safe_Q = (jnp.where(exists, a, 0.0) for a in (A, B, Q))
    K = jnp.where(exists, law(Matrices(safe_A, safe_B, safe_Q, R, S), P), 0.0)
    return K, P, A - B @ K, result


def has_design(result: RESULTS) -> Bool[Array, ""]:
    """Whether there is a stabilising gain, exact or not."""
    return (result == RESULTS.successful) | (result == RESULTS.stalled)


def reported(policy: Any, model: Any) -> Any:
    """The policy, or an error that says why its design failed; outside `jit` with the modes that no input moves."""
    expected, fix = "weights of a convex cost", "`Q` >= 0, `R` > 0 and `[[Q, S], [S.T, R]]` >= 0"
    causes = {"unbounded": explain("Q, R", "weights of the wrong sign, or not finite", expected, fix)}
    if is_known_failure(policy.result, model.A, model.B):
        causes |= explain_modes(model.A, model.B, is_discrete=isinstance(model, LinearDiscrete), argument="plant")
    return checked(policy, policy.result, causes)
