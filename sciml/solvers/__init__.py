"""Solvers: produce a decision by optimisation, exactly, in batches, with derivatives."""

from ._abstract import AbstractSolver as AbstractSolver, Point as Point, SolveStats as SolveStats
from ._interior_point import InteriorPoint as InteriorPoint
from ._solve import solve as solve
from ._solve_batch import Retry as Retry, solve_batch as solve_batch
