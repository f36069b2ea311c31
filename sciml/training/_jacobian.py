"""The Gauss-Newton system of a least-squares problem, accumulated in chunks under a memory limit.

`J` comes from the cheapest derivatives that the declared structure allows:

* samples: the rows of one sample at a time, by reverse mode through that sample alone, or by forward mode where the
  sample has about as many residuals as there are parameters (a long simulation of a small model);
* sparsity: one forward derivative for each group of columns that never meet in a row, spread out over the columns a
  few rows at a time;
* else all columns by forward mode, or all rows by reverse mode where these are fewer or the columns do not fit.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax.extend.core import ClosedJaxpr, Jaxpr
from jaxtyping import Array, Float, Scalar

from ..core import batch_size
from ..losses import Sparsity

_PROBES = 32  # random signs for the diagonal of JᵀJ

Term = tuple[Callable[[Array, Any], Array], Any]


class System(eqx.Module):
    """The Gauss-Newton model at one point."""

    cost: Scalar
    """`½‖r‖²`."""
    gradient: Float[Array, " n"]
    """`Jᵀr`."""
    matrix: Float[Array, "_ _"] | None
    """`JᵀJ`; `J` with `r` as its last column where residuals are fewer than parameters; None if neither is kept."""
    diagonal: Float[Array, " n"]
    """Of `JᵀJ`; an estimate where rows of `J` are never computed."""


class Residuals(eqx.Module):
    """A least-squares problem over one flat vector.

    Args:
        whole: `flat -> r`, all residuals as a vector.
        terms: where residuals fall into samples, `(flat, one sample) -> its residuals` and the stacked samples of
            each term.
        sparsity: of the columns of `J`, if it is known.
        shape: numbers of residuals and of parameters.
        memory: bytes for rows or columns of `J` and for what their computation holds.
    """

    whole: Callable[[Array], Array]
    terms: tuple[Term, ...] | None
    sparsity: Sparsity | None
    shape: tuple[int, int]
    memory: float | int

    def normal(self, flat: Float[Array, " n"]) -> System:
        """The system with `JᵀJ`."""
        if self.sparsity is None and self.is_by_columns(flat):
            r, columns = self._columns(flat)
            matrix = columns @ columns.T
            return System(0.5 * r @ r, columns @ r, matrix, jnp.diagonal(matrix))

        def add(total: tuple[Array, Array, Array], rows: Array, r: Array) -> tuple[Array, Array, Array]:
            return total[0] + 0.5 * r @ r, total[1] + r @ rows, total[2] + rows.T @ rows

        zero = jnp.zeros((), flat.dtype)
        start = (zero, jnp.zeros_like(flat), jnp.zeros((flat.size, flat.size), flat.dtype))
        cost, gradient, matrix = self._over_rows(flat, add, start)
        return System(cost, gradient, matrix, jnp.diagonal(matrix))

    def rows(self, flat: Float[Array, " n"]) -> System:
        """The system with `[J, r]`."""
        if self.terms is not None:
            parts = [self._sample_rows(function, data, flat) for function, data in self.terms]
            rows = jnp.concatenate([part[0].reshape(-1, flat.size) for part in parts])
            r = jnp.concatenate([part[1].reshape(-1) for part in parts])
        elif self.is_by_columns(flat):
            r, columns = self._columns(flat)
            rows = columns.T if self.sparsity is None else jax.vmap(self._spread)(columns.T, self.sparsity.pattern)
        else:
            r, pull = jax.vjp(self.whole, flat)
            seed = lambda i: jnp.zeros_like(r).at[i].set(1.0)
            chunk = self._row_chunk(flat)
            rows = jax.lax.map(lambda i: pull(seed(i))[0], jnp.arange(r.size), batch_size=chunk)
        matrix = jnp.concatenate([rows, r[:, None]], axis=1)
        return System(0.5 * r @ r, r @ rows, matrix, jnp.sum(rows**2, axis=0))

    def diagonal(self, flat: Float[Array, " n"]) -> System:
        """The system without a matrix, for products by `product`.

        Without samples `diag(JᵀJ)` is estimated from `(Jᵀv)²` with fixed random signs `v`.

        Source: Bekas, Kokiopoulou & Saad (2007), An estimator for the diagonal of a matrix, equation (2), DOI
        10.1016/j.apnum.2007.01.003.
        """
        if self.terms is None:
            r, pull = jax.vjp(self.whole, flat)
            signs = jax.random.rademacher(jax.random.key(0), (_PROBES, r.size), r.dtype)
            squares = jax.lax.map(lambda v: pull(v)[0] ** 2, signs)
            return System(0.5 * r @ r, pull(r)[0], None, jnp.mean(squares, axis=0))

        def add(total: tuple[Array, Array, Array], rows: Array, r: Array) -> tuple[Array, Array, Array]:
            return total[0] + 0.5 * r @ r, total[1] + r @ rows, total[2] + jnp.sum(rows**2, axis=0)

        start = (jnp.zeros((), flat.dtype), jnp.zeros_like(flat), jnp.zeros_like(flat))
        cost, gradient, diagonal = self._over_rows(flat, add, start)
        return System(cost, gradient, None, diagonal)

    def product(self, flat: Float[Array, " n"]) -> Callable[[Array], Array]:
        """`v -> JᵀJ v`: linearised once where that fits the memory, else anew for every chunk of samples."""
        if self.terms is None or footprint(self.whole, flat) <= self.memory:
            _, push = jax.linearize(self.whole, flat)
            pull = jax.linear_transpose(push, flat)
            return lambda v: pull(push(v))[0]

        return lambda v: self._product_in_chunks(flat, v)

    def _product_in_chunks(self, flat: Array, v: Array) -> Array:
        """`JᵀJ v`, chunk by chunk of the samples."""

        def add(total: Array, chunk: Callable[[Array], Array]) -> Array:
            _, pushed = jax.jvp(chunk, (flat,), (v,))
            return total + jax.vjp(chunk, flat)[1](pushed)[0]

        total = jnp.zeros_like(flat)
        for function, data in self.terms or ():
            tape = footprint(function, flat, _first(data))
            total = _over_chunks(function, data, int(max(1, self.memory / 2 // max(4 * tape, 1))), add, total)
        return total

    def costs(self, points: Float[Array, "k n"]) -> Float[Array, " k"]:
        """`½‖r‖²` at several points: at once where that fits the memory, else by chunks of samples."""
        size = footprint(self.whole, points[0], is_taped=False)
        if self.terms is None or size <= self.memory:
            at_once = int(max(1, min(points.shape[0], self.memory // max(size, 1))))
            return jax.lax.map(lambda flat: 0.5 * jnp.sum(self.whole(flat) ** 2), points, batch_size=at_once)

        def one(flat: Array) -> Scalar:
            total = jnp.zeros((), flat.dtype)
            for function, data in self.terms or ():
                most = int(max(1, self.memory / 2 // max(footprint(function, flat, _first(data)), 1)))
                add = lambda total, chunk: total + 0.5 * jnp.sum(chunk(flat) ** 2)
                total = _over_chunks(function, data, most, add, total)
            return total

        return jax.lax.map(one, points)

    def is_by_columns(self, flat: Any) -> bool:
        """Whether `J` comes from forward derivatives."""
        (m, n), size = self.shape, jnp.dtype(flat.dtype).itemsize
        if self.sparsity is not None:
            return 2 * m * self.sparsity.n_groups * size <= self.memory / 2
        return self.terms is None and m * n * size <= self.memory / 2 and n <= 2 * m  # a row costs about two columns

    def _columns(self, flat: Array) -> tuple[Array, Float[Array, "_ m"]]:
        """`r` and `Jᵀ`, or the sums of the columns of each group, a few at a time."""
        r, push = jax.linearize(self.whole, flat)
        if self.sparsity is None:
            count, groups = flat.size, jnp.arange(flat.size)
        else:
            count, groups = self.sparsity.n_groups, jnp.asarray(self.sparsity.groups)
        chunk = int(max(1, self.memory / 2 // max(footprint(push, flat, is_taped=False), 1)))
        seed = lambda i: (groups == i).astype(flat.dtype)
        return r, jax.lax.map(lambda i: push(seed(i)), jnp.arange(count), batch_size=min(chunk, count))

    def _spread(self, sums: Float[Array, " group"], touched: Any) -> Float[Array, " n"]:
        """A row of `J`: the derivatives of the groups, at the parameters that touch the row, and zero elsewhere."""
        assert self.sparsity is not None
        return jnp.where(touched, sums[jnp.asarray(self.sparsity.groups)], jnp.zeros((), sums.dtype))

    def _sample_rows(self, function: Callable, data: Any, flat: Array) -> tuple[Array, Array]:
        """Jacobian `[sample, k, n]` and residuals `[sample, k]` of a term."""
        rows = lambda one: _rows(lambda v: function(v, one), flat)
        return jax.lax.map(rows, data, batch_size=self._chunk(function, data, flat))

    def _over_rows(self, flat: Array, add: Callable[[Any, Array, Array], Any], total: Any) -> Any:
        """`add(total, rows, r)` over chunks of rows; rows that only fill the last chunk are zero."""
        if self.sparsity is not None and self.is_by_columns(flat):
            r, columns = self._columns(flat)
            pattern, each = jnp.asarray(self.sparsity.pattern), 3 * flat.size * jnp.dtype(flat.dtype).itemsize
            few = int(min(r.size, max(1, self.memory / 4 // each)))
            spread = lambda total, take: add(total, *take(lambda x: (self._spread(x[0], x[1]), x[2])))
            return _chunked((columns.T, pattern, r), few, spread, total)
        if self.terms is None:
            r, pull = jax.vjp(self.whole, flat)
            index = jnp.arange(r.size)
            row = lambda v, i: pull(jnp.zeros_like(r).at[i].set(1.0))[0]
            several = lambda total, take: add(total, *take(lambda i: (row(flat, i), r[i])))
            return _chunked(index, self._row_chunk(flat), several, total)
        for function, data in self.terms:

            def some(total: Any, take: Any, f: Any = function) -> Any:
                rows, r = take(lambda one: _rows(lambda v: f(v, one), flat))
                return add(total, rows.reshape(-1, flat.size), r.reshape(-1))

            total = _chunked(data, self._chunk(function, data, flat), some, total)
        return total

    def _row_chunk(self, flat: Any) -> int:
        """Rows by reverse mode through all residuals that fit into half of the memory."""
        each = flat.size * jnp.dtype(flat.dtype).itemsize + footprint(self.whole, flat)
        return int(min(self.shape[0], max(1, self.memory / 2 // each)))

    def _chunk(self, function: Callable, data: Any, flat: Any) -> int:
        """Samples whose rows, with what their computation holds, fit into half of the memory."""
        k = jax.eval_shape(function, flat, _first(data)).size
        each = 2 * k * flat.size * jnp.dtype(flat.dtype).itemsize + (1 + k) * footprint(function, flat, _first(data))
        return int(min(batch_size(data, "batch"), max(1, self.memory / 2 // each)))


def _first(data: Any) -> Any:
    return jtu.tree_map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), data)


def _rows(residual: Callable[[Array], Array], flat: Array) -> tuple[Float[Array, "k n"], Float[Array, " k"]]:
    """Jacobian and residuals of one sample, by the cheaper mode (a row costs about two columns)."""
    count = jax.eval_shape(residual, flat).size
    if flat.size <= 2 * count:
        r, push = jax.linearize(residual, flat)
        return jax.vmap(push, out_axes=1)(jnp.eye(flat.size, dtype=flat.dtype)), r
    r, pull = jax.vjp(residual, flat)
    return jax.vmap(lambda v: pull(v)[0])(jnp.eye(r.size, dtype=r.dtype)), r


def _over_chunks(function: Callable, data: Any, size: int, add: Callable, total: Any) -> Any:
    """`add(total, flat -> residuals of a chunk)` over chunks of samples."""

    def several(total: Any, take: Any) -> Any:
        return add(total, lambda v: take(lambda one: function(v, one)).reshape(-1))

    return _chunked(data, min(size, batch_size(data, "batch")), several, total)


def _chunked(data: Any, size: int, add: Callable[[Any, Callable], Any], total: Any) -> Any:
    """`add(total, take)` over chunks of `size` entries; `take(function)`: its values over one, zero past the end."""
    count = batch_size(data, "batch")

    def one_chunk(i: Any, total: Any) -> Any:
        index = i * size + jnp.arange(size)
        chunk = jtu.tree_map(lambda x: x[jnp.minimum(index, count - 1)], data)
        keep = lambda x: jnp.where((index < count).reshape(-1, *[1] * (x.ndim - 1)), x, jnp.zeros((), x.dtype))
        return add(total, lambda function: jtu.tree_map(keep, jax.vmap(function)(chunk)))

    if size == count:
        return add(total, lambda function: jax.vmap(function)(data))
    return jax.lax.fori_loop(0, -(-count // size), one_chunk, total)


def footprint(function: Callable, *arguments: Any, is_taped: bool = True) -> int:
    """Bytes of all intermediate values of a function: an upper bound of what a derivative of it holds.

    Args:
        function: of arrays.
        arguments: arrays, or their shapes and dtypes.
        is_taped: whether the steps of a scan are all held, as reverse mode does, or one after the other.
    """
    return _bytes(jax.make_jaxpr(function)(*arguments).jaxpr, is_taped)


def _bytes(jaxpr: Jaxpr, is_taped: bool) -> int:
    total = 0
    for eqn in jaxpr.eqns:
        inner = [p for v in eqn.params.values() for p in (v if isinstance(v, tuple | list) else (v,))]
        bodies = [p.jaxpr if isinstance(p, ClosedJaxpr) else p for p in inner if isinstance(p, ClosedJaxpr | Jaxpr)]
        times = eqn.params["length"] if eqn.primitive.name == "scan" and is_taped else 1
        total += times * sum(_bytes(body, is_taped) for body in bodies)
        values: list[Any] = [v.aval for v in eqn.outvars]
        total += sum(a.size * a.dtype.itemsize for a in values if hasattr(a, "shape") and hasattr(a.dtype, "itemsize"))
    return total
