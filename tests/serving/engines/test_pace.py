import pytest

from serving.engines.pace import CHARACTER_S, estimated_s


@pytest.mark.parametrize(("language", "factor"), [("en", 1), ("zh-CN", 3), ("ja", 3), ("KO_kr", 3)])
def test_a_text_takes_as_long_as_its_characters(language: str, factor: float) -> None:
    assert estimated_s("x" * 10, language, 1.0) == pytest.approx(10 * factor * CHARACTER_S)
    assert estimated_s("x" * 10, language, 2.0) == pytest.approx(5 * factor * CHARACTER_S)
