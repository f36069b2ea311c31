"""`python -m sciml tanks`: the main job as a command."""

import argparse
import os
import sys
from importlib.metadata import version


def main(arguments: list[str] | None = None) -> int:
    """Runs a study; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m sciml", description="Whole jobs, end to end.")
    jobs = parser.add_subparsers(dest="job", required=True)
    tanks = jobs.add_parser("tanks", help="identify, control and certify two cascaded water tanks")
    tanks.add_argument("--data", help="CSV with columns uEst,uVal,yEst,yVal,Ts; simulated if left out")
    tanks.add_argument("--out", default="out/tanks", help="folder for the results (default: %(default)s)")
    tanks.add_argument("--seed", type=int, default=0, help="seed of every random number (default: %(default)s)")
    tanks.add_argument("--resume", action="store_true", help="go on from the checkpoint of an interrupted run")
    chosen = parser.parse_args(arguments)
    # LAPACK calls are parallel over the batch already; threads inside each of them only get in each other's way.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # XLA's new fusion emitters double the time to compile; another jaxlib might not know the flag, and would abort.
    if version("jaxlib").startswith("0.10."):
        os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_use_fusion_emitters=false"
    import jax

    from .studies import run_tanks

    jax.config.update("jax_enable_x64", True)
    print("sciml: running in float64 (jax_enable_x64 is on for this command)", file=sys.stderr)
    try:
        run_tanks(chosen.data, chosen.out, seed=chosen.seed, resume=chosen.resume)
    except ValueError as error:
        print(f"sciml: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("sciml: interrupted; `--resume` goes on from the last checkpoint, if training had begun", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
