"""A quadrotor in a plane flies back to hovering from up to 2 m aside, above a floor; both rotors saturate."""

import numpy as np
import problem

DT = 0.05
MASS, INERTIA, ARM, GRAVITY = 0.486, 0.00383, 0.25, 9.81
X0, SPREAD = np.array([1.0, 0.5, 0.0, 0.0, 0.0, 0.0]), np.array([1.0, 0.5, 0.5, 0.5, 0.2, 0.5])
GOAL, REST = np.zeros(6), np.full(2, MASS * GRAVITY / 2)
Q, R, P = np.array([8.0, 8.0, 2.0, 0.2, 0.2, 0.2]), np.full(2, 0.2), np.full(6, 20.0)
LOWER, UPPER = np.zeros(2), np.full(2, 5.0)
X_LOWER, X_UPPER = np.array([-np.inf, -0.1, *[-np.inf] * 4]), np.full(6, np.inf)


def rates(x, u, xp):
    """`dx/dt` of place, tilt and their rates."""
    _, _, tilt, vx, vz, rate = xp.parts(x)
    right, left = xp.parts(u)
    lift = (right + left) / MASS
    turn = ARM * (right - left) / INERTIA
    return xp.stack([vx, vz, rate, -lift * xp.sin(tilt), lift * xp.cos(tilt) - GRAVITY, turn])


def step(x, u, xp):
    """The state after `DT`."""
    return problem.runge_kutta(rates, x, u, DT, xp)
