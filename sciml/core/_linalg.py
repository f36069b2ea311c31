"""Matrix functions whose batches are safe beside each other, on every supported jaxlib.

On a CPU, jaxlib before 0.11.2 splits a batched LAPACK call over XLA's thread pool and *blocks* a thread of that same
pool until the parts are done. Two such calls that do not depend on each other can each hold the thread that the other
waits for, and the program never returns. Calls below a fixed amount of work run on the calling thread and block
nothing. There, these functions cut a batch into groups of less than that amount, one after the other; elsewhere, and on
other devices, they are the plain functions of JAX. The price is that a batch of factorisations uses one thread
(decision 6, with measurements); newer releases of jaxlib do the same.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import jaxlib.version
import numpy as np
from jax.custom_batching import custom_vmap
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

LAPACK_BLOCKS = tuple(map(int, re.findall(r"\d+", jaxlib.version.__version__)[:3])) < (0, 11, 2)
"""Whether batched LAPACK calls of this jaxlib may wait for each other for ever."""

LEAST_WORK = 200_000
"""Least work of a batched call, in multiplications, that this jaxlib hands to its thread pool."""


def cholesky(matrix: Float[Array, "*batch n n"]) -> Float[Array, "*batch n n"]:
    """Lower `L` with `L Lᵀ = matrix`, of which only the lower triangle is read; NaN where it is not positive definite.

    Gradient: forward, reverse and repeated; `dL = L Φ(L⁻¹ dM L⁻ᵀ)`, with `Φ` the lower triangle and half the diagonal
    (Murray 2016, Differentiation of the Cholesky decomposition, arXiv:1602.07527, equation 8).
    """
    return _cholesky(matrix) if LAPACK_BLOCKS else _plain_cholesky(matrix)


def solve_triangular(
    factor: Float[Array, "*batch n n"], right: Float[Array, "*batch n m"], *, transposed: bool = False
) -> Float[Array, "*batch n m"]:
    """`L⁻¹ right`, or `L⁻ᵀ right`, for a lower triangular `L` and several right-hand sides.

    Under `vmap` over `right` alone, the batch becomes columns of one solve.

    Gradient: forward, reverse and repeated; `dX = L⁻¹ (dB - dL X)`.
    """
    if not LAPACK_BLOCKS:
        return _plain_solve(factor, right, transposed)
    return (_solve_transposed if transposed else _solve)(factor, right)


def solve_cholesky(factor: Float[Array, "*batch n n"], right: Float[Array, "*batch n m"]) -> Float[Array, "*batch n m"]:
    """`(L Lᵀ)⁻¹ right` for several right-hand sides."""
    return solve_triangular(factor, solve_triangular(factor, right), transposed=True)


def one_at_a_time(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` of arrays, whose batches go through LAPACK one instance after the other where that is needed.

    For functions that are called rarely, such as `eigh`, `svd`, `solve` and `expm`: everything in the library that
    calls a routine of LAPACK other than the ones above does it through this function.

    Gradient: that of `function`, in both modes. The first derivative goes one instance after the other as well, and
    computes `function` again; repeated derivatives are those of JAX and have its risk.
    """
    if not LAPACK_BLOCKS:
        return function

    @jax.custom_jvp
    def safe(*arrays: Array) -> Any:
        return _sequential(function)(*arrays)

    @safe.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        return safe(*primals), _push(function, primals, tangents)

    return safe


def _sequential(function: Callable[..., Any], held: int = 0) -> Callable[..., Any]:
    """`function` with batches in a loop; a batch of arguments after the first `held` alone is left to `function`."""
    single = custom_vmap(lambda *arrays: function(*arrays))

    @single.def_vmap
    def _(size: int, batched: list[bool], *arrays: Array) -> Any:
        del size
        axes = tuple(0 if flag else None for flag in batched)
        if not any(batched[:held]) and held:
            out = _sequential(jax.vmap(function, axes), held)(*arrays)
            return out, jax.tree.map(lambda _: True, out)
        place = lambda xs: [next(xs) if flag else x for flag, x in zip(batched, arrays, strict=True)]
        loop = lambda *mapped: jax.lax.map(lambda xs: single(*place(iter(xs))), mapped)
        at_once = lambda *mapped: jax.vmap(lambda *xs: function(*place(iter(xs))))(*mapped)
        chosen = [x for flag, x in zip(batched, arrays, strict=True) if flag]
        out = jax.lax.platform_dependent(*chosen, cpu=loop, default=at_once)
        return out, jax.tree.map(lambda _: True, out)

    return single


