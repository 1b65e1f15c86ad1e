"""The module ``errors``: each error is ours and its library's, and can be pickled and copied."""

from __future__ import annotations

import pickle

import pytest

from thingspace_auth_adapters import (
    InsecureStoreError,
    InsecureTransportError,
    InvalidTokenResponseError,
    M2mLoginError,
    OauthProviderError,
    ReentrantRequestError,
    ThingspaceAuthError,
)
from thingspace_auth_adapters._core.refresh import copy_exception

from ..support.kinds import INSTALLED


@pytest.mark.parametrize(
    "error_type",
    [
        InsecureStoreError,
        InsecureTransportError,
        InvalidTokenResponseError,
        M2mLoginError,
        OauthProviderError,
    ],
)
def test_errors_are_ours_the_librarys_and_pickle(error_type: type[ThingspaceAuthError]) -> None:
    for kind in INSTALLED:
        native = getattr(kind.adapter, error_type.__name__)
        error = native("what went wrong")
        for base in (error_type, ThingspaceAuthError, kind.request_error):
            assert isinstance(error, base)
        revived = pickle.loads(pickle.dumps(error))
        assert type(revived) is native
        assert str(revived) == "what went wrong"


def test_reentrancy_is_a_bug_and_no_failed_request() -> None:
    for kind in INSTALLED:
        assert not hasattr(kind.adapter, "ReentrantRequestError")
    assert not issubclass(ReentrantRequestError, OSError)
    assert issubclass(ReentrantRequestError, ThingspaceAuthError)


@pytest.mark.parametrize(
    ("error_type", "is_retryable"),
    [
        (InsecureStoreError, False),
        (InsecureTransportError, False),
        (InvalidTokenResponseError, True),
        (M2mLoginError, False),
        (OauthProviderError, False),
        (ReentrantRequestError, False),
    ],
)
def test_nothing_is_retryable_unless_it_says_so_but_an_odd_answer(
    error_type: type[ThingspaceAuthError], is_retryable: bool
) -> None:
    assert error_type("what went wrong").retryable is is_retryable


@pytest.mark.parametrize(
    "error",
    [
        OauthProviderError("x", status_code=400, error="e", error_description="d", error_uri="u"),
        M2mLoginError("x", status_code=400, error_code="e", error_message="m", refused_at=1.0),
    ],
)
def test_errors_keep_their_fields_when_pickled(error: Exception) -> None:
    assert vars(pickle.loads(pickle.dumps(error))) == vars(error)


class Doubling(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


class NewNeedsTwo(Exception):
    def __new__(cls, first: object, second: object) -> NewNeedsTwo:
        return super().__new__(cls, first)

    def __init__(self, first: object, second: object) -> None:
        super().__init__(first)


@pytest.mark.parametrize(
    "error", [ValueError("a", 1), OSError(2, "No such file"), Doubling(7), KeyError("k")]
)
def test_copied_exception_is_equal_but_another(error: Exception) -> None:
    other = copy_exception(error)
    assert other is not error
    assert type(other) is type(error)
    assert (other.args, str(other), vars(other)) == (error.args, str(error), vars(error))


def test_exception_that_cannot_be_copied_is_shared_after_all() -> None:
    error = NewNeedsTwo(1, 2)
    assert copy_exception(error) is error
