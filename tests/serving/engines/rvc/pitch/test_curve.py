import pytest
import torch

from serving.engines.rvc.pitch.curve import Curve, at_frames
from serving.errors import InvalidRequest


def test_a_curve_replaces_the_pitch_where_it_is_drawn() -> None:
    f0 = torch.full((8,), 50.0)
    drawn = Curve.parse("0.02,100\n0.04,200\n").laid_over(f0)
    assert drawn.tolist() == pytest.approx([50, 50, 100, 150, 200, 50, 50, 50])
    assert f0.tolist() == [50.0] * 8


def test_time_zero_lies_where_the_audio_starts() -> None:
    drawn = Curve.parse("time,f0\r\n0,100\r\n\r\n0.01,110\r\n").laid_over(torch.zeros(5), first_frame=2)
    assert drawn.tolist() == pytest.approx([0, 0, 100, 110, 0])


def test_no_line_is_drawn_from_or_to_unvoiced() -> None:
    drawn = Curve.parse("0,100\n0.04,0\n0.08,300").laid_over(torch.full((9,), 7.0))
    assert drawn.tolist() == pytest.approx([100, 100, 0, 0, 0, 0, 300, 300, 300])


def test_a_single_point_sets_one_frame() -> None:
    assert Curve.parse("0.01,100").laid_over(torch.zeros(3)).tolist() == [0, 100, 0]


def test_a_curve_beside_the_audio_changes_nothing() -> None:
    f0 = torch.zeros(3)
    assert Curve.parse("5,100\n6,100").laid_over(f0) is f0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no points"),
        ("time,f0\n", "no points"),
        ("0,1\n0.5", "line 2 is not two numbers"),
        ("0,1\n1,x", "line 2 is not two numbers"),
        ("0,nan", "line 1 is not two numbers"),
        ("0,1,2", "line 1 is not two numbers"),
        ("-1,100", "line 1 needs seconds from 0"),
        ("0,1e9", "line 1 needs seconds from 0 and hertz from 0 to 4000"),
        ("0,-3", "line 1 needs seconds"),
        ("1,100\n1,100", "line 2 is not later"),
    ],
)
def test_what_is_no_curve_is_refused_by_line(text: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message) as error:
        Curve.parse(text)
    assert error.value.param == "f0_curve"


def test_too_many_points_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.engines.rvc.pitch.curve.MAX_POINTS", 2)
    Curve.parse("0,1\n1,1")
    with pytest.raises(InvalidRequest, match="more than 2 points"):
        Curve.parse("0,1\n1,1\n2,1")


def test_a_pitch_spread_over_more_frames_is_interpolated_where_voiced() -> None:
    assert at_frames(torch.tensor([[100.0, 200, 0, 300]]), 8).tolist() == [[100, 150, 200, 0, 0, 300, 300, 300]]
    assert at_frames(torch.tensor([100.0, 200, 300, 400]), 2).tolist() == [100, 300]


def test_the_same_number_of_frames_changes_nothing() -> None:
    f0 = torch.rand(2, 5)
    assert at_frames(f0, 5) is f0
