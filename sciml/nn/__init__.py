"""Networks: between records, bounded, residual, convex, positive definite, with splines; linear maps with structure.

Networks that Equinox has are used as they are: `eqx.nn.MLP`, `eqx.nn.Linear`, `eqx.nn.GRUCell`."""

from . import maps as maps
from ._bounded_mlp import BoundedMLP as BoundedMLP
from ._finite_basis import FiniteBasis as FiniteBasis
from ._input_convex import InputConvexMLP as InputConvexMLP
from ._kan import KAN as KAN, KANLayer as KANLayer
from ._positive_definite import PositiveDefiniteNet as PositiveDefiniteNet
from ._res_mlp import ResMLP as ResMLP
from ._tree_mlp import TreeMLP as TreeMLP
