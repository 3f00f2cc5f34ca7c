"""Speech from the command line, with the embedded voice."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from serving.audio.decode import decode
from serving.cli import app

TEXT = "The quick brown fox jumps over the lazy dog."


def say(tmp_path: Path, *arguments: str, stdin: str | bytes | None = None, **environment: str) -> Result:
    data = {"KUBEVOICE_DATA": str(tmp_path / "data"), "KUBEVOICE_ENGINE": "espeak", **environment}
    return CliRunner(env=data).invoke(app, ["say", *arguments], input=stdin)


@pytest.mark.parametrize("name", ["a.mp3", "a.opus", "a.ogg", "a.aac", "a.flac", "a.WAV"])
def test_the_suffix_decides_the_format_and_the_file_holds_speech(tmp_path: Path, name: str) -> None:
    result = say(tmp_path, TEXT, "-o", str(tmp_path / name))

    assert result.exit_code == 0, result.output
    audio = decode((tmp_path / name).read_bytes(), max_seconds=60, param="file")
    stated = re.fullmatch(r"espeak: (\d+\.\d\d) s of audio, real-time factor \d+\.\d{3}\n", result.stderr)
    assert stated is not None
    assert 1.5 < float(stated[1]) < 6
    assert audio.seconds == pytest.approx(float(stated[1]), abs=0.15)
    assert np.abs(audio.pcm).max() > 0.1
    assert result.stdout == ""
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [name]


def test_a_wav_file_has_its_true_length_in_the_header(tmp_path: Path) -> None:
    say(tmp_path, TEXT, "-o", str(tmp_path / "a.wav"))
    with wave.open(str(tmp_path / "a.wav")) as wav:
        assert wav.getframerate() == 24000
        assert wav.getnframes() * 2 + 44 == (tmp_path / "a.wav").stat().st_size


def test_standard_output_carries_a_wav_stream_and_nothing_else(tmp_path: Path) -> None:
    result = say(tmp_path, "-", "-o", "-", stdin=TEXT)
    assert result.exit_code == 0
    assert result.stdout_bytes.startswith(b"RIFF")
    assert decode(result.stdout_bytes, max_seconds=60, param="file").seconds > 1.5


def test_speed_and_format_are_obeyed(tmp_path: Path) -> None:
    lengths = [
        len(say(tmp_path, TEXT, "-o", "-", "--format", "pcm", "--speed", speed).stdout_bytes) for speed in ("1", "2")
    ]
    assert lengths[0] / lengths[1] == pytest.approx(2, rel=0.25)


def test_languages_and_presets_sound_different(tmp_path: Path) -> None:
    def spoken(*options: str) -> bytes:
        return say(tmp_path, TEXT, "-o", "-", "--format", "pcm", *options).stdout_bytes

    assert len({spoken(), spoken("--language", "de"), spoken("--voice", "nova")}) == 3


def test_an_added_voice_is_found_by_name_and_espeak_says_that_it_cannot_clone(tmp_path: Path) -> None:
    say(tmp_path, TEXT, "-o", str(tmp_path / "alice.wav"))
    added = CliRunner().invoke(
        app, ["voices", "add", str(tmp_path / "alice.wav"), "--name", "alice", "--data", str(tmp_path / "data")]
    )
    assert added.exit_code == 0, added.output
    result = say(tmp_path, TEXT, "-o", str(tmp_path / "a.mp3"), "--voice", "alice")
    assert result.exit_code == 0
    assert "does not clone voices" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((" \n", "-o", "OUT.mp3"), "text is empty"),
        (("...", "-o", "OUT.mp3"), "nothing that can be spoken"),
        ((TEXT, "-o", "OUT.xyz"), "the suffix of"),
        ((TEXT, "-o", "OUT"), "the suffix of"),
        ((TEXT, "-o", "OUT.mp3", "--format", "midi"), "format 'midi' is not known"),
        ((TEXT, "-o", "OUT.mp3", "--voice", "nobody"), "kubevoice voices list"),
        ((TEXT, "-o", "OUT.mp3", "--language", "tlh-x"), "language 'tlh-x'"),
        ((TEXT, "-o", "OUT.mp3", "--speed", "9"), "--speed"),
    ],
)
def test_bad_input_is_exit_code_2_and_leaves_no_file(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    result = say(tmp_path, *(argument.replace("OUT", str(out / "a")) for argument in arguments))
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert list(out.iterdir()) == []


def test_bytes_that_are_no_text_are_one_sentence(tmp_path: Path) -> None:
    result = say(tmp_path, "-", "-o", str(tmp_path / "a.wav"), stdin=b"hi \xff hello")
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: standard input is not UTF-8 (byte 3 is 0xff); ")
    assert not (tmp_path / "a.wav").exists()


def test_standard_input_is_utf_8_whatever_the_locale(tmp_path: Path) -> None:
    text = "Füße über Äpfel"
    pcm = [
        say(tmp_path, argument, "-o", "-", "--format", "pcm", "--language", "de", stdin=text.encode()).stdout_bytes
        for argument in ("-", text)
    ]
    assert pcm[0] == pcm[1] != b""


def test_a_preset_needs_no_data_directory_and_a_stored_voice_does(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where the directory should be")
    assert say(tmp_path, TEXT, "-o", str(tmp_path / "a.wav"), "--voice", "nova").exit_code == 0
    assert say(tmp_path, TEXT, "-o", str(tmp_path / "a.wav")).exit_code == 0
    result = say(tmp_path, TEXT, "-o", str(tmp_path / "a.wav"), "--voice", "alice")
    assert result.exit_code == 1
    assert f"cannot write {tmp_path / 'data'}" in result.stderr


def test_an_engine_without_weights_is_an_error_not_another_voice(tmp_path: Path) -> None:
    result = say(tmp_path, TEXT, "-o", str(tmp_path / "a.mp3"), KUBEVOICE_ENGINE="xtts")
    assert result.exit_code == 1
    assert "kubevoice models pull" in result.stderr


@pytest.mark.parametrize("place", ["missing/a.mp3", "file/a.mp3"])
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    result = say(tmp_path, TEXT, "-o", str(tmp_path / place))
    assert result.exit_code == 1
    assert f"error: cannot write {tmp_path / place}" in result.stderr


def test_an_existing_file_survives_a_failure_and_is_replaced_on_success(tmp_path: Path) -> None:
    old = tmp_path / "a.mp3"
    old.write_bytes(b"old")
    say(tmp_path, TEXT, "-o", str(old), "--voice", "nobody")
    assert old.read_bytes() == b"old"
    say(tmp_path, TEXT, "-o", str(old))
    assert len(old.read_bytes()) > 1000


@pytest.fixture
def interruptible() -> Iterator[None]:
    """What is started can be interrupted, also where the tests run in the background of a shell, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_while_speaking_leaves_nothing(tmp_path: Path) -> None:
    environment = {**os.environ, "KUBEVOICE_DATA": str(tmp_path / "data"), "KUBEVOICE_ENGINE": "espeak"}
    arguments = [sys.executable, "-m", "serving.cli", "say", "-", "-o", str(tmp_path / "book.flac")]
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, stdin=pipe, stderr=pipe, text=True, env=environment) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(TEXT * 40_000)
        process.stdin.close()
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob(".book.flac.*.tmp")) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 130
        assert "Traceback" not in process.stderr.read()
    assert list(tmp_path.iterdir()) == []
