"""The error tree."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import pytest

from serving import errors
from serving.errors import KubevoiceError, Overloaded, RequestError, TryLater, Unavailable


def kinds(base: type[KubevoiceError] = KubevoiceError) -> Iterator[type[KubevoiceError]]:
    for kind in base.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield kind
            yield from kinds(kind)


@pytest.mark.parametrize("kind", [KubevoiceError, *kinds()])
def test_an_error_survives_pickling_with_its_attributes(kind: type[KubevoiceError]) -> None:
    error = kind("say what to do", 7) if issubclass(kind, TryLater) else kind("say what to do", "field", "word")
    copy = pickle.loads(pickle.dumps(error))

    assert type(copy) is kind
    assert vars(copy) == vars(error)
    assert str(copy) == "say what to do"


@pytest.mark.parametrize("kind", list(kinds()))
def test_every_error_has_a_fitting_status_and_a_word_of_its_own(kind: type[KubevoiceError]) -> None:
    assert 400 <= kind.status < 600
    assert issubclass(kind, RequestError | Overloaded) == (kind.status < 500)
    assert kind.__doc__
    assert kind.code.replace("_", "").isalpha()


def test_the_codes_are_distinct() -> None:
    codes = [kind.code for kind in kinds()]

    assert len(codes) == len(set(codes))


def test_what_comes_later_says_when() -> None:
    assert (Overloaded("full", 1).retry_after_s, Unavailable("loading").retry_after_s) == (1, 2)
