"""The referee over all kept answers: `python referee_all.py FOLDER NAME...` prints a JSON line for each.

Values and derivatives come from the problem's own functions, once for each problem; the optimality conditions are put
together in NumPy (`problem.judge`). A contestant without multipliers gets those of least squares.
"""

import json
import sys
from pathlib import Path

import numpy as np
import problem
from run import CONTESTANTS

BLOCKS = ("eq", "ineq", "lower", "upper")


def verdict(one, evaluate, answer):
    """The residuals of one answer, with what the contestant said."""
    kept = {key: answer.get(key) for key in ("claimed", "said", "steps", "cpu_s")}
    missing = {name: float("inf") for name in ("stationarity", "violation", "complementarity", "sign", "largest")}
    if answer["x"] is None or not np.all(np.isfinite(np.asarray(answer["x"], np.float64))):
        return {**missing, "objective": float("inf"), **kept}
    x = np.asarray(answer["x"], np.float64)
    at = evaluate(x)
    if not all(np.all(np.isfinite(value)) for value in at.values()):
        return {**missing, "objective": float("inf"), **kept}
    if "eq" in answer:
        duals = {name: np.asarray(answer[name], np.float64) for name in BLOCKS}
    else:
        duals = problem.multipliers(at, x, one.lower, one.upper)
    return {**problem.judge(at, x, duals, one.lower, one.upper), **kept}


def main():
    """Judge everything that is stored."""
    folder, names = Path(sys.argv[1]), sys.argv[2:]
    answers = {who: problem.stored(folder / f"{function}.jsonl") for who, (_, function) in CONTESTANTS.items()}
    for name in names:
        given = {who: found[name] for who, found in answers.items() if name in found}
        verdicts = {}
        if given:
            one = problem.Problem(name)
            evaluate = one.first()
            verdicts = {who: verdict(one, evaluate, answer) for who, answer in given.items()}
        print(json.dumps({"name": name, "verdicts": verdicts}), flush=True)


if __name__ == "__main__":
    main()
