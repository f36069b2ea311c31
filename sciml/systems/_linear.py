"""Linear time-invariant systems and their exact discretisation."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from sciml.core import invalid, one_at_a_time

from ._abstract import AbstractContinuousSystem, AbstractDiscreteSystem
from ._parameters import parameter, positive_scalar

_expm = one_at_a_time(jax.scipy.linalg.expm)


def _matrices(
    A: ArrayLike, B: ArrayLike, C: ArrayLike | None, D: ArrayLike | None
) -> tuple[Float[Array, "n n"], Float[Array, "n m"], Float[Array, "o n"], Float[Array, "o m"]]:
    """The four matrices as arrays of matching shapes; `C = I` and `D = 0` where not given."""
    A, B = parameter(A), parameter(B)
    if A.ndim != 2 or A.shape[0] != A.shape[1]:
        raise invalid("A", f"shape {A.shape}", "a square matrix", "give A with one row and one column per state")
    n = A.shape[0]
    if B.ndim != 2 or B.shape[0] != n:
        raise invalid("B", f"shape {B.shape}", f"({n}, inputs)", "give B one row per state, e.g. `B[:, None]`")
    C = jnp.eye(n, dtype=A.dtype) if C is None else parameter(C)
    if C.ndim != 2 or C.shape[1] != n:
        raise invalid("C", f"shape {C.shape}", f"(outputs, {n})", "give C one column per state, e.g. `C[None, :]`")
    D = jnp.zeros((C.shape[0], B.shape[1]), A.dtype) if D is None else parameter(D)
    if D.shape != (C.shape[0], B.shape[1]):
        raise invalid(
            "D", f"shape {D.shape}", f"{(C.shape[0], B.shape[1])}", "give D one row per output, or leave it out"
        )
    return A, B, C, D


class LinearContinuous(AbstractContinuousSystem):
    """The linear system `dx/dt = A x + B u`, `y = C x + D u` in continuous time.

    `discretise(system, Exact(), dt=...)` samples it without step error.
    """

    A: Float[Array, "n n"]
    B: Float[Array, "n m"]
    C: Float[Array, "o n"]
    D: Float[Array, "o m"]

    def __init__(self, A: ArrayLike, B: ArrayLike, C: ArrayLike | None = None, D: ArrayLike | None = None):
        """The matrices; `C` defaults to the identity, `D` to zero.

        Raises:
            ValueError: The shapes do not match.
        """
        self.A, self.B, self.C, self.D = _matrices(A, B, C, D)

    def vector_field(self, t: ArrayLike, x: Float[Array, " n"], u: Float[Array, " m"] | None) -> Float[Array, " n"]:
        """The state derivative `A x + B u`, or `A x` without an input."""
        return self.A @ x if u is None else self.A @ x + self.B @ u

    def output(self, t: ArrayLike, x: Float[Array, " n"], u: Float[Array, " m"] | None) -> Float[Array, " o"]:
        """The measured output `C x + D u`."""
        return self.C @ x if u is None else self.C @ x + self.D @ u

    def input_shape(self) -> tuple[int, ...]:
        """The shape of the input: one entry per column of `B`."""
        return (self.B.shape[1],)


class LinearDiscrete(AbstractDiscreteSystem):
    """The linear system `x[k+1] = A x[k] + B u[k]`, `y = C x + D u` in discrete time, with sampling time `dt`."""

    A: Float[Array, "n n"]
    B: Float[Array, "n m"]
    C: Float[Array, "o n"]
    D: Float[Array, "o m"]
    dt: Float[Array, ""]

    def __init__(
        self,
        A: ArrayLike,
        B: ArrayLike,
        C: ArrayLike | None = None,
        D: ArrayLike | None = None,
        *,
        dt: ArrayLike = 1.0,
    ):
        """The matrices and the sampling time; `C` defaults to the identity, `D` to zero, `dt` to one time unit.

        Raises:
            ValueError: The shapes do not match, or `dt <= 0`.
        """
        self.A, self.B, self.C, self.D = _matrices(A, B, C, D)
        self.dt = positive_scalar(dt, "dt", "give the sampling time in the unit of the system's time")

    def step(self, t: ArrayLike, x: Float[Array, " n"], u: Float[Array, " m"] | None) -> Float[Array, " n"]:
        """The next state `A x + B u`, or `A x` without an input."""
        return self.A @ x if u is None else self.A @ x + self.B @ u

    def output(self, t: ArrayLike, x: Float[Array, " n"], u: Float[Array, " m"] | None) -> Float[Array, " o"]:
        """The measured output `C x + D u`."""
        return self.C @ x if u is None else self.C @ x + self.D @ u

    def input_shape(self) -> tuple[int, ...]:
        """The shape of the input: one entry per column of `B`."""
        return (self.B.shape[1],)


def zero_order_hold(system: LinearContinuous, *, dt: ArrayLike) -> LinearDiscrete:
    """The exact sampling of a linear system whose input is held constant over each step.

    `A_d = exp(A dt)` and `B_d = int_0^dt exp(A s) ds B` are the blocks of one exponential:
    `exp([[A, B], [0, 0]] dt) = [[A_d, B_d], [0, I]]`. No step error, at any `dt`, also for
    singular `A`. `discretise(system, Exact(), dt=dt)` is the same.

    Args:
        system: The continuous system.
        dt: Sampling time in the unit of the system's time, > 0.

    Returns:
        The sampled system; `C` and `D` are unchanged.

    Raises:
        ValueError: `dt` is not a positive scalar.

    Gradient: through the matrix exponential, in both modes, with respect to `A`, `B` and `dt`.

    Source: Van Loan (1978), Computing integrals involving the matrix exponential, IEEE TAC 23(3), theorem 1,
    doi:10.1109/TAC.1978.1101743.
    """
    dt = positive_scalar(dt, "dt", "give the sampling time in the unit of the system's time")
    n, m = system.B.shape
    block = jnp.zeros((n + m, n + m), system.A.dtype).at[:n, :n].set(system.A).at[:n, n:].set(system.B)
    sampled = _expm(block * dt.astype(block.dtype))
    return LinearDiscrete(sampled[:n, :n], sampled[:n, n:], system.C, system.D, dt=dt)
