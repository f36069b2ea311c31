"""Solvers: optimisation of programs, in batches and with derivatives of the solutions."""

from ._abstract import (
    AbstractSolver as AbstractSolver,
    Guess as Guess,
    Point as Point,
    PrimalDual as PrimalDual,
    SolveStats as SolveStats,
)
from ._adjoint import KKTAdjoint as KKTAdjoint
from ._admm import ADMM as ADMM
from ._augmented_lagrangian import AugmentedLagrangian as AugmentedLagrangian
from ._box_newton import BoxNewton as BoxNewton
from ._health import derivative_health as derivative_health
from ._hessian import (
    AbstractHessian as AbstractHessian,
    ExactHessian as ExactHessian,
    GaussNewton as GaussNewton,
    Regularised as Regularised,
    StageGaussNewton as StageGaussNewton,
)
from ._interior_point import InteriorPoint as InteriorPoint
from ._interior_point_qp import InteriorPointQP as InteriorPointQP
from ._moreau import Moreau as Moreau
from ._mpax import MPAX as MPAX
from ._polish import AbstractPolish as AbstractPolish, NewtonPolish as NewtonPolish
from ._projected_newton import ProjectedNewton as ProjectedNewton
from ._race import Race as Race
from ._retry import Retry as Retry
from ._riccati import AbstractScan as AbstractScan, Associative as Associative, Sequential as Sequential
from ._sensitivity import (
    AbstractInverse as AbstractInverse,
    AbstractSensitivity as AbstractSensitivity,
    ActiveSet as ActiveSet,
    Health as Health,
    KKTMatrix as KKTMatrix,
    LeastNorm as LeastNorm,
    Smoothed as Smoothed,
)
from ._solve import solve as solve
from ._solve_batch import solve_batch as solve_batch
from ._sqp import SQP as SQP
