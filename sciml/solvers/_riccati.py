"""The linear-quadratic kernel of optimal control: factorise the matrices once, solve for several vectors.

    minimise   Σ_{k<N} ½ [x;u]ᵀ [[Q, Sᵀ], [S, R]] [x;u] + qᵀx + rᵀu   +  ½ x_Nᵀ Q_N x_N + q_Nᵀ x_N
    subject to x_{k+1} = A x_k + B u_k + c_k,   x_0 given

One stage of the Riccati recursion is one partial Cholesky factorisation: eliminating the inputs from

    H_k = [[R, S], [Sᵀ, Q]] + [B, A]ᵀ P_{k+1} [B, A] = [[Λ, G], [Gᵀ, M]]     leaves     P_k = M - Gᵀ Λ⁻¹ G.

All `Λ_k` are positive definite exactly if the reduced Hessian is (they are its block pivots), which makes the
recursion an inertia test; `Q`, `R` and `P` may be indefinite. With `K = -Λ⁻¹G` and `Φ = A + BK`, what depends on the
vectors is two affine recursions, and all else is batched over time:

    p_k = Φᵀ p_{k+1} + (q + Kᵀr + Φᵀ P_{k+1} c)          backward from p_N = q_N
    x_{k+1} = Φ x_k + (c - B Λ⁻¹ (r + Bᵀ(p_{k+1} + P_{k+1} c)))     forward from x_0

The matrices of a failed factorisation are replaced (P, K, Φ, B by zero, Λ by the identity), so that nothing is NaN.
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..core import one_at_a_time
from . import _small

_solves = jax.vmap(one_at_a_time(jnp.linalg.solve))
States = Float[Array, "time x"]
Inputs = Float[Array, "horizon u"]
Steps = Float[Array, "horizon x"]


class LQ(eqx.Module):
    """The matrices of a linear-quadratic problem over `N` steps; `Q` has one more, the terminal weight."""

    Q: Float[Array, "time x x"]
    S: Float[Array, "horizon u x"]
    R: Float[Array, "horizon u u"]
    A: Float[Array, "horizon x x"]
    B: Float[Array, "horizon x u"]


class AbstractChain(eqx.Module):
    """The closed loop's matrices `Φ_k`, ready for affine recursions in both directions."""

    @abc.abstractmethod
    def forward(self, x0: Float[Array, " x"], w: Steps) -> States:
        """`x_0 ... x_N` of `x_{k+1} = Φ_k x_k + w_k`."""

    @abc.abstractmethod
    def backward(self, last: Float[Array, " x"], w: Steps) -> States:
        """`p_0 ... p_N` of `p_k = Φ_kᵀ p_{k+1} + w_k` with `p_N = last`."""


class AbstractScan(eqx.Module):
    """How recursions over time are run."""

    @abc.abstractmethod
    def values(self, lq: LQ) -> tuple[Float[Array, "time x x"], Float[Array, "horizon u ux"], Bool[Array, ""]]:
        """`P`, the rows `L⁻¹ [Λ, G]` with `Λ = L Lᵀ`, and whether they can be trusted where all `Λ` are definite."""

    @abc.abstractmethod
    def chain(self, phi: Float[Array, "horizon x x"]) -> AbstractChain:
        """Prepares affine recursions with the matrices `Φ_k`."""


