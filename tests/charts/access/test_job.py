"""templates/access/job.yaml"""

from tests.charts.rendering import made_by, one

TEMPLATE = "access/job.yaml"


def test_jobs_have_an_account_without_a_token() -> None:
    account = one(made_by(TEMPLATE), "ServiceAccount")
    assert account["metadata"]["name"] == "voices-kubevoice-job"
    assert account["automountServiceAccountToken"] is False


def test_annotations_lend_it_a_cloud_identity() -> None:
    values = {"serviceAccounts": {"annotations": {"iam": "speech"}}}
    assert one(made_by(TEMPLATE, values), "ServiceAccount")["metadata"]["annotations"] == {"iam": "speech"}
