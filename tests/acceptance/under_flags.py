"""Every command once, in one process, under one of JAX's global flags; what they printed and wrote, as JSON.

``python under_flags.py NAME FOLDER`` works in FOLDER, which must be empty. Types are not checked at run time here, as
they are not for a user.
"""

import contextlib
import io
import json
import os
import sys
import traceback
from pathlib import Path

FLAGS = {
    "no flag": {},
    "x64": {"jax_enable_x64": True},
    "rbg": {"jax_default_prng_impl": "rbg"},
    "checks": {"jax_debug_nans": True, "jax_debug_key_reuse": True, "jax_numpy_dtype_promotion": "strict"},
    "mesh": {},
}
"""What is set before anything is done: three that only refuse are set at once. The last is an active mesh of both
devices."""

TINY = ["--length", "12", "--width", "16", "--depth", "1", "--heads", "2", "--batch", "4", "--steps", "20"]
TINY += ["--model", "bidirectional"]
COMMANDS = {
    "train": ["train", "run", "--task", "npy:rows.npy", *TINY],
    "profile": ["profile", "run", "--encodings", "128"],
    "profile, increments": ["profile", "run", "--encodings", "128", "--estimator", "increments", "--output", "e2.json"],
    "profile of a prompt": ["profile", "run", "--prompt", "1 2 3", "--encodings", "64"],
    "tune": ["tune", "run", "--budgets", "3", "--check-rows", "8", "--grid", "21"],
    "tune a law": ["tune", "oracle:toy_left", "--budgets", "3", "--by-law", "total_variation", "--grid", "16"],
    **{
        f"sample {' '.join(how)}": ["sample", "run", "--rows", "2", *how]
        for how in (
            ["--steps", "3"],
            ["--schedule", "beta:0.9,0.3", "--steps", "3", "--temperature", "0"],
            ["--order", "left_to_right", "--steps", "3"],
            ["--order", "margin", "--steps", "3", "--order-temperature", "0.5"],
            ["--preset", "mdlm", "--steps", "4"],
            ["--preset", "llada", "--steps", "4", "--block", "6", "--prompt", "1 2"],
            ["--preset", "remdm", "--steps", "6"],
            ["--steps", "3", "--prompt", "1 2", "--guidance", "1", "--top-k", "4", "--top-p", "0.9"],
        )
    },  # every order, rule and preset under each flag: tests/sampling/test_flags.py, test_double.py
    "evaluate": ["evaluate", "run", "linear", "sine", "--budgets", "3", "--samples", "2"],
    "evaluate on devices": ["evaluate", "run", "linear", "--budgets", "3", "--samples", "2", "--devices", "2"],
    "race": ["race", "run", "--budgets", "3", "--grid", "2", "--samples", "2", "--final-samples", "4"],
    "energy": ["energy", "linear", "beta:0.9,0.3", "--weight", "sine", "--picture", "energy.svg"],
    "footprint": ["footprint", "--model", "10m", "--no-compile"],
    "report": ["report", "run"],
}


def main() -> None:
    name, folder = sys.argv[1:]
    import jax
    import numpy as np

    for flag, value in FLAGS[name].items():
        jax.config.update(flag, value)
    if name == "mesh":
        jax.set_mesh(jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Explicit,)))
    from mdm_jax.app.cli import main as command

    os.chdir(folder)
    np.save("rows.npy", (np.arange(200)[:, None] + np.arange(12) * np.arange(200)[:, None]).astype(np.int32) % 6)
    found = {}
    for what, arguments in COMMANDS.items():
        printed, told = io.StringIO(), io.StringIO()
        status, where = None, ""
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(told):
            try:
                status = command([*arguments, "--json"])
            except Exception:
                where = traceback.format_exc()[-1500:]
        text = printed.getvalue()
        result = json.loads(text) if status == 0 else where or told.getvalue()[-1500:]
        found[what] = {"status": status, "result": result}
    found["profile file"] = {"status": 0, "result": json.loads(Path("run/profile.json").read_text())}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
