"""The whole application on this machine: Ray, Serve, ingress and engine, until a signal ends it."""

from __future__ import annotations

import io
import ipaddress
import json
import logging
import math
import os
import re
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress

from serving.errors import ConfigurationError, EngineError
from serving.launch.choice import launcher_kind, local_launcher
from serving.selection import choose_engine, conversion_fault, conversion_weights_fault
from serving.settings import Settings
from serving.store.api_keys import ApiKeyStore
from serving.store.database import SQLITE_FILE, Database
from serving.store.models import ModelStore
from serving.store.volume import Volume

DRAIN_S = 120.0
"""How long requests in progress may take to end once the server is told to stop."""

OBJECT_STORE_BYTES = 256 * 1024 * 1024

RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",  # deduplication would swallow access log lines
    "RAY_metrics_report_interval_ms": "2000",
    "RAY_worker_niceness": "0",  # at Ray's 15 whatever else runs on this machine goes before speech
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",  # a dead proxy is replaced in 4 s, not 30 s
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "2",
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serving.deployments.stalled:middlewares",
}
"""Read by Ray when it is imported; what the user has set stays."""


def run(settings: Settings, say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True)) -> None:  # noqa: T201
    """Start everything, report readiness through ``say``, and serve until SIGINT or SIGTERM.

    Raises ConfigurationError for an address that cannot be used, ModelFilesError for missing weights, EngineError when
    the application does not come up.
    """
    check_exposure(settings)
    settings = settings.model_copy(update={"http": settings.http.model_copy(update={"port": usable_port(settings)})})
    Volume(settings.data).create()
    models = ModelStore(Volume(settings.data))
    choice = choose_engine(settings, models)
    fault = conversion_fault(settings, models) or conversion_weights_fault(models)
    say(f"starting Ray; engine {choice.engine}: {choice.reason}")
    say(fault.message if fault else "voice conversion is on")
    with _interrupts() as again, _cluster(settings):
        again()  # ray.init has put a handler of its own in the place of SIGTERM's, which cuts streams
        _deploy(settings)
        say(ready_text(settings, choice.engine))
        with suppress(KeyboardInterrupt):
            while True:
                signal.pause()
        from ray.exceptions import RayError

        say("stopping: streams in progress finish first; a second Ctrl-C cuts them")
        with suppress(KeyboardInterrupt, TimeoutError, RayError):
            _drain()
        with suppress(KeyboardInterrupt):
            _stop_training(settings, say)


def check_exposure(settings: Settings) -> None:
    """Refuse to listen beyond loopback while nobody has to authenticate: no key was ever made, or none is asked for."""
    host = settings.http.host
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback and not settings.http.allow_unauthenticated and not _asks_for_keys(settings):
        raise ConfigurationError(
            f"host {host} can be reached by others and no API keys are asked for; make one with kubevoice keys create, "
            "listen on 127.0.0.1, or accept this with --allow-unauthenticated",
            param="http.host",
        )


def _asks_for_keys(settings: Settings) -> bool:
    """Whether the server that starts will let in nobody without a key."""
    if settings.auth.enabled != "auto":
        return settings.auth.enabled == "true"
    url = settings.database.url
    if settings.auth.root_key is not None or settings.oidc.issuer is not None:
        return True
    if url is None and not (settings.data / SQLITE_FILE).is_file():
        return False
    database = Database.for_volume(url.get_secret_value() if url else None, settings.data)
    try:
        database.migrate()
        return ApiKeyStore(database, settings.data).exist()
    finally:
        database.close()


def usable_port(settings: Settings) -> int:
    """The port to listen on, found free; a free one for 0. Raises ConfigurationError naming the address."""
    host, port = settings.http.host, settings.http.port
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            free: int = probe.getsockname()[1]
            return free
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another with --port or --host", param="http.port"
        ) from None


def ready_text(settings: Settings, engine: str) -> str:
    """What to do next, as a command that can be copied."""
    host = f"[{settings.http.host}]" if ":" in settings.http.host else settings.http.host
    url = f"http://{host}:{settings.http.port}"
    body = json.dumps({"model": "tts-1", "voice": "alloy", "input": "Hello from kubevoice."})
    return (
        f"kubevoice is ready on {url} with engine {engine}; API docs: {url}/docs; Ctrl-C stops it. Try:\n"
        f"  curl -sf {url}/v1/audio/speech -H 'Content-Type: application/json' -d '{body}' -o hello.mp3"
    )


