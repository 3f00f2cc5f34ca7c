"""templates/access/worker.yaml"""

from tests.charts.rendering import made_by, one

TEMPLATE = "access/worker.yaml"


def test_pods_that_only_speak_have_an_account_without_a_token() -> None:
    account = one(made_by(TEMPLATE), "ServiceAccount")
    assert account["metadata"]["name"] == "voices-kubevoice-worker"
    assert account["automountServiceAccountToken"] is False


def test_annotations_lend_it_a_cloud_identity() -> None:
    values = {"serviceAccounts": {"annotations": {"iam": "speech"}}}
    assert one(made_by(TEMPLATE, values), "ServiceAccount")["metadata"]["annotations"] == {"iam": "speech"}
