"""The `plait` command, run in this process (importing torch anew costs seconds) or in one of its own."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from plait import cli
from tests.small import small_checkpoint


@dataclass(frozen=True)
class Result:
    """Exit code, standard output and standard error."""

    code: int
    out: str
    err: str


def run(*arguments: object, stdin: str = "") -> Result:
    """`plait arguments...` through the function that the command calls, with nothing in between."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["plait", *map(str, arguments)]),
        mock.patch.object(sys, "stdin", io.StringIO(stdin)),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("default")
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    return Result(code, out.getvalue(), err.getvalue())


def done(*arguments: object, stdin: str = "") -> str:
    """Standard output of a command that must succeed."""
    result = run(*arguments, stdin=stdin)
    assert result.code == 0 and "Traceback" not in result.err, result
    return result.out


def refused(*arguments: object, stdin: str = "") -> str:
    """The sentence of a command that must fail: exactly one line on standard error, exit code 1, nothing else."""
    result = run(*arguments, stdin=stdin)
    assert result.code == 1, result
    assert result.err.startswith("plait: ") and result.err.endswith("\n") and result.err.count("\n") == 1, result
    assert "Traceback" not in result.out + result.err
    return result.err.removeprefix("plait: ").rstrip("\n")


def start(*arguments: object, stdout: int = subprocess.PIPE, encoding: str = "") -> subprocess.Popen[str]:
    """`python -m plait arguments...` as a process of its own, whose terminal may have another encoding than ours."""
    root = Path(__file__).parents[1]
    paths = [str(root / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {"PYTHONPATH": os.pathsep.join(reversed(paths)), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    environment["PYTHONUNBUFFERED"] = ""  # output is kept until there is much of it, as for users
    if encoding:
        environment["PYTHONIOENCODING"] = encoding
    return subprocess.Popen(
        [sys.executable, "-m", "plait", *map(str, arguments)],
        stdout=stdout, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
        env={**os.environ, **environment},
    )  # fmt: skip


def toml(path: Path, fields: Mapping[str, object]) -> Path:
    """Write a config file."""
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in fields.items()))
    return path


def config(folder: Path, **changes: object) -> Path:
    """The config of a training that takes a small model from `folder/train.jsonl` to `folder/out`."""
    fields: dict[str, object] = {
        "model": str(small_checkpoint(folder / "start", heads=())), "data": str(folder / "train.jsonl"),
        "output": str(folder / "out"), "epochs": 8.0, "learning_rate": 3e-3, "batch": 32, "save_steps": 1000,
        "freeze_embeddings": False, "bfloat16": False,
    } | changes  # fmt: skip
    return toml(folder / "config.toml", fields)