def _push(function: Callable[..., Any], primals: tuple[Array, ...], tangents: tuple[Any, ...]) -> Any:
    """The tangent `T t` of `function` at `primals`, with batches one instance after the other in both modes.

    The loops of `_sequential` cannot be transposed, but a linear solve can be given the solution and its transpose:

        [ I  0] [x]   [t]   by   x = t         and   [I  -Tᵀ] [x]   [t]   by   x = t + Tᵀ c
        [-T  I] [y] = [c]        y = c + T t         [0    I] [y] = [c]        y = c.
    """
    out = jax.eval_shape(function, *primals)
    is_real = lambda x: jnp.issubdtype(x.dtype, jnp.inexact)
    flags_in, flags_out = ([is_real(x) for x in jax.tree.leaves(tree)] for tree in (primals, out))
    reals = lambda tree, flags: [x for x, flag in zip(jax.tree.leaves(tree), flags, strict=True) if flag]
    n, t, shapes = len(primals), reals(tangents, flags_in), reals(out, flags_out)
    of_reals = lambda xs: lambda v: reals(function(*_replaced(xs, flags_in, v)), flags_out)

    def push(*args: Array) -> list[Array]:
        return jax.jvp(of_reals(args[:n]), (reals(args[:n], flags_in),), (list(args[n:]),))[1]

    def pull(*args: Array) -> list[Array]:
        return jax.vjp(of_reals(args[:n]), reals(args[:n], flags_in))[1](list(args[n:]))[0]

    # One vector, since a linear solve is transposed with respect to its whole right-hand side.
    right, split = ravel_pytree((t, [jnp.zeros(x.shape, x.dtype) for x in shapes]))
    join = lambda *parts: ravel_pytree(parts)[0]
    plus = lambda a, b, sign=1: [x + sign * y for x, y in zip(a, b, strict=True)]
    each_push, each_pull = _sequential(push, n), _sequential(pull, n)

    def matvec(v: Array) -> Array:
        x, y = split(v)
        return join(x, plus(y, push(*primals, *x), -1))

    def solve(_: Any, v: Array) -> Array:
        x, y = split(v)
        return join(x, plus(y, each_push(*primals, *x)))

    def transposed(_: Any, v: Array) -> Array:
        x, y = split(v)
        return join(plus(x, each_pull(*primals, *y)), y)

    _, change = split(jax.lax.custom_linear_solve(matvec, right, solve, transposed))
    nothing = [np.zeros(x.shape, jax.dtypes.float0) for x in jax.tree.leaves(out)]
    return jax.tree.unflatten(jax.tree.structure(out), _replaced(nothing, flags_out, change))


def _replaced(values: Any, flags: list[bool], new: Any) -> list[Any]:
    """`values`, those with a flag replaced by the next of `new`."""
    new = iter(new)
    return [next(new) if flag else value for flag, value in zip(flags, values, strict=True)]


# Compiled functions of their own: XLA for CPUs may take a small loop out of a program and emit it without support for
# custom calls ("No registered implementation for untyped custom call"), unless the call hides in a function.
@jax.jit
def _plain_cholesky(matrix: Array) -> Array:
    return jax.lax.linalg.cholesky(matrix, symmetrize_input=False)


@partial(jax.jit, static_argnums=2)
def _plain_solve(factor: Array, right: Array, transposed: bool) -> Array:
    return jax.lax.linalg.triangular_solve(factor, right, left_side=True, lower=True, transpose_a=transposed)


