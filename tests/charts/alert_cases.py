"""For each alert what makes it fire, and what looks like it and must not."""

from __future__ import annotations

from dataclasses import dataclass

WHERE = 'namespace="speech", ray_io_cluster="voices-abcde"'
APP = f'{WHERE}, application="kubevoice", deployment="Xtts"'
SPEECH = "/v1/audio/speech"
ELEVENLABS = "/elevenlabs/v1/text-to-speech/{voice_id}/stream"


@dataclass(frozen=True)
class Case:
    """Series by their values (promtool's notation, a sample a minute), and the minute when the alert is asked for."""

    series: dict[str, str]
    minute: int


def target(values: str) -> dict[str, str]:
    return {f"ray_serve_autoscaling_target_replicas{{{APP}}}": values}


def ongoing(values: str) -> dict[str, str]:
    """Requests that autoscaling counts, at 4 per replica."""
    return {
        f"ray_serve_autoscaling_total_requests{{{APP}}}": values,
        f"ray_serve_autoscaling_target_ongoing_requests{{{APP}}}": "4x120",
    }


def proxy(values: str) -> dict[str, str]:
    return {f'ray_serve_proxy_status{{{WHERE}, node_ip_address="10.0.0.7"}}': values}


def alive(worker: str, values: str = "0+60x120") -> dict[str, str]:
    """A replica that reports the time; a constant is one that has stopped to."""
    return {f'ray_kubevoice_replica_alive_timestamp_seconds{{{WHERE}, deployment="Xtts", WorkerId="{worker}"}}': values}


def status(values: str) -> dict[str, str]:
    return {f"ray_serve_deployment_status{{{APP}}}": values}


def starts(milliseconds: str) -> dict[str, str]:
    """Starts that took up to ``milliseconds``, one more each minute."""
    name = f"ray_serve_replica_initialization_latency_ms_bucket{{{APP}, le="
    return {
        name + '"60000.0"}': "0+1x120" if milliseconds == "60000" else "0x120",
        name + '"240000.0"}': "0+1x120",
        name + '"+Inf"}': "0+1x120",
    }


def requests(code: str, values: str, route: str = SPEECH) -> dict[str, str]:
    return {f'ray_kubevoice_requests_total{{{WHERE}, route="{route}", method="POST", status="{code}"}}': values}


def refusals(reason: str, values: str) -> dict[str, str]:
    return {f'ray_kubevoice_refusals_total{{{WHERE}, reason="{reason}"}}': values}


def broken(values: str) -> dict[str, str]:
    return {f'ray_kubevoice_broken_streams_total{{{WHERE}, model="xtts_v2"}}': values}


def spoken(values: str) -> dict[str, str]:
    return {f'ray_kubevoice_first_audio_seconds_count{{{WHERE}, model="xtts_v2", format="mp3"}}': values}


def histogram(name: str, fast: str, slow: str, bounds: tuple[str, str]) -> dict[str, str]:
    """A histogram of two buckets that grow as ``fast`` and ``slow`` say."""
    labels = f'{WHERE}, model="xtts_v2", le='
    return {
        f'{name}{{{labels}"{bounds[0]}"}}': fast,
        f'{name}{{{labels}"{bounds[1]}"}}': slow,
        f'{name}{{{labels}"+Inf"}}': slow,
    }


def volume(free: str, size: str = "100e9x500") -> dict[str, str]:
    return {f"ray_kubevoice_volume_free_bytes{{{WHERE}}}": free, f"ray_kubevoice_volume_size_bytes{{{WHERE}}}": size}


def job(failed: str, *, container: str = "training", namespace: str = "speech", pod: str = "1x200") -> dict[str, str]:
    """A Job with one pod, as kube-state-metrics tells, beside a release in the namespace `speech`."""
    of_pod = f'namespace="{namespace}", pod="anna-7-x2k"'
    return {
        f'kube_job_failed{{namespace="{namespace}", job_name="anna-7", condition="true"}}': failed,
        f'kube_job_failed{{namespace="{namespace}", job_name="anna-7", condition="false"}}': "0x200",
        f'kube_pod_owner{{{of_pod}, owner_kind="Job", owner_name="anna-7"}}': pod,
        f'kube_pod_container_info{{{of_pod}, container="{container}", image="kubevoice:1"}}': pod,
        **volume("50e9x200"),
    }