class Factors(eqx.Module):
    """A factored linear-quadratic problem."""

    P: Float[Array, "time x x"]
    gain: Float[Array, "horizon u x"]
    inverse: Float[Array, "horizon u u"]
    """`Λ⁻¹`."""
    phi: Float[Array, "horizon x x"]
    B: Float[Array, "horizon x u"]
    steps: AbstractChain
    is_definite: Bool[Array, ""]
    """Whether the reduced Hessian is positive definite (to working accuracy) and all matrices are finite."""

    def solve(self, q: States, r: Inputs, c: Steps, x0: Float[Array, " x"]) -> tuple[States, Inputs, Steps]:
        """States, inputs and multipliers for one set of vectors, in O(N); `vmap` it over several.

        Args:
            q: linear cost of the states, the last one terminal.
            r: linear cost of the inputs.
            c: constant part of the dynamics.
            x0: the fixed first state.

        Returns:
            `x[N + 1]`, `u[N]`, and `ν[N]`, where `ν_k` multiplies `x_{k+1} - A x_k - B u_k - c_k` in the Lagrangian
            `f + νᵀh`; it is minus the gradient of the cost to go, `-(P x + p)` at `k + 1`. Finite, but without
            meaning, where the factorisation failed.
        """
        with jax.default_matmul_precision("highest"):
            drift = _apply(self.P[1:], c)  # P c
            p = self.steps.backward(q[-1], q[:-1] + _apply(self.gain.mT, r) + _apply(self.phi.mT, drift))
            offset = -_apply(self.inverse, r + _apply(self.B.mT, p[1:] + drift))
            x = self.steps.forward(x0, _apply(self.B, offset) + c)
            u = _apply(self.gain, x[:-1]) + offset
            return x, u, -(_apply(self.P[1:], x[1:]) + p[1:])


def factorise(lq: LQ, scan: AbstractScan) -> Factors:
    """Riccati factorisation of a linear-quadratic problem; choose the back end by its `scan`.

    Args:
        lq: the matrices; `Q` and `R` symmetric, in any definiteness.
        scan: `Sequential()` unless a device runs many operations at once and the horizon is long; see `Associative`.

    Returns:
        Factors with the inertia test `is_definite`, false for NaN and infinite input too. Never NaN.
    """
    with jax.default_matmul_precision("highest"):
        nu = lq.B.shape[2]
        P, rows, is_sound = scan.values(lq)
        # NaN anywhere reaches P_0: each stage multiplies what follows it, and 0 NaN = NaN.
        is_definite = is_sound & jnp.all(jax.vmap(_small.pivots_are_positive)(rows)) & jnp.all(jnp.isfinite(P))
        eye = jnp.eye(nu, dtype=P.dtype)
        rows = jnp.where(is_definite, rows, jnp.eye(*rows.shape[1:], dtype=P.dtype))
        # L⁻¹, and with it Λ⁻¹ = L⁻ᵀ L⁻¹ and K = -L⁻ᵀ (L⁻¹ G).
        half = jax.vmap(lambda u: _small.solve_lower(u.T, eye))(rows[:, :, :nu])
        gain = -half.mT @ rows[:, :, nu:]
        B = jnp.where(is_definite, lq.B, 0.0)
        phi = jnp.where(is_definite, lq.A + lq.B @ gain, 0.0)
        P = jnp.where(is_definite, P, 0.0)
        return Factors(P, gain, half.mT @ half, phi, B, scan.chain(phi), is_definite)


class Sequential(AbstractScan):
    """One stage after the other by `lax.scan`: the fewest operations, exact at any definiteness. The default."""

    unroll: int = eqx.field(static=True, default=1)
    """Stages per iteration of the compiled loop of the factorisation; more costs compile time."""

    def values(self, lq: LQ) -> tuple[Float[Array, "time x x"], Float[Array, "horizon u ux"], Bool[Array, ""]]:
        # `H` by its blocks and `P = Q + [A; Y]ᵀ [P A; -Y]`: on a CPU in half the time of one packed `W + FᵀPF`.
        def stage(P: Array, at: tuple[Array, Array, Array, Array, Array]) -> tuple[Array, tuple[Array, Array]]:
            Q, S, R, A, B = at
            ahead = P @ jnp.concatenate([B, A], axis=1)
            rows = _small.factor_rows(jnp.concatenate([R, S], axis=1) + B.T @ ahead)
            nu = B.shape[1]
            Y = rows[:, nu:]
            P = Q + jnp.concatenate([A, Y]).T @ jnp.concatenate([ahead[:, nu:], -Y])
            P = (P + P.T) / 2
            return P, (P, rows)

        stages = (lq.Q[:-1], lq.S, lq.R, lq.A, lq.B)
        _, (P, rows) = jax.lax.scan(stage, lq.Q[-1], stages, reverse=True, unroll=self.unroll)
        return jnp.concatenate([P, lq.Q[-1:]]), rows, jnp.array(True)

    def chain(self, phi: Float[Array, "horizon x x"]) -> AbstractChain:
        return Loop(phi)


