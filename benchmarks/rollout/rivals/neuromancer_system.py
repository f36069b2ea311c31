"""The same step in NeuroMANCER, wired as its own Van der Pol control example (`Part_2_stabilize_ODE`) is."""

import warnings

import problem
import torch
from neuromancer.constraint import variable
from neuromancer.dynamics import integrators, ode
from neuromancer.loss import PenaltyLoss
from neuromancer.modules import blocks
from neuromancer.problem import Problem
from neuromancer.system import Node, System
from rivals.torch_loop import descend


def prepare(instance, horizon):
    """One gradient step as a function, and no compilation. The batch is fed as one dict, without a DataLoader."""
    torch.set_num_threads(1)
    plant = ode.VanDerPolControl()
    plant.mu = torch.nn.Parameter(torch.tensor(problem.MU), requires_grad=False)
    model = Node(integrators.RK4(plant, h=torch.tensor(problem.DT)), ["x", "u"], ["x"], name="model")
    net = blocks.MLP_bounds(
        insize=problem.STATES,
        outsize=problem.INPUTS,
        hsizes=[problem.WIDTH, problem.WIDTH],
        nonlin=torch.nn.GELU,
        min=problem.LOWER,
        max=problem.UPPER,
    )
    for layer, linear in enumerate(net.linear):
        linear.linear.weight.data = torch.from_numpy(instance[f"W{layer}"]).clone()
        linear.linear.bias.data = torch.from_numpy(instance[f"b{layer}"]).clone()
    policy = Node(net, ["x"], ["u"], name="policy")
    closed_loop = System([policy, model], nsteps=horizon, name="closed_loop")
    x, u = variable("x"), variable("u")
    objectives = [1.0 * ((x == 0.0) ^ 2), problem.INPUT_WEIGHT * ((u == 0.0) ^ 2)]
    task = Problem([closed_loop], PenaltyLoss(objectives, []))
    warnings.filterwarnings("ignore", message="Using a target size")  # its comparison with a number broadcasts, rightly
    data = {"x": torch.from_numpy(instance["x0"])[:, None, :], "name": "train"}
    trained = [p for p in task.parameters() if p.requires_grad]
    return descend(trained, lambda: task(data)["train_loss"]), 0.0
