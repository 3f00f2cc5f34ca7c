"""templates/access/api.yaml"""

from tests.charts.rendering import made_by, one

TEMPLATE = "access/api.yaml"


def test_the_api_has_a_token_to_start_training_with() -> None:
    account = one(made_by(TEMPLATE), "ServiceAccount")
    assert account["metadata"]["name"] == "voices-kubevoice-api"
    assert account["automountServiceAccountToken"] is True


def test_without_training_it_has_none() -> None:
    account = one(made_by(TEMPLATE, {"training": {"enabled": False}}), "ServiceAccount")
    assert account["automountServiceAccountToken"] is False


def test_annotations_lend_it_a_cloud_identity() -> None:
    values = {"serviceAccounts": {"annotations": {"iam": "speech"}}}
    assert one(made_by(TEMPLATE, values), "ServiceAccount")["metadata"]["annotations"] == {"iam": "speech"}
