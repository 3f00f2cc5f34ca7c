"""What is measured."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.metrics import ALL, AUDIO_SECONDS, QUEUED_STREAMS, REQUEST_SECONDS, LocalMetrics, of_kind


async def test_counters_add_gauges_are_set_and_histograms_fill_buckets() -> None:
    metrics = LocalMetrics()
    metrics.add(AUDIO_SECONDS, 1.5, model="m", format="mp3")
    metrics.add(AUDIO_SECONDS, 2.0, model="m", format="mp3")
    metrics.set(QUEUED_STREAMS, 4, model="m")
    metrics.set(QUEUED_STREAMS, 2, model="m")
    metrics.observe(REQUEST_SECONDS, 0.3, method="GET", route="/")

    lines = (await metrics.render()).decode().splitlines()
    assert 'kubevoice_audio_seconds_total{format="mp3",model="m"} 3.5' in lines
    assert 'kubevoice_queued_streams{model="m"} 2.0' in lines
    assert 'kubevoice_request_seconds_bucket{le="0.25",method="GET",route="/"} 0.0' in lines
    assert 'kubevoice_request_seconds_bucket{le="0.5",method="GET",route="/"} 1.0' in lines


async def test_what_is_rendered_is_prometheus_text_with_a_help_for_every_family() -> None:
    families = list(text_string_to_metric_families((await LocalMetrics().render()).decode()))

    assert {family.name for family in families} == {metric.name for metric in ALL}
    assert all(family.documentation for family in families)


def test_names_say_what_and_in_which_unit() -> None:
    assert len({metric.name for metric in ALL}) == len(ALL)
    assert sorted(metric.name for kind in ("counter", "gauge", "histogram") for metric in of_kind(kind)) == sorted(
        metric.name for metric in ALL
    )
    for metric in ALL:
        assert metric.name.startswith("kubevoice_")
        assert not metric.name.endswith("_total")
        assert bool(metric.buckets) == (metric.kind == "histogram")
        assert list(metric.buckets) == sorted(set(metric.buckets))


def test_a_missing_label_is_an_error() -> None:
    with pytest.raises(ValueError, match="label"):
        LocalMetrics().add(AUDIO_SECONDS, 1.0, model="m")


async def test_two_recorders_do_not_share() -> None:
    first, second = LocalMetrics(), LocalMetrics()
    first.add(AUDIO_SECONDS, 1.0, model="m", format="mp3")

    assert b'model="m"' not in await second.render()
