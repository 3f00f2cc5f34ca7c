"""templates/extra.yaml"""

from tests.charts.rendering import made_by

TEMPLATE = "extra.yaml"


def test_there_are_none_by_default() -> None:
    assert made_by(TEMPLATE) == []


def test_strings_and_objects_are_templates() -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-text\n"
    item = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": '{{ include "kubevoice.fullname" . }}-object'},
    }
    made = made_by(TEMPLATE, {"extraObjects": [text, item]})
    assert [found["metadata"]["name"] for found in made] == ["voices-text", "voices-kubevoice-object"]