@contextmanager
def _interrupts() -> Iterator[Callable[[], None]]:
    """SIGINT and SIGTERM raise KeyboardInterrupt here, twice at most: more do not disturb the shutdown.

    The function that it hands out takes the signals back from whoever took them since.
    """
    left = 2

    def handle(_number: int, _frame: object) -> None:
        nonlocal left
        left -= 1
        if left >= 0:
            raise KeyboardInterrupt

    def install() -> None:
        for number in before:
            signal.signal(number, handle)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    install()
    try:
        yield install
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _cluster(settings: Settings) -> Iterator[None]:
    for name, value in RAY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if not sys.stderr.isatty():
        os.environ.setdefault("RAY_COLOR_PREFIX", "0")
    _own_token()  # before the import, like the rest: Ray reads it then
    import ray
    from ray import serve

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    speech, conversion = settings.replicas, settings.rvc.replicas
    needed = speech.max * speech.cpus + conversion.max * conversion.cpus + speech.ingress + 1
    try:
        ray.init(
            address="local",
            num_cpus=max(os.cpu_count() or 1, int(needed) + 1),
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            logging_level=logging.ERROR,  # its warnings are notes for Ray developers
        )
    except Exception as error:  # Ray raises no type of its own here
        if "timed out during startup" not in str(error):
            raise
        raise EngineError("Ray did not start within its 30 s: this machine is too busy; try again") from error
    try:
        try:
            serve.start(
                proxy_location="HeadOnly",
                http_options={"host": settings.http.host, "port": settings.http.port},
                # The controller repeats every failure as pages of traces: `_cause` finds the sentence among them.
                logging_config={"log_level": "CRITICAL", "enable_access_log": False},
            )
        except TimeoutError as error:
            raise EngineError("Ray Serve did not start within its 60 s: this machine is too busy; try again") from error
        yield
    finally:
        # Ray reports the end of Serve's own controller as a failure: noise that would only alarm.
        with redirect_stdout(io.StringIO()):
            serve.shutdown()  # type: ignore[no-untyped-call]
            ray.shutdown()


def _own_token() -> None:
    """A token for Ray's ports for this run alone, unless the user brings one: Ray would write it to HOME."""
    if not {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _drain() -> None:
    """Take no more requests and wait for those in progress, but not for ever."""
    from ray import serve

    ingress = serve.get_app_handle("kubevoice")
    deadline = time.monotonic() + DRAIN_S
    while sum(ingress.broadcast("drain").results(timeout_s=10)) and time.monotonic() < deadline:
        time.sleep(0.2)


def _stop_training(settings: Settings, say: Callable[[str], None]) -> None:
    """Stop the runs of this machine; they save, and can be resumed. They have supervisors, who go on without us."""
    if launcher_kind(settings) != "local":
        return
    launcher = local_launcher(settings)
    if working := launcher.working():
        say(f"stopping {', '.join(working)}: training saves first and can be resumed; Ctrl-C does not wait for it")
        launcher.stop_all(settings.launch.grace_s, "stopped with the server; resume it")


def _deploy(settings: Settings) -> None:
    import ray
    from ray import serve

    from serving.app import build

    settings = with_gpus(settings, ray.cluster_resources().get("GPU", 0.0))  # type: ignore[no-untyped-call]
    try:
        serve.run(build(settings), name="kubevoice", route_prefix="/")
    except RuntimeError as error:
        raise EngineError(f"the application did not start: {_cause(str(error))}") from error


def with_gpus(settings: Settings, gpus: float) -> Settings:
    """``settings`` whose replicas fit on ``gpus``: none on none, and a share each where there are too few."""
    fault = conversion_fault(settings, ModelStore(Volume(settings.data)))
    replicas = settings.replicas.max + (0 if fault else settings.rvc.replicas.max)
    share = 1 / math.ceil(replicas / gpus) if gpus else 0.0
    speech = settings.replicas.model_copy(update={"gpus": min(settings.replicas.gpus, share)})
    own = settings.rvc.replicas
    rvc = settings.rvc.model_copy(update={"replicas": own.model_copy(update={"gpus": min(own.gpus, share)})})
    return settings.model_copy(update={"replicas": speech, "rvc": rvc})


def _cause(report: str) -> str:
    """Our own sentence about why a replica could not start, out of the traces that Serve keeps; else ``report``."""
    from ray import serve

    deployments = serve.status().applications["kubevoice"].deployments.values()
    traces = "\n".join(deployment.message for deployment in deployments)
    sentences = re.findall(r"serving\.errors\.\w+: (.+)", traces)
    return sentences[-1] if sentences else report
