"""Mechanics whose structure holds for any parameters: Lagrangian, Hamiltonian and port-Hamiltonian systems."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Scalar

from sciml.core import as_floats, cholesky, invalid, solve_cholesky

from .._abstract import AbstractContinuousSystem

Matrix = Callable[..., Any] | Array | None
Given = Callable[..., Any] | ArrayLike | None


class CholeskyMatrix(eqx.Module):
    """A positive definite matrix as a function: `L(q) L(q)ᵀ + floor I` for any `function` that fills the triangle `L`.

    Examples:
        ```python
        from sciml.systems.models import CholeskyMatrix

        network = lambda q: jnp.stack([q[0], q[1], q[0] * q[1]])
        mass = CholeskyMatrix(network, 2)(jnp.array([1.0, -2.0]))
        assert jnp.all(jnp.linalg.eigvalsh(mass) > 0)
        ```
    """

    function: Callable[..., Any]
    size: int = eqx.field(static=True)
    floor: float = eqx.field(static=True)

    def __init__(self, function: Callable[..., Any], size: int, floor: float = 1e-3):
        """Entries of a triangle, made positive definite.

        Args:
            function: `q -> (size (size + 1) / 2,)`, any numbers, such as a network: the lower triangle row by row.
            size: rows of the matrix, >= 1.
            floor: least eigenvalue, > 0, in the unit of the matrix.

        Raises:
            ValueError: `size < 1` or `floor <= 0`.
        """
        if size < 1 or not floor > 0:
            raise invalid("size, floor", (size, floor), "size >= 1 and floor > 0", "give the number of rows")
        self.function, self.size, self.floor = function, size, floor

    def __call__(self, q: Float[Array, " q"]) -> Float[Array, "size size"]:
        """The matrix at `q`."""
        entries = self.function(q)
        rows, columns = jnp.tril_indices(self.size)
        L = jnp.zeros((self.size, self.size), entries.dtype).at[rows, columns].set(entries)
        return L @ L.T + self.floor * jnp.eye(self.size, dtype=entries.dtype)


class Lagrangian(AbstractContinuousSystem):
    """`d/dt ∂L/∂v - ∂L/∂q = G(q) u - D(q) v` with `L = ½ vᵀ M(q) v - V(q)`; the state is `(q, v)`.

    Positions come first, then speeds:

        M(q) dv/dt = ∂/∂q (½ vᵀ M v) - (d/dt M) v - ∂V/∂q - D(q) v + G(q) u,   dq/dt = v

    The kinetic energy is positive for any parameters if `mass` is (`CholeskyMatrix`), and damping takes energy out for
    any parameters because it is `D = K(q) K(q)ᵀ` of whatever `damping_root` returns. So

        d/dt energy = vᵀ G u - ‖Kᵀ v‖²

    Source: Goldstein, Poole & Safko (2002), Classical Mechanics, section 1.5; Lutter, Ritter & Peters (2019), Deep
    Lagrangian networks, arXiv:1907.04490, for the learned mass matrix.

    Examples:
        ```python
        from sciml.systems.models import Lagrangian

        pendulum = Lagrangian(mass=lambda q: jnp.eye(1), potential=lambda q: -9.81 * jnp.cos(q[0]))
        rate = pendulum.vector_field(0.0, jnp.array([0.3, 0.5]), None)
        assert jnp.allclose(rate, jnp.array([0.5, -9.81 * jnp.sin(0.3)]))
        ```
    """

    mass: Callable[..., Any]
    potential: Callable[..., Any]
    damping_root: Matrix
    input_matrix: Matrix

    def __init__(
        self,
        mass: Callable[..., Any],
        potential: Callable[..., Any],
        *,
        damping_root: Given = None,
        input_matrix: Given = None,
    ):
        """Functions of the position, plain ones or modules.

        Args:
            mass: `q -> M`, `(q, q)`, symmetric and positive definite.
            potential: `q -> V`, a scalar.
            damping_root: `q -> K`, `(q, any)`, or that matrix, with `D = K Kᵀ`; None for no damping. A
                matrix is a parameter, trained with the others.
            input_matrix: `q -> G`, `(q, u)`, or that matrix; None if inputs act on the positions one by one.
        """
        self.mass, self.potential = mass, potential
        self.damping_root, self.input_matrix = (
            _checked(damping_root, "damping_root"),
            _checked(input_matrix, "input_matrix"),
        )

    def vector_field(self, t: ArrayLike, x: Float[Array, " x"], u: Float[Array, " u"] | None) -> Float[Array, " x"]:
        """Speeds and accelerations."""
        q, v = _halves(x)
        M, M_dot = jax.jvp(self.mass, (q,), (v,))
        slope = jax.grad(lambda q: 0.5 * v @ self.mass(q) @ v - jnp.reshape(self.potential(q), ()))(q)
        force = slope - M_dot @ v - _dissipated(self.damping_root, q, v) + _injected(self.input_matrix, q, u, v)
        return jnp.concatenate([v, solve_cholesky(cholesky(M), force[:, None])[:, 0]])

    def energy(self, x: Float[Array, " x"]) -> Scalar:
        """`½ vᵀ M(q) v + V(q)`."""
        q, v = _halves(x)
        return 0.5 * v @ self.mass(q) @ v + jnp.reshape(self.potential(q), ())

    def input_shape(self) -> tuple[int, ...] | None:
        """The shape of the input, where `input_matrix` is a matrix."""
        return _columns(self.input_matrix)


class Hamiltonian(AbstractContinuousSystem):
    """`dq/dt = ∂H/∂p`, `dp/dt = -∂H/∂q - D(q) ∂H/∂p + G(q) u`; the state is `(q, p)`, positions then momenta.

    Without damping and input the energy `H` is constant. For a separable one, `H = T(p) + V(q)`, `separable` makes the
    function. Choose `Lagrangian` where speeds are measured, this where momenta are.

    Source: Goldstein, Poole & Safko (2002), Classical Mechanics, section 8.1; Greydanus, Dzamba & Yosinski (2019),
    Hamiltonian neural networks, arXiv:1906.01563.

    Examples:
        ```python
        from sciml.systems.models import Hamiltonian, separable

        spring = Hamiltonian(separable(lambda p: 0.5 * p @ p, lambda q: 2.0 * q @ q))
        assert jnp.allclose(spring.vector_field(0.0, jnp.array([1.0, 3.0]), None), jnp.array([3.0, -4.0]))
        ```
    """

    hamiltonian: Callable[..., Any]
    damping_root: Matrix
    input_matrix: Matrix

    def __init__(self, hamiltonian: Callable[..., Any], *, damping_root: Given = None, input_matrix: Given = None):
        """The energy, a plain function or a module.

        Args:
            hamiltonian: `(q, p) -> H`, a scalar.
            damping_root: as in `Lagrangian`.
            input_matrix: as in `Lagrangian`.
        """
        self.hamiltonian = hamiltonian
        self.damping_root, self.input_matrix = (
            _checked(damping_root, "damping_root"),
            _checked(input_matrix, "input_matrix"),
        )

    def vector_field(self, t: ArrayLike, x: Float[Array, " x"], u: Float[Array, " u"] | None) -> Float[Array, " x"]:
        """Derivatives of positions and momenta."""
        q, p = _halves(x)
        by_q, by_p = jax.grad(lambda q, p: jnp.reshape(self.hamiltonian(q, p), ()), (0, 1))(q, p)
        force = -by_q - _dissipated(self.damping_root, q, by_p) + _injected(self.input_matrix, q, u, by_p)
        return jnp.concatenate([by_p, force])

    def energy(self, x: Float[Array, " x"]) -> Scalar:
        """`H(q, p)`."""
        return jnp.reshape(self.hamiltonian(*_halves(x)), ())

    def input_shape(self) -> tuple[int, ...] | None:
        """The shape of the input, where `input_matrix` is a matrix."""
        return _columns(self.input_matrix)


class Separable(eqx.Module):
    """`H(q, p) = T(p) + V(q)`; made by `separable`."""

    kinetic: Callable[..., Any]
    potential: Callable[..., Any]

    def __call__(self, q: Float[Array, " q"], p: Float[Array, " p"]) -> Scalar:
        """The energy."""
        return jnp.reshape(self.kinetic(p), ()) + jnp.reshape(self.potential(q), ())


def separable(kinetic: Callable[..., Any], potential: Callable[..., Any]) -> Separable:
    """`H(q, p) = kinetic(p) + potential(q)`, for `Hamiltonian`."""
    return Separable(kinetic, potential)


class PortHamiltonian(AbstractContinuousSystem):
    """`dx/dt = (J(x) - R(x)) ∂H/∂x + G(x) u`, `y = G(x)ᵀ ∂H/∂x`: passive for any parameters.

    `J = (S - Sᵀ)/2` and `R = K Kᵀ` come from arbitrary matrices `S` and `K` (a skew `S` is `J` itself), so that

        d/dt H = uᵀ y - ‖Kᵀ ∂H/∂x‖² <= uᵀ y

    holds by construction: the system stores no more energy than it is given. If `H` has a strict minimum (that of a
    positive definite network), it is a stable equilibrium for `u = 0`. Interconnections of such systems are passive
    again.

    Source: van der Schaft & Jeltsema (2014), Port-Hamiltonian systems theory: an introductory overview, chapter 4,
    doi:10.1561/2600000002.

    Examples:
        ```python
        from sciml.systems.models import PortHamiltonian

        skew, loss, port = jnp.array([[0.0, 1.0], [-1.0, 0.0]]), jnp.array([[0.0], [0.3]]), jnp.array([[0.0], [1.0]])
        spring = PortHamiltonian(lambda x: 0.5 * x @ x, skew, loss, port)
        x, u = jnp.array([1.0, 2.0]), jnp.array([0.5])
        assert jnp.allclose(spring.vector_field(0.0, x, u), jnp.array([2.0, -1.0 - 0.09 * 2.0 + 0.5]))
        ```
    """

    hamiltonian: Callable[..., Any]
    interconnection: Callable[..., Any] | Array
    dissipation_root: Matrix
    input_matrix: Callable[..., Any] | Array

    def __init__(
        self,
        hamiltonian: Callable[..., Any],
        interconnection: Callable[..., Any] | ArrayLike,
        dissipation_root: Given,
        input_matrix: Callable[..., Any] | ArrayLike,
    ):
        """Functions of the state, plain ones or modules, or constant matrices.

        Args:
            hamiltonian: `x -> H`, a scalar.
            interconnection: `x -> S`, `(x, x)`, any matrix, or that matrix; only its skew part counts.
            dissipation_root: `x -> K`, `(x, any)`, or that matrix, with `R = K Kᵀ`; None for a lossless system.
            input_matrix: `x -> G`, `(x, u)`, or that matrix.
        """
        self.hamiltonian, self.interconnection = hamiltonian, _checked(interconnection, "interconnection")
        self.dissipation_root = _checked(dissipation_root, "dissipation_root")
        self.input_matrix = _checked(input_matrix, "input_matrix")

    def vector_field(self, t: ArrayLike, x: Float[Array, " x"], u: Float[Array, " u"] | None) -> Float[Array, " x"]:
        """The state derivative."""
        slope = jax.grad(self.energy)(x)
        S = _at(self.interconnection, x)
        flow = 0.5 * (S @ slope - S.T @ slope) - _dissipated(self.dissipation_root, x, slope)
        return flow if u is None else flow + _at(self.input_matrix, x) @ u

    def output(self, t: ArrayLike, x: Float[Array, " x"], u: Float[Array, " u"] | None) -> Float[Array, " y"]:
        """The passive output, the power conjugate of the input: `G(x)ᵀ ∂H/∂x`."""
        return _at(self.input_matrix, x).T @ jax.grad(self.energy)(x)

    def energy(self, x: Float[Array, " x"]) -> Scalar:
        """`H(x)`."""
        return jnp.reshape(self.hamiltonian(x), ())

    def input_shape(self) -> tuple[int, ...] | None:
        """The shape of the input, where `input_matrix` is a matrix."""
        return _columns(self.input_matrix)


def _halves(x: Array) -> tuple[Array, Array]:
    """Positions, and speeds or momenta."""
    if x.size % 2:
        fix = "begin at positions and as many speeds (`Lagrangian`) or momenta (`Hamiltonian`)"
        raise invalid("x", f"{x.size} states", "an even number: positions, then speeds or momenta", fix)
    first, second = jnp.split(x, 2)
    return first, second


def _checked(matrix: Any, argument: str) -> Any:
    """A constant matrix as an array; functions and None as they are."""
    if matrix is None or callable(matrix):
        return matrix
    array = as_floats(matrix, argument)
    if array.ndim != 2:
        raise invalid(
            argument, f"shape {array.shape}", "a matrix, or a function that returns one", "write `jnp.eye(1)`"
        )
    return array


def _at(matrix: Any, q: Array) -> Array:
    """A matrix at `q`, constant or a function."""
    return jnp.asarray(matrix(q) if callable(matrix) else matrix)


def _dissipated(root: Matrix, q: Array, v: Array) -> Array:
    """`K Kᵀ v`."""
    if root is None:
        return jnp.zeros_like(v)
    K = _at(root, q)
    return K @ (K.T @ v)


def _injected(matrix: Matrix, q: Array, u: Array | None, like: Array) -> Array:
    """`G u`."""
    if u is None:
        return jnp.zeros_like(like)
    return u if matrix is None else _at(matrix, q) @ u


def _columns(matrix: Any) -> tuple[int, ...] | None:
    """`(u,)` of a constant matrix."""
    return (matrix.shape[1],) if eqx.is_array(matrix) else None
