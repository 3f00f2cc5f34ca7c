import logging
import warnings
from collections.abc import Iterator

import pytest
import torch

from serving.engines.xtts import device as devices
from serving.engines.xtts.device import select_device
from serving.engines.xtts.engine import XttsEngine
from serving.engines.xtts.probe import first_fault
from serving.errors import ConfigurationError
from tests.factories.xtts import cached_checkpoint
from tests.serving.engines.xtts.broken import BROKEN, broken, spectrograms


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable() -> bool:
        warnings.warn("the driver is too old", UserWarning, stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", unavailable)


@pytest.mark.usefixtures("no_gpu")
def test_auto_and_cpu_run_without_a_gpu() -> None:
    assert select_device("auto", fallback_cpu=False).type == "cpu"
    assert select_device("cpu", fallback_cpu=False).type == "cpu"


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("device", ["cuda", "cuda:3"])
def test_a_missing_gpu_is_an_error_that_names_the_setting_and_the_reason(device: str) -> None:
    with pytest.raises(ConfigurationError, match="driver is too old") as caught:
        select_device(device, fallback_cpu=False)
    assert caught.value.param == "xtts.device"


@pytest.mark.usefixtures("no_gpu")
def test_the_fallback_takes_the_cpu_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert select_device("cuda", fallback_cpu=True).type == "cpu"
    assert "runs on the CPU" in caplog.text


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "first_fault", lambda _: None)
    assert select_device("auto", fallback_cpu=False) == torch.device("cuda")
    assert select_device("cuda:1", fallback_cpu=False) == torch.device("cuda:1")
    with pytest.raises(ConfigurationError, match="2 GPUs"):
        select_device("cuda:2", fallback_cpu=False)


@pytest.fixture
def broken_gpus(two_gpus: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """GPUs that are there and have the fault of cuFFT."""
    monkeypatch.setattr(devices, "first_fault", lambda _: first_fault(BROKEN))
    with broken(spectrograms):
        yield


@pytest.mark.usefixtures("broken_gpus")
@pytest.mark.parametrize("device", ["auto", "cuda:1"])
def test_a_gpu_that_fails_its_probe_is_an_error_that_names_the_operation_and_the_shape(device: str) -> None:
    words = (
        r"torch\.stft of conditioning mel \[2, 22050\], n_fft 2048 fails: cuFFT error: CUFFT_INVALID_SIZE; "
        "use another torch build"
    )
    with pytest.raises(ConfigurationError, match=words) as caught:
        select_device(device, fallback_cpu=False)
    assert caught.value.param == "xtts.device"


@pytest.mark.usefixtures("broken_gpus")
@pytest.mark.parametrize("device", ["auto", "cuda:1"])
async def test_the_fallback_runs_the_engine_on_the_cpu_for_a_gpu_that_fails_its_probe(
    device: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        engine = XttsEngine.load(cached_checkpoint(), model="tiny", revision="r1", device=device, fallback_cpu=True)
    assert "fails its probe: torch.stft of conditioning mel" in caplog.text
    assert (await engine.info()).device == "cpu"
    await engine.close()
