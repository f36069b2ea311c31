"""One input, networks of about 90 parameters."""

from cases._common import judge as judge, METRICS as METRICS, one_input as instance  # noqa: F401

LOWER, UPPER, RATE = (0.0,), (2.0,), 0.01
KAN = {"width": 5, "depth": 1}
KAN_FINE = {"width": 1, "depth": 1, "grid": 41}
FINITE_BASIS = ((10,), {"width": 1, "depth": 0})
MLP = {"width_size": 30, "depth": 1}