FIRES = {
    "KubevoiceTargetAboveRunning": Case(target("3x60") | alive("a") | alive("gone", "0x60"), 20),
    "KubevoiceCappedAtMax": Case(target("3x60") | ongoing("13x60"), 30),
    "KubevoiceRolloutStuck": Case(status("3x60"), 40),
    "KubevoiceSlowColdStart": Case(starts("240000"), 60),
    "KubevoiceNotReady": Case(target("1x60") | alive("gone", "0x60"), 10),
    "KubevoiceControllerGone": Case(target("1x10 stale") | alive("a"), 20),
    "KubevoiceProxyUnhealthy": Case(proxy("3x60"), 10),
    "KubevoiceDeployFailed": Case(status("1x60"), 10),
    "KubevoiceRefusals": Case(refusals("overloaded", "0+5x60") | requests("200", "0+60x60"), 30),
    "KubevoiceServerErrors": Case(requests("500", "0+2x60") | requests("200", "0+60x60"), 30),
    "KubevoiceBrokenStreams": Case(broken("0+1x60") | spoken("0+60x60"), 30),
    "KubevoiceSlowFirstAudio": Case(
        histogram("ray_kubevoice_first_audio_seconds_bucket", "0+1x60", "0+60x60", ("1.5", "5.0")), 40
    ),
    "KubevoiceSlowerThanRealTime": Case(
        histogram("ray_kubevoice_real_time_factor_bucket", "0+1x60", "0+60x60", ("1.0", "2.0")), 40
    ),
    "KubevoiceTrainingFailed": Case(job("0x10 1x190"), 15),
    "KubevoiceVolumeFilling": Case(volume("35e9-20e6x500"), 480),  # 9.6 GB in 8 hours: full in less than a day
    "KubevoiceVolumeFull": Case(volume("1e9x500"), 10),
}

QUIET = {
    "KubevoiceTargetAboveRunning": Case(target("1x60") | alive("a") | alive("gone", "0x60"), 30),
    "KubevoiceCappedAtMax": Case(target("3x60") | ongoing("10x10 14x3 12x60"), 30),
    "KubevoiceRolloutStuck": Case(status("3x20 6x60"), 60),
    "KubevoiceSlowColdStart": Case(starts("60000"), 60),
    "KubevoiceNotReady": Case(target("0x60"), 30),  # scaled to zero
    "KubevoiceControllerGone": Case(target("1x10 stale _x2 0x60"), 30),  # a new head
    "KubevoiceProxyUnhealthy": Case(proxy("2x20 1x1 4x60"), 40),  # starts, drains
    "KubevoiceDeployFailed": Case(status("4x60"), 30),
    "KubevoiceRefusals": Case(refusals("invalid_value", "0+30x60") | requests("400", "0+60x60"), 30),
    "KubevoiceServerErrors": Case(
        requests("503", "0+10x60") | requests("200", "0+60x60"), 30
    ),  # refusals have their own
    "KubevoiceBrokenStreams": Case(broken("0x60") | spoken("0+60x60"), 30),
    "KubevoiceSlowFirstAudio": Case(
        histogram("ray_kubevoice_first_audio_seconds_bucket", "0+60x60", "0+60x60", ("1.5", "5.0")), 40
    ),
    "KubevoiceSlowerThanRealTime": Case(
        histogram("ray_kubevoice_real_time_factor_bucket", "0+60x60", "0+60x60", ("1.0", "2.0")), 40
    ),
    "KubevoiceTrainingFailed": Case(
        job("0x10 1x190", container="export")  # a Job of somebody else
        | job("0x10 1x190", namespace="elsewhere")  # nothing of ours is there
        | {'kube_job_failed{namespace="speech", job_name="ben-1", condition="true"}': "1x200"},  # its pods are gone
        15,
    ),
    "KubevoiceVolumeFilling": Case(volume("90e9-20e6x500"), 480),  # falls as fast, with much left
    "KubevoiceVolumeFull": Case(volume("5e9x500"), 10),
}

MORE_FIRES = {
    "refusals of those who speak ElevenLabs' API only": (
        "KubevoiceRefusals",
        Case(refusals("overloaded", "0+5x60") | requests("200", "0+60x60", ELEVENLABS), 30),
    ),
    "a server that turns all away": (
        "KubevoiceRefusals",
        Case(refusals("overloaded", "0+60x60") | requests("429", "0+60x60", ELEVENLABS), 30),
    ),
    "errors of ElevenLabs' API": (
        "KubevoiceServerErrors",
        Case(requests("500", "0+2x60", ELEVENLABS) | requests("200", "0+60x60", ELEVENLABS), 30),
    ),
    "a run that took too long, whose pods Kubernetes deletes": (
        "KubevoiceTrainingFailed",
        Case(job("0x10 1x190", pod="1x9 stale"), 15),
    ),
}
"""What else makes an alert fire, by its name."""

MORE_QUIET = {
    "one in sixty is refused, and hardly anybody speaks OpenAI's API": (
        "KubevoiceRefusals",
        Case(refusals("overloaded", "0+1x60") | requests("200", "0+60x60", ELEVENLABS) | requests("200", "0+1x60"), 30),
    ),
    "one in sixty is turned away": (
        "KubevoiceRefusals",
        Case(
            refusals("overloaded", "0+1x60")
            | requests("429", "0+1x60", ELEVENLABS)
            | requests("200", "0+59x60", ELEVENLABS),
            30,
        ),
    ),
}
"""What else must not."""