class Loop(AbstractChain):
    """Affine recursions by `lax.scan`, one matrix-vector product per step."""

    phi: Float[Array, "horizon x x"]

    def forward(self, x0: Float[Array, " x"], w: Steps) -> States:
        def step(x: Array, at: tuple[Array, Array]) -> tuple[Array, Array]:
            x = at[0] @ x + at[1]
            return x, x

        return jnp.concatenate([x0[None], jax.lax.scan(step, x0, (self.phi, w))[1]])

    def backward(self, last: Float[Array, " x"], w: Steps) -> States:
        def step(p: Array, at: tuple[Array, Array]) -> tuple[Array, Array]:
            p = p @ at[0] + at[1]
            return p, p

        return jnp.concatenate([jax.lax.scan(step, last, (self.phi, w), reverse=True)[1], last[None]])


class Associative(AbstractScan):
    """All stages at once by `lax.associative_scan`: O(log N) operations in sequence, several times as many in all.

    For devices that run many operations at once, long horizons and few instances. It needs every `R_k` positive
    definite (the sequential one does not) and a general solve with `I + C J`, which loses digits where the cost is
    indefinite. An answer whose Riccati equation is left with a residual above √ε of its size counts as not definite:
    the test errs on the safe side.

    Source: Särkkä and García-Fernández (2023), "Temporal parallelization of dynamic programming and linear quadratic
        control", IEEE Transactions on Automatic Control 68(2), 851-866, section IV, https://doi.org/10.1109/TAC.2022.3156943.
        Deviations: cross terms, by `A - B R⁻¹ S` and `Q - Sᵀ R⁻¹ S`; vectors separately, so that factors are reused.
    """

    def values(self, lq: LQ) -> tuple[Float[Array, "time x x"], Float[Array, "horizon u ux"], Bool[Array, ""]]:
        nx, nu = lq.B.shape[1:]
        # Half of each of C = B R⁻¹ Bᵀ, A - B R⁻¹ S and Q - Sᵀ R⁻¹ S. The terminal stage has A = 0 and C = 0.
        rows = jax.vmap(_small.factor_rows)(jnp.concatenate([lq.R, lq.S, lq.B.mT], axis=2))
        has_inverses = jnp.all(jax.vmap(_small.pivots_are_positive)(rows))
        S, B = rows[:, :, nu : nu + nx], rows[:, :, nu + nx :]
        elements = (lq.A - B.mT @ S, B.mT @ B, lq.Q[:-1] - S.mT @ S)
        zero = jnp.zeros_like(lq.Q[-1:])
        elements = [
            jnp.concatenate([jnp.where(has_inverses, m, 0.0), last])
            for m, last in zip(elements, (zero, zero, lq.Q[-1:]), strict=True)
        ]
        _, _, P = jax.lax.associative_scan(_combine, tuple(elements), reverse=True)
        P = (P + P.mT) / 2
        # One step of the recursion from every P at once: the gains, and a check.
        ahead = P[1:] @ jnp.concatenate([lq.B, lq.A], axis=2)
        rows = jax.vmap(_small.factor_rows)(jnp.concatenate([lq.R, lq.S], axis=2) + lq.B.mT @ ahead)
        Y = rows[:, :, nu:]
        again = lq.Q[:-1] + lq.A.mT @ ahead[:, :, nu:] - Y.mT @ Y
        eps = jnp.finfo(P.dtype).eps
        residual, size = jnp.max(jnp.abs(again - P[:-1])), jnp.max(jnp.abs(P))
        return P, rows, has_inverses & (residual <= eps**0.5 * size)

    def chain(self, phi: Float[Array, "horizon x x"]) -> AbstractChain:
        """Products of two, four, eight ... neighbours: about as many matrices again as there are steps."""
        levels = [phi]
        while levels[-1].shape[0] > 1:
            last = levels[-1]
            pairs = last.shape[0] // 2
            levels.append(last[1 : 2 * pairs : 2] @ last[0 : 2 * pairs : 2])
        return Tree(tuple(levels))


