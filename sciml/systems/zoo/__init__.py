"""Reference plants, one file each: equations, units and source in the docstring."""

from ._cascaded_tanks import CascadedTanks as CascadedTanks, TankLevels as TankLevels
from ._double_integrator import double_integrator as double_integrator
from ._two_tank import TwoTank as TwoTank
from ._van_der_pol import VanDerPol as VanDerPol
