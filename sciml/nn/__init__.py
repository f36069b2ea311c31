"""Networks and structured maps: a record in, a vector or a record out, inside bounds."""

from ._bounded_mlp import BoundedMLP as BoundedMLP
from ._tree_mlp import TreeMLP as TreeMLP
