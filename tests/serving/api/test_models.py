"""``/v1/models``."""

from __future__ import annotations

from starlette.testclient import TestClient

from serving.selection import MODEL_ALIASES


def test_the_loaded_model_comes_first_and_its_aliases_say_what_they_stand_for(client: TestClient) -> None:
    answer = client.get("/v1/models").json()

    assert answer["object"] == "list"
    assert [model["id"] for model in answer["data"]] == ["espeak", *MODEL_ALIASES]
    for model in answer["data"]:
        assert (model["object"], model["root"], model["engine"]) == ("model", "espeak", "espeak")
        assert {"en", "de", "fr"} <= set(model["languages"])
        assert model["clones_voices"] is False
        assert client.get(f"/v1/models/{model['id']}").json() == model


def test_an_unknown_model_is_not_found_by_name(client: TestClient) -> None:
    answer = client.get("/v1/models/whisper-1")

    assert answer.status_code == 404
    assert answer.json()["error"]["param"] == "model"
    assert answer.json()["error"]["code"] == "model_not_found"
