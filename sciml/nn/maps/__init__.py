"""Linear maps `y = W x` whose matrix keeps a property by construction, whatever the optimiser does to its parameters.

Choose them for the linear part of dynamical models, where the property means stability, conservation or dissipation."""

from ._abstract import AbstractMap as AbstractMap
from ._bounded import BoundedSingularValues as BoundedSingularValues
from ._gershgorin import Gershgorin as Gershgorin
from ._orthogonal import Orthogonal as Orthogonal
from ._perron_frobenius import PerronFrobenius as PerronFrobenius
from ._symmetric import (
    PositiveDefinite as PositiveDefinite,
    SkewSymmetric as SkewSymmetric,
    Symmetric as Symmetric,
)
