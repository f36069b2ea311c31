"""A quadratic program given by its matrices, so that solvers can exploit what a batch of instances shares."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Scalar

from ..core import invalid, one_at_a_time, solve_triangular, tree_size
from ._program import AbstractProgram
from ._stages import Staged

_qr = one_at_a_time(lambda matrix: jnp.linalg.qr(matrix, mode="complete"))
_svd = one_at_a_time(jnp.linalg.svd)


class Quadratic(eqx.Module):
    """The matrices and vectors of a quadratic program at one instance; missing blocks have no rows."""

    Q: Float[Array, "n n"]
    q: Float[Array, " n"]
    A: Float[Array, "h n"]
    b: Float[Array, " h"]
    G: Float[Array, "g n"]
    h: Float[Array, " g"]
    rank: int | None = eqx.field(static=True, default=None)
    """Of `A`, where it is known beforehand."""
    is_linear: bool = eqx.field(static=True, default=False)
    """Whether `Q` is zero, in every instance and by declaration."""


class QuadraticProgram(AbstractProgram):
    """minimise `½ zᵀQz + qᵀz` subject to `A z = b`, `G z <= h`, `lower <= z <= upper`, over one vector `z`.

    Every entry is an array or a function of `p`. Write as arrays what all instances share: then `InteriorPointQP`
    factors and eliminates it once for a whole batch.

    Args:
        Q: positive semidefinite matrix `n x n` (its symmetric part counts); None for a linear objective.
        q: vector of `n`; None for zero.
        A, b: equalities, `h x n` and `h`; rows may depend on each other. Both or neither.
        G, h: inequalities, `g x n` and `g`; an infinite entry of `h` switches its row off. Both or neither.
        lower, upper: bounds, a number for all entries or a vector of `n`; infinite or None for no bound.
        rank: the rank that `A` has in every instance. An array tells it by itself. Where `A` is a function and you
            know its rank (that is the number of its rows, unless they depend on each other), say so: equalities are
            then eliminated, which costs a third. An instance whose `A` has a smaller rank fails.

    Raises:
        ValueError: if an array has the wrong shape, only one of a pair is given, or the rank is impossible.

    Gradient: solutions are differentiable with respect to everything that the functions take from `p`, and to the
    arrays themselves. Only the symmetric part of `Q` has an effect, so its gradient is symmetric.

    Source: Nocedal & Wright (2006), Numerical Optimization, chapter 16.
    """

    Q: Any
    q: Any
    A: Any
    b: Any
    G: Any
    h: Any
    lower: Any
    upper: Any
    rank: int | None = eqx.field(static=True)
    """The rank of `A` where it is known beforehand, else None."""

    def __init__(
        self,
        Q: Any = None,
        q: Any = None,
        A: Any = None,
        b: Any = None,
        G: Any = None,
        h: Any = None,
        lower: Any = None,
        upper: Any = None,
        *,
        rank: int | None = None,
    ):
        if (A is None) != (b is None):
            raise invalid("A, b", "one of the two", "both or neither", "give the matrix and the right-hand side")
        if (G is None) != (h is None):
            raise invalid("G, h", "one of the two", "both or neither", "give the matrix and the right-hand side")
        if Q is None and q is None:
            raise invalid("Q, q", "neither", "a matrix, a vector, or both", "give the objective's `Q` or `q`")
        self.Q, self.q, self.A, self.b = _array(Q), _array(q), _array(A), _array(b)
        self.G, self.h, self.lower, self.upper = _array(G), _array(h), _array(lower), _array(upper)
        self.rank = _rank(self.A) if rank is None else _given_rank(rank, A)
        _check({name: getattr(getattr(self, name), "shape", None) for name in "QqAbGh"}, None)

    @property
    def structure(self) -> Callable[[Any, Any, Any], Staged] | None:
        """None: matrices are dense."""
        return None

    @property
    def matrices(self) -> Callable[[Any, Any], Quadratic]:
        """`(z, p) -> Quadratic`."""
        return self._matrices

    @property
    def objective(self) -> Callable[[Any, Any], Any]:
        """`(z, p) -> ½ zᵀQz + qᵀz`."""
        return self._cost

    @property
    def ineq(self) -> Callable[[Any, Any], Any] | None:
        """`(z, p) -> G z - h`, or None. Rows with an infinite `h` count as -1."""
        return None if self.G is None else self._excess

    @property
    def eq(self) -> Callable[[Any, Any], Any] | None:
        """`(z, p) -> A z - b`, or None."""
        return None if self.A is None else self._defect

    def at(self, p: Any, n: int, dtype: Any) -> Quadratic:
        """All matrices and vectors at the instance `p` for `n` variables, missing blocks with no rows.

        Raises:
            ValueError: if a function returns a wrong shape.
        """
        zero = lambda *shape: jnp.zeros(shape, dtype)
        value = lambda entry, missing: missing if entry is None else jnp.asarray(_at(entry, p)).astype(dtype)
        Q = value(self.Q, zero(n, n))
        blocks = {
            "Q": 0.5 * (Q + Q.T), "q": value(self.q, zero(n)), "A": value(self.A, zero(0, n)),
            "b": value(self.b, zero(0)), "G": value(self.G, zero(0, n)), "h": value(self.h, zero(0)),
        }  # fmt: skip
        arrays = [name for name in "QqAG" if not (getattr(self, name) is None or callable(getattr(self, name)))]
        columns = {blocks[name].shape[-1] for name in arrays if blocks[name].ndim}
        if len(columns) == 1 and columns != {n}:
            (own,) = columns
            raise invalid("z0", f"{n} entries", f"{own} entries", f"start from a vector of {own}, as the matrices say")
        _check({name: block.shape for name, block in blocks.items()}, n)
        return Quadratic(**blocks, rank=self.rank, is_linear=self.Q is None)

    def _matrices(self, z: Any, p: Any) -> Quadratic:
        if not (hasattr(z, "shape") and z.ndim == 1):
            fix = "start a `QuadraticProgram` from a vector, such as `jnp.zeros(n)`"
            raise invalid("z0", f"{jtu.tree_structure(z)} of {tree_size(z)} entries", "one vector", fix)
        return self.at(p, z.size, z.dtype)

    def _cost(self, z: Float[Array, " n"], p: Any) -> Scalar:
        curved = 0.0 if self.Q is None else 0.5 * (z @ (_like(z, self.Q, p) @ z))
        return jnp.asarray(curved + (0.0 if self.q is None else _like(z, self.q, p) @ z))

    def _excess(self, z: Float[Array, " n"], p: Any) -> Float[Array, " g"]:
        h = _like(z, self.h, p)
        finite = jnp.isfinite(h)
        return jnp.where(finite, _like(z, self.G, p) @ z - jnp.where(finite, h, 0.0), -1.0)

    def _defect(self, z: Float[Array, " n"], p: Any) -> Float[Array, " h"]:
        return _like(z, self.A, p) @ z - _like(z, self.b, p)


def null_space(A: Float[Array, "h n"], rank: int) -> tuple[Float[Array, "n k"], Float[Array, "n h"]]:
    """An orthonormal basis `Z` of the null space of `A`, and its pseudoinverse `A⁺`, where the rank is known.

    Source: Golub & Van Loan (2013), Matrix Computations, section 5.5.
    """
    if rank == A.shape[0]:
        # Aᵀ = [Y Z] [R; 0]: the null space is the rest of the orthogonal basis, and A⁺ = Y R⁻ᵀ.
        basis, triangle = _qr(A.T)
        inverse = solve_triangular(triangle[:rank].T, basis[:, :rank].T, transposed=True)
        return basis[:, rank:], inverse.T
    u, s, vt = _svd(A)
    return vt[rank:].T, (vt[:rank].T / s[:rank]) @ u[:, :rank].T


def _rank(A: Any) -> int | None:
    """The numerical rank of a matrix with known values, up to a thousand rounding errors of its dtype."""
    if A is None:
        return 0
    if callable(A) or isinstance(A, Tracer):
        return None
    values = np.asarray(A, float)
    if not np.all(np.isfinite(values)) or values.ndim != 2 or 0 in values.shape:
        return 0 if values.size == 0 else None
    rows = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), np.finfo(float).tiny)
    sizes = np.linalg.svd(rows, compute_uv=False)
    return int(np.sum(sizes > 1e3 * np.finfo(A.dtype).eps * sizes[0]))


def _given_rank(rank: int, A: Any) -> int:
    most = 0 if A is None else np.inf if callable(A) else min(np.shape(A))
    if not 0 <= rank <= most:
        raise invalid("rank", repr(rank), f"an integer from 0 to {most}", "give the rank of `A`, or leave it out")
    return rank


def _array(entry: Any) -> Any:
    if entry is None or callable(entry):
        return entry
    array = jnp.asarray(entry)
    default = jnp.zeros(()).dtype
    return array.astype(array.dtype if jnp.issubdtype(array.dtype, jnp.floating) else default)


def _at(entry: Any, p: Any) -> Any:
    return entry(p) if callable(entry) else entry


def _like(z: Array, entry: Any, p: Any) -> Array:
    """The value of an entry in the dtype of the decision."""
    return jnp.asarray(_at(entry, p)).astype(z.dtype)


def _check(shapes: dict[str, tuple[int, ...] | None], n: int | None) -> None:
    """Raises where shapes contradict each other; None stands for one that is not known yet."""
    known = [shape[-1] for name, shape in shapes.items() if shape and name in "QqAG"]
    n = n if n is not None else (known[0] if known else None)
    first = lambda *names: next((shapes[name][0] for name in names if shapes[name]), None)  # pyright: ignore[reportOptionalSubscript]
    g, m = first("G", "h"), first("A", "b")
    wanted = {"Q": (n, n), "q": (n,), "A": (m, n), "b": (m,), "G": (g, n), "h": (g,)}
    for name, got in shapes.items():
        if got is not None and n is not None and got != wanted[name]:
            sizes = ", ".join(str(size) for size in wanted[name])
            fix = "one column for each decision variable, one row for each constraint"
            raise invalid(name, f"shape {got}", f"({sizes})", fix)