def _by_groups(function: Callable[..., Any], arrays: tuple[Array, ...], group: int) -> Any:
    """`function(*arrays)` over the leading axis, `group` entries at a time on a CPU."""
    count = arrays[0].shape[0]
    if count <= group:
        return function(*arrays)

    looped = partial(_loop, function, group, count)
    return jax.lax.platform_dependent(*arrays, cpu=looped, default=function)


def _loop(function: Callable[..., Any], group: int, count: int, *arrays: Array) -> Any:
    """`function(*arrays)` in groups, one after the other."""
    out = jax.eval_shape(function, *arrays)

    def body(i: Any, out: Any) -> Any:
        # The last group ends at the end: it may do a part of the one before it again.
        start = jnp.minimum(i * group, count - group)
        take = lambda x: jax.lax.dynamic_slice_in_dim(x, start, group)
        put = lambda whole, part: jax.lax.dynamic_update_slice_in_dim(whole, part, start, 0)
        return jax.tree.map(put, out, function(*map(take, arrays)))

    empty = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), out)
    return jax.lax.fori_loop(0, -(-count // group), body, empty)


def _flat(x: Array) -> Array:
    return x.reshape(-1, *x.shape[-2:])


def _group(work: int) -> int:
    """How many matrices of this much work one call may take and stay on its thread."""
    return max(1, LEAST_WORK // max(work, 1) - 1)


@jax.custom_jvp
def _cholesky(matrix: Array) -> Array:
    return _grouped_cholesky(matrix)


@custom_vmap
def _grouped_cholesky(matrix: Array) -> Array:
    if matrix.ndim == 2:
        return _plain_cholesky(matrix)
    return _by_groups(_plain_cholesky, (_flat(matrix),), _group(matrix.shape[-1] ** 3)).reshape(matrix.shape)


@_grouped_cholesky.def_vmap
def _(size: int, batched: Any, matrices: Array) -> tuple[Array, bool]:
    return _grouped_cholesky(matrices), True


@_cholesky.defjvp
def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    factor, (change,) = _cholesky(*primals), tangents
    eye = jnp.eye(factor.shape[-1], dtype=factor.dtype)
    inverse = _solve(factor, jnp.broadcast_to(eye, factor.shape))
    # Only the lower triangle of the matrix is read, so only that of its change counts.
    change = jnp.tril(change) + jnp.tril(change, -1).mT
    return factor, factor @ ((jnp.tril(inverse @ change @ inverse.mT)) * (1 - 0.5 * eye))


def _make_solve(transposed: bool) -> Callable[[Array, Array], Array]:
    plain = lambda factor, right: _plain_solve(factor, right, transposed)

    @jax.custom_jvp
    def solve(factor: Array, right: Array) -> Array:
        return grouped(factor, right)

    @custom_vmap
    def grouped(factor: Array, right: Array) -> Array:
        if factor.ndim == 2:
            return plain(factor, right)
        n, m = right.shape[-2:]
        return _by_groups(plain, (_flat(factor), _flat(right)), _group(n * m * max(n, m))).reshape(right.shape)

    @grouped.def_vmap
    def _(size: int, batched: list[bool], factor: Array, right: Array) -> tuple[Array, bool]:
        if not batched[0]:  # one matrix for all: one solve
            n, m = right.shape[-2:]
            columns = jnp.moveaxis(right, 0, -1).reshape(*right.shape[1:-1], m * size)
            solution = grouped(factor, columns).reshape(*right.shape[1:], size)
            return jnp.moveaxis(solution, -1, 0), True
        if not batched[1]:
            right = jnp.broadcast_to(right, (size, *right.shape))
        return grouped(factor, right), True

    @solve.defjvp
    def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
        (factor, right), (d_factor, d_right) = primals, tangents
        solution = solve(factor, right)
        # Tangents by products with the inverse, which are linear in a way that JAX can transpose.
        inverse = solve(factor, jnp.broadcast_to(jnp.eye(factor.shape[-1], dtype=factor.dtype), factor.shape))
        d_factor = jnp.tril(d_factor)
        d_factor = d_factor.mT if transposed else d_factor
        return solution, inverse @ (d_right - d_factor @ solution)

    return solve


_solve, _solve_transposed = _make_solve(False), _make_solve(True)
