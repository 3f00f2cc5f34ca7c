"""The ranks of a run: what they add up, what they agree on, and what rank 0 alone decides.

With one rank nothing of torch.distributed is touched. Gradients are added after the last micro-batch of a step in a few
flat pieces: as a rank may have no micro-batch at all, and parts of the decoder may go unused, that is simpler than
DistributedDataParallel, and it is exactly what one rank would have accumulated. It costs one all-reduce a step,
however often gradients are accumulated.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist

from serving.errors import ConfigurationError
from training.xtts.launcher import STORE_DESCRIPTOR
from training.xtts.signals import Stopped

STEP_TIMEOUT = timedelta(minutes=20)
"""Longest that a rank waits for another in a step: ranks differ by seconds."""

WAIT_TIMEOUT = timedelta(days=2)
"""Longest that ranks wait for rank 0, which may wait for the lock, compute features or evaluate meanwhile."""

BUCKET = 32 * 1024 * 1024
"""Elements of a flat piece of gradients: 128 MB."""

T = TypeVar("T")


@dataclass(frozen=True)
class Group:
    """This process among ``world``; ``local_rank`` is its number on this node."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    _steps: Any = field(default=None, repr=False)
    _waits: Any = field(default=None, repr=False)

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """True on every rank if ``flag`` is on one."""
        if self.world == 1:
            return flag
        seen = torch.tensor([flag], dtype=torch.uint8)
        dist.all_reduce(seen, dist.ReduceOp.MAX, group=self._steps)
        return bool(seen.item())

    def add(self, values: torch.Tensor) -> torch.Tensor:
        """``values``, summed over all ranks; on any device."""
        if self.world > 1:
            dist.all_reduce(values)
        return values

    def share(self, value: T) -> T:
        """Rank 0's ``value``, which may take it long to have."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self._waits)
        return box[0]

    def lead(self, work: Callable[[], T]) -> T:
        """What ``work`` gives on rank 0, which alone does it; Stopped there is raised on every rank."""
        done: tuple[T | None, bool] = (None, True)
        if self.leads:
            with contextlib.suppress(Stopped):
                done = (work(), False)
        result, stopped = self.share(done)
        if stopped:
            raise Stopped
        return cast(T, result)

    def add_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Sum the gradients over all ranks; where no rank has one, there is none afterwards either."""
        if self.world == 1:
            return
        everyone = list(parameters)
        used = torch.tensor([parameter.grad is not None for parameter in everyone], dtype=torch.uint8)
        dist.all_reduce(used, dist.ReduceOp.MAX, group=self._steps)
        gradients = []
        for parameter, has in zip(everyone, used.tolist(), strict=True):
            if has:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                gradients.append(parameter.grad)
        for bucket in _buckets(gradients):
            flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
            dist.all_reduce(flat)
            parts = flat.split([gradient.numel() for gradient in bucket])
            torch._foreach_copy_(bucket, [part.view_as(gradient) for part, gradient in zip(parts, bucket, strict=True)])

    def leave(self) -> None:
        if self.world > 1:
            dist.destroy_process_group()


def join(device_type: str, environment: Mapping[str, str] = os.environ) -> Group:
    """Meet the other ranks, as torchrun's variables or those of our launcher say; alone without them.

    Raises ConfigurationError.
    """
    rank, world, local_rank = place(environment)
    if world == 1:
        return Group()
    dist.init_process_group(
        "nccl" if device_type == "cuda" else "gloo",
        rank=rank,
        world_size=world,
        timeout=STEP_TIMEOUT,
        **_rendezvous(environment, rank, world),
    )
    steps = dist.new_group(backend="gloo", timeout=STEP_TIMEOUT)
    waits = dist.new_group(backend="gloo", timeout=WAIT_TIMEOUT)
    return Group(rank, world, local_rank, steps, waits)


def place(environment: Mapping[str, str]) -> tuple[int, int, int]:
    """(rank, world, local rank) by the variables of torchrun; raises ConfigurationError."""
    try:
        return tuple(int(environment.get(name) or value) for name, value in _PLACE)  # type: ignore[return-value]
    except ValueError as error:
        raise ConfigurationError(f"RANK, WORLD_SIZE and LOCAL_RANK must be numbers ({error}); unset them") from None


_PLACE = (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))


def _rendezvous(environment: Mapping[str, str], rank: int, world: int) -> dict[str, Any]:
    descriptor = environment.get(STORE_DESCRIPTOR)
    if descriptor is None:
        return {"init_method": "env://"}
    store = dist.TCPStore(
        environment["MASTER_ADDR"],
        int(environment["MASTER_PORT"]),
        world,
        is_master=rank == 0,
        timeout=STEP_TIMEOUT,
        master_listen_fd=int(descriptor) if rank == 0 else None,
    )
    return {"store": store}


def _buckets(gradients: list[torch.Tensor]) -> Iterable[list[torch.Tensor]]:
    bucket: list[torch.Tensor] = []
    elements = 0
    for gradient in gradients:
        if bucket and elements + gradient.numel() > BUCKET:
            yield bucket
            bucket, elements = [], 0
        bucket.append(gradient)
        elements += gradient.numel()
    if bucket:
        yield bucket
