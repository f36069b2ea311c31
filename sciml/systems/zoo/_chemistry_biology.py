"""Reactions, combustion, populations, epidemics and a neuron."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._abstract import AbstractContinuousSystem
from .._parameters import parameter


class LotkaVolterra(AbstractContinuousSystem):
    """`dx1 = a x1 - b x1 x2`, `dx2 = c x1 x2 - d x2`: prey and predators in individuals per area; time in years.

    Orbits are closed: `c x1 - d log x1 + b x2 - a log x2` is constant. Equilibrium at `(d / c, a / b)`.

    Source: Volterra (1926), Fluctuations in the abundance of a species considered mathematically, Nature 118, 558-560,
    doi:10.1038/118558a0. Parameters of NeuroMANCER 1.5, whose code has the power `c**x1 x2` in place of `c x1 x2`,
    so that its states overflow; its initial state (5, 100) takes the prey below 1e-40.
    """

    a: Float[Array, ""] = eqx.field(converter=parameter, default=1.1)
    """Growth of the prey, 1/year."""
    b: Float[Array, ""] = eqx.field(converter=parameter, default=0.4)
    """Prey lost per predator, area/year."""
    c: Float[Array, ""] = eqx.field(converter=parameter, default=0.1)
    """Growth of the predators per prey, area/year."""
    d: Float[Array, ""] = eqx.field(converter=parameter, default=0.4)
    """Death of the predators, 1/year."""

    def vector_field(self, t: ArrayLike, x: Float[Array, "2"], u: object) -> Float[Array, "2"]:
        """The state derivatives; there is no input."""
        met = x[0] * x[1]
        return jnp.stack([self.a * x[0] - self.b * met, self.c * met - self.d * x[1]])


class Brusselator(AbstractContinuousSystem):
    """`dx1 = a + x1**2 x2 - b x1 - x1`, `dx2 = b x1 - x1**2 x2`: an autocatalytic reaction, dimensionless.

    The equilibrium `(a, b / a)` is unstable, and surrounded by a limit cycle, for `b > 1 + a**2`.

    Source: Prigogine & Lefever (1968), Symmetry breaking instabilities in dissipative systems II, J. Chem. Phys. 48(4),
    1695-1700, doi:10.1063/1.1668896, well mixed.
    """

    a: Float[Array, ""] = eqx.field(converter=parameter, default=1.0)
    b: Float[Array, ""] = eqx.field(converter=parameter, default=3.0)

    def vector_field(self, t: ArrayLike, x: Float[Array, "2"], u: object) -> Float[Array, "2"]:
        """The state derivatives; there is no input."""
        gain = x[0] ** 2 * x[1]
        return jnp.stack([self.a + gain - self.b * x[0] - x[0], self.b * x[0] - gain])


class Autoignition(AbstractContinuousSystem):
    """A pulsating combustor: heat `x1` and burnt fraction `x2` of the mixture, in [0, 1]; dimensionless.

        dx1 = q r - e x1**2                                         r = k (1 - x2) exp((x1 - ignition) / alpha)
        dx2 = r - s injection x2 σ(steepness (injection - x1))      σ: the logistic function

    The mixture burns where it is hot, and fresh mixture enters where it is not: pulses of ignition.

    Source: Koch, Kurosaka, Knowlen & Kutz (2021), Multiscale physics of rotating detonation waves: autosolitons and
    modulational instabilities, Phys. Rev. E 104, 024210, doi:10.1103/PhysRevE.104.024210, without space; parameters of
    NeuroMANCER 1.5.
    """

    alpha: Float[Array, ""] = eqx.field(converter=parameter, default=0.3)
    """Width of the ignition."""
    ignition: Float[Array, ""] = eqx.field(converter=parameter, default=1.1)
    """Heat at which the mixture ignites, `u_c` in the source."""
    s: Float[Array, ""] = eqx.field(converter=parameter, default=1.0)
    """Rate of injection."""
    k: Float[Array, ""] = eqx.field(converter=parameter, default=1.0)
    """Rate of reaction."""
    steepness: Float[Array, ""] = eqx.field(converter=parameter, default=5.0)
    """How sharply the injection stops, `r` in the source."""
    q: Float[Array, ""] = eqx.field(converter=parameter, default=6.5)
    """Heat of reaction."""
    injection: Float[Array, ""] = eqx.field(converter=parameter, default=0.55)
    """Heat above which the injection stops, `u_p` in the source."""
    e: Float[Array, ""] = eqx.field(converter=parameter, default=1.0)
    """Heat loss."""

    def vector_field(self, t: ArrayLike, x: Float[Array, "2"], u: object) -> Float[Array, "2"]:
        """The state derivatives; there is no input."""
        burn = self.k * (1 - x[1]) * jnp.exp((x[0] - self.ignition) / self.alpha)
        refill = self.s * self.injection * x[1] * jax.nn.sigmoid(self.steepness * (self.injection - x[0]))
        return jnp.stack([self.q * burn - self.e * x[0] ** 2, burn - refill])


class SEIR(AbstractContinuousSystem):
    """An epidemic under social distancing `u` in [0, 1], shape `(1,)`; time in days.

        ds = -(1 - u) beta s i        de = (1 - u) beta s i - e / incubation
        di = e / incubation - i / infective               dr = i / infective

    States: the fractions of the population that are susceptible, exposed, infectious and recovered; their sum is
    constant. `u = 0`: no distancing; `u = 1`: isolation. `beta = reproduction / infective`.

    Source: Hethcote (2000), The mathematics of infectious diseases, SIAM Review 42(4), 599-653,
    doi:10.1137/S0036144500371907, without births and deaths. Parameters of NeuroMANCER 1.5, whose input has two columns
    of which the second does nothing, and whose ten days at steps of 0.01 day show no epidemic.
    """

    incubation: Float[Array, ""] = eqx.field(converter=parameter, default=5.1)
    """Mean time from exposure to being infectious, days."""
    infective: Float[Array, ""] = eqx.field(converter=parameter, default=3.3)
    """Mean time of being infectious, days."""
    reproduction: Float[Array, ""] = eqx.field(converter=parameter, default=2.4)
    """Basic reproduction number R0."""

    def vector_field(self, t: ArrayLike, x: Float[Array, "4"], u: Float[Array, "1"]) -> Float[Array, "4"]:
        """The state derivatives, per day."""
        infected = (1 - u[0]) * self.reproduction / self.infective * x[0] * x[2]
        ill, well = x[1] / self.incubation, x[2] / self.infective
        return jnp.stack([-infected, infected - ill, ill - well, well])

    def input_shape(self) -> tuple[int, ...]:
        """The shape of the input, social distancing: `(1,)`."""
        return (1,)


class HindmarshRose(AbstractContinuousSystem):
    """A bursting neuron under a current `u`, shape `(1,)`; dimensionless.

        dx1 = x2 - a x1**3 + b x1**2 - x3 + u        dx2 = c - d x1**2 - x2        dx3 = r (s (x1 - rest) - x3)

    States: membrane potential, fast recovery current, slow adaptation current.

    Source: Hindmarsh & Rose (1984), A model of neuronal bursting using three coupled first order differential
    equations, Proc. R. Soc. B 221, 87-102, doi:10.1098/rspb.1984.0024; parameters of NeuroMANCER 1.5.
    """

    a: Float[Array, ""] = eqx.field(converter=parameter, default=1.0)
    b: Float[Array, ""] = eqx.field(converter=parameter, default=2.6)
    c: Float[Array, ""] = eqx.field(converter=parameter, default=1.0)
    d: Float[Array, ""] = eqx.field(converter=parameter, default=5.0)
    s: Float[Array, ""] = eqx.field(converter=parameter, default=4.0)
    """Strength of the adaptation."""
    rest: Float[Array, ""] = eqx.field(converter=parameter, default=-1.6)
    """Potential at rest."""
    r: Float[Array, ""] = eqx.field(converter=parameter, default=0.01)
    """Rate of the adaptation."""

    def vector_field(self, t: ArrayLike, x: Float[Array, "3"], u: Float[Array, "1"]) -> Float[Array, "3"]:
        """The state derivatives."""
        potential = x[1] - self.a * x[0] ** 3 + self.b * x[0] ** 2 - x[2] + u[0]
        recovery = self.c - self.d * x[0] ** 2 - x[1]
        return jnp.stack([potential, recovery, self.r * (self.s * (x[0] - self.rest) - x[2])])

    def input_shape(self) -> tuple[int, ...]:
        """The shape of the input, a current: `(1,)`."""
        return (1,)
