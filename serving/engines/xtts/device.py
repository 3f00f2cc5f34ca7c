"""Which device the model runs on."""

from __future__ import annotations

import logging
import warnings

import torch

from serving.engines.xtts.probe import first_fault
from serving.errors import ConfigurationError

logger = logging.getLogger(__name__)


def select_device(device: str, *, fallback_cpu: bool) -> torch.device:
    """The device that ``device`` ("auto", "cpu", "cuda", "cuda:N") stands for; "auto" takes a GPU where there is one.

    Raises ConfigurationError when the named GPU does not exist or any GPU fails its probe, unless ``fallback_cpu``:
    then the CPU, with a warning.
    """
    if device == "cpu":
        return torch.device("cpu")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")  # torch tells by a warning why it cannot use a driver
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    wanted = torch.device("cuda" if device == "auto" else device)
    if (wanted.index or 0) < count:
        return _probed(wanted, fallback_cpu=fallback_cpu)
    reason = "; ".join(str(warning.message) for warning in caught) or f"torch sees {count} GPUs"
    if device != "auto" and not fallback_cpu:
        raise ConfigurationError(
            f"device {device} is not there ({reason}); set xtts.device to cpu, or xtts.fallback_cpu", "xtts.device"
        )
    if device != "auto" or caught:
        logger.warning("XTTS runs on the CPU: device %s is not there (%s)", device, reason)
    return torch.device("cpu")


def _probed(device: torch.device, *, fallback_cpu: bool) -> torch.device:
    fault = first_fault(str(device))
    if fault is None:
        return device
    if not fallback_cpu:
        raise ConfigurationError(
            f"device {device} cannot run XTTS: {fault}; use another torch build, set xtts.device to cpu, or "
            "xtts.fallback_cpu",
            "xtts.device",
        )
    logger.warning("XTTS runs on the CPU: device %s fails its probe: %s", device, fault)
    return torch.device("cpu")
