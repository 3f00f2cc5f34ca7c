"""Text as users bring it, and as metadata.csv takes it."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from serving.errors import InvalidRequest

LARGEST_BYTES = 256 * 2**20


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, with or without a byte order mark; raises InvalidRequest that names the file."""
    try:
        size = path.stat().st_size
        if size > LARGEST_BYTES:
            raise InvalidRequest(f"{path} has {size} bytes, which is no list of texts; at most 256 MiB are read", "raw")
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8", "raw") from error
    except OSError as error:
        raise InvalidRequest(f"cannot read {path}: {error.strerror or error}", "raw") from error


def clean_text(text: str) -> str:
    """``text`` on one line: NFC, blanks collapsed, without ``|``, control and invisible formatting characters.

    Casing and punctuation stay: the model's own front end lowers and expands what it needs to.
    """
    composed = unicodedata.normalize("NFC", text)
    kept = (" " if _parts(character) else character for character in composed if not _is_invisible(character))
    return " ".join("".join(kept).split())


def _parts(character: str) -> bool:
    return character == "|" or character.isspace() or unicodedata.category(character) in {"Cc", "Zl", "Zp"}


def _is_invisible(character: str) -> bool:
    """Byte order marks and the like; joiners stay, since Hindi and Arabic spell with them."""
    return unicodedata.category(character) in {"Cf", "Cs", "Co", "Cn"} and character not in "\u200c\u200d"