class Tree(AbstractChain):
    """Affine recursions over a tree of products: 2 log₂ N batched operations in sequence."""

    levels: tuple[Float[Array, "_ x x"], ...]

    def forward(self, x0: Float[Array, " x"], w: Steps) -> States:
        return jnp.concatenate([x0[None], self._forward(0, x0, w)])

    def backward(self, last: Float[Array, " x"], w: Steps) -> States:
        return jnp.concatenate([self._backward(0, last, w), last[None]])

    def _forward(self, level: int, x0: Array, w: Array) -> Array:
        """`x_1 ... x_n`. Every second one comes from the next level, the others are one step from those."""
        phi, n = self.levels[level], w.shape[0]
        if n == 1:
            return phi @ x0 + w
        pairs = n // 2
        odd = slice(1, 2 * pairs, 2)
        even = self._forward(level + 1, x0, _apply(phi[odd], w[: 2 * pairs : 2]) + w[odd])
        starts = jnp.concatenate([x0[None], even])[: n - pairs]
        return _interleave(_apply(phi[::2], starts) + w[::2], even)

    def _backward(self, level: int, last: Array, w: Array) -> Array:
        """`p_0 ... p_{n-1}`."""
        phi, n = self.levels[level], w.shape[0]
        if n == 1:
            return (last @ phi[0] + w[0])[None]
        pairs = n // 2
        tail = [last[None]]
        if n % 2:  # the step without a partner comes first
            tail = [(last @ phi[-1] + w[-1])[None]]
            last = tail[0][0]
        stop = 2 * pairs
        even = self._backward(level + 1, last, _apply(phi[:stop:2].mT, w[1:stop:2]) + w[:stop:2])
        ends = jnp.concatenate([even[1:], last[None]])
        odd = _apply(phi[1:stop:2].mT, ends) + w[1:stop:2]
        return jnp.concatenate([_interleave(even, odd), *(tail if n % 2 else [])])


def _combine(later: tuple[Array, Array, Array], earlier: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
    """Two neighbouring intervals as one, batched over time (Särkkä and García-Fernández 2023, their lemma 10).

    `X = (I + C₁J₂)⁻¹ [A₁, C₁]` serves all three: `(I + J₂C₁)⁻¹ J₂ = J₂ (I + C₁J₂)⁻¹`.
    """
    (A1, C1, J1), (A2, C2, J2) = earlier, later
    nx = A1.shape[-1]
    X = _solves(jnp.eye(nx, dtype=A1.dtype) + C1 @ J2, jnp.concatenate([A1, C1], axis=-1))
    C, J = A2 @ X[..., nx:] @ A2.mT + C2, A1.mT @ (J2 @ X[..., :nx]) + J1
    return A2 @ X[..., :nx], (C + C.mT) / 2, (J + J.mT) / 2


def _apply(matrices: Float[Array, "_ a b"], vectors: Float[Array, "_ b"]) -> Float[Array, "_ a"]:
    """One matrix-vector product for each step."""
    return jnp.einsum("kij,kj->ki", matrices, vectors)


def _interleave(first: Array, second: Array) -> Array:
    """`first[0], second[0], first[1], ...`; `first` may be one longer."""
    n = second.shape[0]
    both = jnp.stack([first[:n], second], axis=1).reshape(2 * n, *first.shape[1:])
    return jnp.concatenate([both, first[n:]])
