"""templates/secrets/database.yaml"""

from tests.charts.rendering import made_by, one

TEMPLATE = "secrets/database.yaml"
URL = "postgresql+psycopg://kubevoice:secret@db.example.org:6432/kubevoice"


def test_a_url_in_the_values_goes_into_a_secret() -> None:
    secret = one(made_by(TEMPLATE, {"postgresql": {"url": URL, "existingSecret": {"name": ""}}}), "Secret")
    assert secret["metadata"]["name"] == "voices-kubevoice-database"
    assert secret["stringData"] == {"url": URL}


def test_a_secret_of_yours_is_used_instead() -> None:
    assert made_by(TEMPLATE) == []


def test_the_bundled_database_has_its_password_elsewhere() -> None:
    assert made_by(TEMPLATE, {"postgresql": {"existingSecret": {"name": ""}, "bundled": {"enabled": True}}}) == []
