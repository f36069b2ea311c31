"""Networks between records, with outputs inside bounds."""

from ._bounded_mlp import BoundedMLP as BoundedMLP
from ._tree_mlp import TreeMLP as TreeMLP
