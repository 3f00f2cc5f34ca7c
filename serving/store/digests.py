"""The sha256 that whoever pulls a model expects of its files, beside what the hub says of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from serving.errors import InvalidRequest, ModelFilesError
from serving.files import refusing
from serving.store.manifest import Manifest, sha256_file

SHA256 = re.compile(r"[0-9a-f]{64}")


class ExpectedDigests:
    """Expected sha256 in hex by file name; ``files`` are those that the pull brings.

    Raises InvalidRequest for a name that is not among them and for what is not a sha256.
    """

    def __init__(self, expected: Mapping[str, str], files: Sequence[str]) -> None:
        for name, digest in expected.items():
            if name not in files:
                raise InvalidRequest(f"a sha256 is given for {name!r}; the files are {', '.join(files)}", "sha256")
            if not SHA256.fullmatch(digest.lower()):
                raise InvalidRequest(f"{digest!r} for {name} is not a sha256 of 64 hexadecimal digits", "sha256")
        self._expected = {name: digest.lower() for name, digest in expected.items()}

    def check(self, name: str, found: str, where: str) -> None:
        """Raise ModelFilesError unless ``found`` is what is expected of the file ``name``, or nothing is."""
        expected = self._expected.get(name, found)
        if found != expected:
            raise ModelFilesError(
                f"{name} {where} is not the expected file: its sha256 is {found}, expected was {expected}; nothing was "
                "published, check the revision and where the digest comes from"
            )

    def check_file(self, path: Path) -> None:
        """``check`` of a file that has arrived; one that is not as expected is removed."""
        if path.name not in self._expected:
            return
        with refusing(path):
            found = sha256_file(path)
        try:
            self.check(path.name, found, "from the hub")
        except ModelFilesError:
            path.unlink()
            raise

    def check_manifest(self, manifest: Manifest) -> None:
        """``check`` of a published revision, whose files have the digests of their manifest."""
        for name in self._expected:
            if name in manifest.files:
                self.check(name, manifest.files[name].sha256, "on the volume")
