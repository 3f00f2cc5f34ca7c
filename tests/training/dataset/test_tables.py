"""Lists of recordings are told apart by their content."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.errors import InvalidRequest
from training.dataset.tables import Row, read_rows


@pytest.mark.parametrize(
    ("name", "content", "kind", "rows"),
    [
        ("metadata.csv", "a|One.\nb|Two.\n", "ljspeech", [Row("a", "One."), Row("b", "Two.")]),
        ("metadata.csv", 'a|Dr. 1|Doctor "One"\n', "ljspeech", [Row("a", 'Doctor "One"')]),
        ("metadata.txt", "a|No. 1|\n", "ljspeech", [Row("a", "No. 1")]),
        (
            "metadata_train.csv",
            "audio_file|text|speaker_name\nwavs/a.wav|One.|anna\n",
            "coqui",
            [Row("wavs/a.wav", "One.", "anna")],
        ),
        ("list.csv", 'file,text\na.wav,"One, two."\n', "csv", [Row("a.wav", "One, two.")]),
        ("list.csv", "file;text;split\r\na.wav;One.;eval\r\n", "csv", [Row("a.wav", "One.", split="val")]),
        ("list.tsv", "path\tsentence\tlocale\na.mp3\tOne.\tde\n", "csv", [Row("a.mp3", "One.", language="de")]),
        (
            "validated.tsv",
            'path\tsentence\n1.mp3\t"Hello there\n2.mp3\tHow are you\n3.mp3\t"Go," she said.\n',
            "csv",
            [Row("1.mp3", '"Hello there'), Row("2.mp3", "How are you"), Row("3.mp3", '"Go," she said.')],
        ),
        ("list.csv", "a.wav,One.\nb.wav,Two.\n", "csv", [Row("a.wav", "One."), Row("b.wav", "Two.")]),
        (
            "list.jsonl",
            '{"audio": "a.wav", "text": "One."}\n\n{"audio_filepath": "b", "text": "Zwei", "speaker": "bea", '
            '"language": "de", "split": "train"}\n{"file": "c", "text": 3}\n',
            "jsonl",
            [Row("a.wav", "One."), Row("b", "Zwei", "bea", "de", "train"), Row("c", "3")],
        ),
    ],
)
def test_each_format_is_read(tmp_path: Path, name: str, content: str, kind: str, rows: list[Row]) -> None:
    path = tmp_path / name
    path.write_text(content, newline="")
    table = read_rows(path)
    assert table is not None
    assert (table.format, list(table.rows)) == (kind, rows)


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        ("a|One.\nb|Two.|Two.|Three.\n", 2, "4 fields"),
        ("a|One.\n|Two.\n", 2, "expected id"),
        ("audio_file|text\na.wav|One|two\n", 2, "3 fields"),
        ("file,text\na.wav\n", 2, "1 fields"),
        ("file,text\n,One.\n", 2, "names no file"),
        ("file,text,split\na.wav,One.,holdout\n", 2, "holdout"),
        ('file,text\na.wav,One.\nb.wav,"Two.\nc.wav,Three.\n', 3, "quotation mark"),
        ('a.wav;"One.\nb.wav;Two."\n', 1, "quotation mark"),
        ('{"audio": "a.wav", "text": "One."}\n{"audio": \n', 2, "not JSON"),
        ('{"text": "One."}\n', 1, "names no file"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, content: str, line: int, reason: str) -> None:
    path = tmp_path / "list.csv"
    path.write_text(content)
    with pytest.raises(InvalidRequest, match=rf"line {line} .*{reason}"):
        read_rows(path)


@pytest.mark.parametrize(
    "content", ["", "Recorded in Berlin, in May.\nMany thanks.\n", "a,b,c\n1,2,3\n", "Anna | Berlin\nin May\n"]
)
def test_other_files_are_no_lists(tmp_path: Path, content: str) -> None:
    path = tmp_path / "readme.txt"
    path.write_text(content)
    assert read_rows(path) is None
