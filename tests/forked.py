"""The command line in processes of its own that are forked from one which has imported everything.

They have their own folder, environment, output and exit code, like a command in a shell, without its seconds
of importing.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PRELOAD = [
    "shard_worker",
    "torchvision",
    "sklearn.cluster",
    "camgate.cli",
    "camgate.audit.runner",
    "camgate.data.reading",
    "camgate.gate.judge",
    "camgate.models.builders",
    "camgate.models.spec",
    "camgate.registry.flavor",
    "camgate.report.files",
]


def camgate(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `camgate ...` and wait for it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    with tempfile.TemporaryDirectory() as scratch:
        files = [str(Path(scratch, name)) for name in ("out", "err")]
        variables = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", **environment}
        process = context.Process(target=_run, args=(arguments, str(cwd), variables, *files))
        process.start()
        process.join(240)
        if process.exitcode is None:
            process.kill()
            raise TimeoutError(f"camgate {' '.join(arguments)}: not done after 240 seconds")
        out, err = (Path(file).read_text() for file in files)
        return subprocess.CompletedProcess(arguments, process.exitcode, out, err)


def _run(arguments: tuple[str, ...], cwd: str, variables: dict[str, str], out: str, err: str) -> None:
    for path, stream in ((out, sys.stdout), (err, sys.stderr)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(file, stream.fileno())
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(cwd)
    sys.argv = ["camgate", *arguments]
    from camgate.cli import main

    main()
