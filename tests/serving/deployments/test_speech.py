"""What the speech replica makes of its settings."""

from __future__ import annotations

import pytest

from serving.deployments.speech import with_visible_device
from serving.settings import Settings
from serving.settings_groups import ReplicaSettings, XttsSettings


@pytest.mark.parametrize(
    ("gpus", "device", "taken"),
    [
        (1.0, "cuda:1", "cuda"),
        (0.5, "cuda:0", "cuda"),
        (0.0, "cuda:1", "cuda:1"),
        (1.0, "cpu", "cpu"),
        (1.0, "auto", "auto"),
    ],
)
def test_a_numbered_gpu_is_the_only_one_where_ray_assigns_it(gpus: float, device: str, taken: str) -> None:
    settings = Settings(replicas=ReplicaSettings(gpus=gpus), xtts=XttsSettings(device=device, model="tuned"))
    result = with_visible_device(settings)

    assert result.xtts == XttsSettings(device=taken, model="tuned")
    assert result.replicas == settings.replicas
