"""What the conversion replica makes of its settings."""

from __future__ import annotations

import pytest

from serving.deployments.conversion import with_visible_device
from serving.settings import Settings
from serving.settings_groups import RvcReplicaSettings, RvcSettings


@pytest.mark.parametrize(
    ("gpus", "device", "taken"),
    [(1.0, "cuda:1", "cuda"), (0.5, "cuda:0", "cuda"), (0.0, "cuda:1", "cuda:1"), (1.0, "cpu", "cpu")],
)
def test_a_numbered_gpu_is_the_only_one_where_ray_assigns_it(gpus: float, device: str, taken: str) -> None:
    replicas = RvcReplicaSettings(gpus=gpus)
    result = with_visible_device(Settings(rvc=RvcSettings(device=device, queue=7, replicas=replicas)))

    assert result.rvc == RvcSettings(device=taken, queue=7, replicas=replicas)
