"""Losses: scalars to minimise, from programs, residuals or predictions, with structure that methods exploit."""

from ._abstract import (
    AbstractLeastSquares as AbstractLeastSquares,
    AbstractLoss as AbstractLoss,
    Report as Report,
)
from ._augmented_lagrangian import AugmentedLagrangian as AugmentedLagrangian, Multipliers as Multipliers
from ._derivative_matching import DerivativeMatching as DerivativeMatching, Slopes as Slopes
from ._free_run import FreeRun as FreeRun, OneStep as OneStep
from ._koopman import KoopmanErrors as KoopmanErrors
from ._least_squares import LeastSquares as LeastSquares, Mean as Mean
from ._norms import AbstractNorm as AbstractNorm, L1 as L1, L2 as L2, Smooth as Smooth
from ._penalty import Penalty as Penalty
from ._regularised import Regularised as Regularised
from ._samples import MeanSquares as MeanSquares, Samples as Samples, Term as Term
from ._shooting import (
    MultipleShooting as MultipleShooting,
    replayed as replayed,
    Segments as Segments,
    segments as segments,
    Shot as Shot,
)
from ._sparsity import Sparsity as Sparsity
