"""What training reads of each clip, computed once and kept in one file beside the dataset.

Text tokens, the audio codes of the DVAE, and the mel spectrogram that prompts are cut from. About 50 MB an hour.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from serving.engines.xtts.text import read_out
from serving.errors import InvalidRequest
from serving.files import fsync_directory, refusing
from training.dataset.metadata import Clip
from training.xtts.base import Base
from training.xtts.batches import Length
from training.xtts.clip import ClipReader, Example

logger = logging.getLogger(__name__)

VERSION = "2"
"""Of the file; another one is made anew."""

SUFFIX = ".safetensors"


class Features:
    """The clips in the order they were asked for, read from the file as they are used.

    ``left_out`` says why clips are not among them, by their id; ``silence`` float32 [80] is a silent frame of a mel.
    """

    def __init__(self, path: Path) -> None:
        """Raises SafetensorError, OSError, ValueError or KeyError when ``path`` is torn or of another kind."""
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})["facts"])
            self._text, self._codes, self._mel = (file.get_tensor(name) for name in ("text", "codes", "mel"))
            counts: list[list[int]] = file.get_tensor("counts").tolist()
            self.silence: torch.Tensor = file.get_tensor("silence")
        self.path = path
        self.ids: tuple[str, ...] = tuple(facts["ids"])
        self.left_out: dict[str, str] = facts["left_out"]
        self.lengths = tuple(
            Length(id_, text, codes, samples) for id_, (text, codes, _, samples) in zip(self.ids, counts, strict=True)
        )
        self._ends = torch.tensor(counts, dtype=torch.int64).reshape(-1, 4)[:, :3].cumsum(0).tolist()
        whole = [len(self._text), len(self._codes), len(self._mel)]
        if (self._ends[-1] if self._ends else [0, 0, 0]) != whole:
            raise ValueError("its parts do not fit together")

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(index)
        starts = self._ends[index - 1] if index else [0, 0, 0]
        text, codes, mel = (
            part[start:end]
            for part, start, end in zip((self._text, self._codes, self._mel), starts, self._ends[index], strict=True)
        )
        return Example(self.ids[index], text, codes, mel.T, self.lengths[index].samples)


def load_features(
    clips: Sequence[Clip],
    base: Base,
    dvae_file: Path,
    cache: Path,
    *,
    version: str = "any",
    progress: Callable[[int, int], None] | None = None,
) -> Features:
    """The features of ``clips``, from a file in the folder ``cache`` or computed and kept there.

    The file is named by the ``version`` of the dataset, for ``remove_stale``, and a hash of all that the features
    depend on, so it is never wrong; one that is torn is made again. It is put in place whole: processes that race each
    make it, and the last one's stays, which is the same.
    ``progress`` is told how many clips of how many are done.

    Clips that the model cannot be trained on are left out and counted in the log. Raises InvalidRequest (``dataset``)
    when none remains, ModelFilesError about ``dvae_file``, StorageError about ``cache``.
    """
    path = cache / f"{version}-{_fingerprint(clips, base, dvae_file)}{SUFFIX}"
    features = _open(path)
    if features is None:
        _compute(clips, ClipReader(base, dvae_file), path, progress)
        features = Features(path)
    if features.left_out:
        id_, reason = next(iter(features.left_out.items()))
        logger.warning(
            "%d of %d clips are left out, the first is %s: %s", len(features.left_out), len(clips), id_, reason
        )
    if not features.ids:
        id_, reason = next(iter(features.left_out.items()), ("", "there are none"))
        raise InvalidRequest(f"the dataset has no clip to train on ({id_}: {reason}); prepare it again", "dataset")
    return features


def remove_stale(cache: Path, version: str) -> int:
    """Delete from ``cache`` the files of other versions of the dataset than ``version``; how many they were.

    A dataset changes only while no run uses it, so nobody reads them; processes that have one open go on with it.
    Raises StorageError.
    """
    with refusing(cache):
        stale = [path for path in cache.glob(f"*{SUFFIX}") if not path.name.startswith(f"{version}-")]
        for path in stale:
            path.unlink(missing_ok=True)  # another run may be faster
    return len(stale)


def _open(path: Path) -> Features | None:
    if not path.exists():
        return None
    try:
        return Features(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        logger.warning("the features in %s are torn (%s) and are made again", path, error)
        return None


def _fingerprint(clips: Sequence[Clip], base: Base, dvae_file: Path) -> str:
    """A hash of the clips' texts as they are read out, of their audio, and of what both are encoded with."""
    digest = hashlib.sha256(VERSION.encode())
    for path in (dvae_file, base.directory / "vocab.json"):
        digest.update(_sha256(path))
    digest.update(base.mel_stats.float().numpy().tobytes())
    for clip in clips:
        digest.update(json.dumps([clip.id, _reading(clip), clip.language]).encode() + _sha256(clip.path))
    return digest.hexdigest()[:32]


def _reading(clip: Clip) -> str:
    """What is encoded of the text. Not the text itself: another version of kubevoice may read it otherwise."""
    try:
        return read_out(clip.text, clip.language)
    except Exception:  # noqa: BLE001 - whatever it is, the clip will be left out for it
        return clip.text


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _compute(
    clips: Sequence[Clip], reader: ClipReader, path: Path, progress: Callable[[int, int], None] | None
) -> None:
    read = []
    left_out: dict[str, str] = {}
    for number, clip in enumerate(clips, 1):
        try:
            read.append((clip.id, reader.read(clip)))
        except InvalidRequest as error:
            left_out[clip.id] = error.message
        if progress:
            progress(number, len(clips))
    parts = [part for _, part in read]
    counts = [[len(part.text_tokens), len(part.codes), part.mel.shape[1], part.samples] for part in parts]
    tensors = {
        "text": torch.cat([torch.empty(0, dtype=torch.int32), *(part.text_tokens for part in parts)]),
        "codes": torch.cat([torch.empty(0, dtype=torch.int16), *(part.codes for part in parts)]),
        "mel": torch.cat([torch.empty(0, 80, dtype=torch.float16), *(part.mel.T for part in parts)]),
        "counts": torch.tensor(counts, dtype=torch.int64).reshape(-1, 4),
        "silence": reader.silence,
    }
    _publish(path, tensors, {"ids": [id_ for id_, _ in read], "left_out": left_out})


def _publish(path: Path, tensors: dict[str, torch.Tensor], facts: dict[str, object]) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    with refusing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            save_file(tensors, temporary, {"facts": json.dumps(facts)})
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        fsync_directory(path.parent)
