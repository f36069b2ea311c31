"""What every case asks of a step."""

from harness.examples import Metric

METRICS = {"loss after one step": Metric(), "peak memory of the process": Metric(unit="GB")}


def judge(data, found):
    """The loss at the new point, and the largest resident size so far."""
    step = found["step"]
    return {"loss after one step": step["cost"], "peak memory of the process": step["peak"] / 1e9}
