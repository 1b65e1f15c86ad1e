"""Part 1, rule 13: copies and pickles of an object have its token, and no state in common."""

from __future__ import annotations

import copy
import pickle

import pytest

from ..support.kinds import IDENTITY, Kind
from ..support.virtual import API, Platform


def test_copies_share_no_state(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform)
    kind.get(auth, API, platform)
    for copied in (copy.copy(auth), copy.deepcopy(auth)):
        assert copied.oauth_token == auth.oauth_token
        copied.oauth_token = {"access_token": "other"}
        assert auth.oauth_token.access_token == "token-1"
        kind.get(copied, API, platform)
        assert platform.bearers[-1] == "other"


def test_pickle_goes_on_with_its_token_and_holds_the_secret(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(oauth_token={"access_token": "kept"}, oauth_clock_skew=5)
    pickled = pickle.dumps(auth)
    kind.get(pickle.loads(pickled), API, platform)
    assert platform.bearers == ["kept"]
    assert IDENTITY["oauth_client_secret"].encode() in pickled


def test_what_the_user_gave_may_forbid_pickling(kind: Kind) -> None:
    auth = kind.auth(oauth_on_token_update=lambda token: None)
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(auth)
    copy.deepcopy(auth)
