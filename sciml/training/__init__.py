"""Training: `fit`, ensembles, transformed parameters, monitors, checkpoints and Levenberg-Marquardt."""

from ..core import AbstractTransform as AbstractTransform, resolve as resolve
from . import sparse as sparse
from ._curriculum import curriculum as curriculum
from ._edmd import dmd as dmd, edmd as edmd, KoopmanStats as KoopmanStats
from ._ensemble import ensemble as ensemble, EnsembleStats as EnsembleStats, pick_member as pick_member
from ._first_order import FitStats as FitStats
from ._fit import fit as fit
from ._gauss_newton import LevenbergMarquardt as LevenbergMarquardt
from ._monitors import AbstractMonitor as AbstractMonitor, Event as Event, KeepBest as KeepBest, Log as Log
from ._multiple_shooting import multiple_shooting as multiple_shooting, ShootingStats as ShootingStats
from ._parameters import Bounded as Bounded, Positive as Positive, Ranged as Ranged
from ._second_order import SecondOrderStats as SecondOrderStats
from ._subspace import (
    initial_state_encoder as initial_state_encoder,
    subspace as subspace,
    SubspaceStats as SubspaceStats,
)
from ._watch import Checkpoint as Checkpoint
