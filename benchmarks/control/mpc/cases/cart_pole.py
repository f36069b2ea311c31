"""A pole balanced on a cart that was pushed: up to 2.5 rad/s and 1 m/s, on a track of half a metre to both sides."""

import numpy as np
import problem

DT = 0.05
M1, M2, LENGTH, GRAVITY = 1.0, 0.3, 0.5, 9.81  # Kelly (2017), table 2
GOAL, REST = np.array([0.0, np.pi, 0.0, 0.0]), np.zeros(1)
X0, SPREAD = GOAL, np.array([0.1, 0.1, 1.0, 2.5])
Q, R, P = np.array([2.0, 2.0, 0.2, 0.2]), np.array([0.02]), np.full(4, 100.0)
LOWER, UPPER = np.array([-20.0]), np.array([20.0])
X_LOWER, X_UPPER = np.array([-0.5, -np.inf, -np.inf, -np.inf]), np.array([0.5, np.inf, np.inf, np.inf])


def rates(x, u, xp):
    """`dx/dt` of position, angle from below, speed, rate."""
    _, angle, speed, rate = xp.parts(x)
    (force,) = xp.parts(u)
    sin, cos = xp.sin(angle), xp.cos(angle)
    inertia, pull = M1 + M2 * sin**2, M2 * LENGTH * rate**2 * sin
    push = (force + pull + M2 * GRAVITY * cos * sin) / inertia
    turn = -(force * cos + pull * cos + (M1 + M2) * GRAVITY * sin) / (inertia * LENGTH)
    return xp.stack([speed, rate, push, turn])


def step(x, u, xp):
    """The state after `DT`."""
    return problem.runge_kutta(rates, x, u, DT, xp)
