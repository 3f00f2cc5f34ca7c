"""The profiles render what was reviewed."""

from __future__ import annotations

import pytest
import yaml

from tests.charts.goldens import COPIES, RANDOM, golden, path
from tests.charts.rendering import PROFILES, installable, render_files


@pytest.mark.parametrize("profile", PROFILES)
def test_what_is_rendered_is_what_was_reviewed(profile: str) -> None:
    assert path(profile).read_text() == golden(profile), (
        "run `make chart-docs`, read the difference in tests/charts/goldens and commit it with its cause"
    )


@pytest.mark.parametrize("profile", PROFILES)
def test_a_golden_holds_every_object_that_is_no_copy_of_a_file(profile: str) -> None:
    written = [item for item in yaml.safe_load_all(path(profile).read_text()) if item]
    rendered = [
        item
        for template, made in render_files(installable(profile), minimal=False).items()
        if template not in COPIES
        for item in made
    ]
    names = sorted((item["kind"], item["metadata"]["name"]) for item in written)
    assert names == sorted((item["kind"], item["metadata"]["name"]) for item in rendered)


def test_a_golden_holds_no_key() -> None:
    assert '  auth_token: "random"' in golden("dev")
    assert not any(RANDOM.search(path(profile).read_text()) for profile in PROFILES)
