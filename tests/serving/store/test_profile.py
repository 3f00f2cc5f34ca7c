from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from serving.errors import InvalidRequest
from serving.store.profile import VoiceFile, clean_name, is_storable, read_profile

VOICE_ID = "voice_0123456789abcdef01234567"


def make_facts(**changes: Any) -> dict[str, Any]:
    facts = {
        "id": VOICE_ID,
        "tenant": "acme",
        "name": "Nova",
        "reference_count": 1,
        "reference_seconds": 1.5,
        "created_at": "2026-01-02T03:04:05Z",
    }
    return {**facts, **changes}


def write_profile(root: Path, facts: object, voice_id: str = VOICE_ID) -> Path:
    directory = root / "acme" / voice_id
    directory.mkdir(parents=True)
    path = directory / "profile.json"
    path.write_text(json.dumps(facts))
    return path


@pytest.mark.parametrize(
    "name", ["a", "Nova", "Nova 2 (alt.)", "O'Neil-Smith_3", "Zoë", "Ωmega", "हिन्दी", "日本語", "x" * 64]
)
def test_a_name_of_letters_and_digits_of_any_script_is_fine(name: str) -> None:
    assert clean_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        " Nova",
        ".hidden",
        "-rf",
        "a..b",
        "../x",
        "a/b",
        "a\\b",
        "a\0b",
        "a\nb",
        "a\tb",
        "<b>",
        "a\ud800",
        "😀",
        "x" * 65,
    ],
)
def test_another_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        clean_name(name)
    assert caught.value.param == "name"


def test_a_name_cannot_pass_for_a_voice_id() -> None:
    with pytest.raises(InvalidRequest, match="looks like a voice id"):
        clean_name(VOICE_ID)


def test_two_spellings_of_one_name_are_one_name() -> None:
    assert clean_name("Zoe\u0308") == "Zo\u00eb"


def test_what_a_database_refuses_in_a_text_is_known_before() -> None:
    assert is_storable("any text\nwith 😀")
    assert not is_storable("a\0b")
    assert not is_storable("\udfff")


@pytest.mark.parametrize(("field", "limit"), [("language", 35), ("description", 2000), ("consent", 2000)])
def test_a_text_has_a_longest_length_and_no_nul(field: str, limit: int) -> None:
    assert getattr(VoiceFile(**make_facts(**{field: "x" * limit})), field) == "x" * limit
    for text in ("x" * (limit + 1), "a\0b", "\ud800"):
        with pytest.raises(InvalidRequest) as caught:
            VoiceFile(**make_facts(**{field: text}))
        assert caught.value.param == field


def test_a_profile_reads_back_as_it_was_written(tmp_path: Path) -> None:
    voice = VoiceFile(**make_facts(description="warm", language="en", created_at=datetime.now(UTC)))
    assert read_profile(write_profile(tmp_path, voice.model_dump(mode="json"))) == voice


@pytest.mark.parametrize(
    "facts",
    [
        [],
        {},
        make_facts(id="../../etc"),
        make_facts(name="a/b"),
        make_facts(tenant=".."),
        make_facts(tenant="other"),
        make_facts(reference_count=0),
        make_facts(reference_seconds="NaN"),
        make_facts(created_at="2026-01-02T03:04:05"),
        make_facts(description="a\0b"),
    ],
)
def test_a_profile_that_is_broken_or_of_another_place_is_logged_and_left_out(
    facts: object, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_profile(tmp_path, facts)
    assert read_profile(path) is None
    assert str(path) in caplog.text


def test_a_copied_voice_directory_is_not_the_voice(tmp_path: Path) -> None:
    assert read_profile(write_profile(tmp_path, make_facts(), voice_id="voice_" + "f" * 24)) is None


def test_a_profile_that_is_no_file_is_left_out(tmp_path: Path) -> None:
    assert read_profile(tmp_path) is None
