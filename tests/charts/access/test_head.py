"""templates/access/head.yaml"""

from tests.charts.rendering import made_by, one

TEMPLATE = "access/head.yaml"


def test_the_head_has_a_token_for_its_autoscaler() -> None:
    account = one(made_by(TEMPLATE), "ServiceAccount")
    assert account["metadata"]["name"] == "voices-kubevoice-head"
    assert account["automountServiceAccountToken"] is True


def test_annotations_lend_it_a_cloud_identity() -> None:
    values = {"serviceAccounts": {"annotations": {"iam": "speech"}}, "annotations": {"team": "voice"}}
    assert one(made_by(TEMPLATE, values), "ServiceAccount")["metadata"]["annotations"] == {
        "iam": "speech",
        "team": "voice",
    }
