"""The swing-up of a pole on a cart in 2.5 s, from hanging (Kelly 2017, section 6, whose parameters these are)."""

import numpy as np
import problem

N, DT = 50, 0.05
M1, M2, LENGTH, GRAVITY = 1.0, 0.3, 0.5, 9.81
X0, SPREAD = np.zeros(4), np.array([0.1, 0.1, 0.1, 0.1])
GOAL, REST, U0 = np.array([0.0, np.pi, 0.0, 0.0]), np.zeros(1), np.array([0.1])
Q, R, P = np.array([2.0, 2.0, 0.2, 0.2]), np.array([0.02]), np.full(4, 100.0)
LOWER, UPPER = np.array([-20.0]), np.array([20.0])


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
