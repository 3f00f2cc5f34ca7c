"""The likeliest path of the pitch through time, for methods whose network sees one frame at a time."""

from __future__ import annotations

import torch
from torch.nn import functional

from serving.engines.rvc.pitch.salience import BINS

REACH = 11
"""Bins (of 20 cents) that the pitch may move in 10 ms: torchcrepe's transitions, which fall off in a triangle."""


def best_path(salience: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """Bin numbers int64 [B, frames] of ``salience`` [B, frames, 360]; ``inside`` bool [B, frames] marks own frames.

    As ``torchcrepe.decode.viterbi``: emissions are the softmax of the salience, which may be -inf for bins that do not
    count, and the first frame may lie anywhere. Beyond an item's frames its last bin is repeated.
    """
    emitted = salience.float().log_softmax(-1)
    transition = _transition(salience.device)
    score, came_from = emitted[:, 0], []
    stay = torch.arange(BINS, device=salience.device).expand_as(score)
    for frame in range(1, salience.shape[1]):
        near = functional.pad(score, (REACH, REACH), value=-torch.inf).unfold(-1, 2 * REACH + 1, 1)
        best, step = (near + transition).max(-1)
        own = inside[:, frame, None]
        score = torch.where(own, best + emitted[:, frame], score)
        came_from.append(torch.where(own, stay + step - REACH, stay))
    path = [score.argmax(-1)]
    for source in reversed(came_from):
        path.append(source.gather(1, path[-1][:, None])[:, 0])
    return torch.stack(path[::-1], 1)


def _transition(device: torch.device) -> torch.Tensor:
    """log P [360, 23] of coming to a bin from each of its neighbours, in their order."""
    bins = torch.arange(BINS, device=device)
    triangle = (REACH + 1 - (bins[:, None] - bins).abs()).clamp(min=0).float()
    matrix = (triangle / triangle.sum(1, keepdim=True)).log()  # from row to column
    columns = functional.pad(matrix.T, (REACH, REACH), value=-torch.inf)
    return columns.gather(1, bins[:, None] + torch.arange(2 * REACH + 1, device=device))
