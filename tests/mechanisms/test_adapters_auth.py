"""What adapters build on, and what of an interrupt leaves a call: ``_adapters/auth.py``."""

from __future__ import annotations

import pytest

from thingspace_auth_adapters._adapters.auth import ThingspaceAuth

from ..support.frames import frames_of_ours
from ..support.kinds import Kind
from ..support.steps import Interrupt
from ..support.virtual import API, Platform, VirtualClock

ABSTRACT = {"_again", "_endpoint_request", "_new_transport", "_outgoing"}


def test_interrupt_takes_nothing_along_of_what_was_being_handled(
    sync_kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    def interrupted() -> None:
        try:
            raise OSError("its frames hold the request")
        except OSError as error:
            raise Interrupt from error

    platform.on_token = interrupted
    with pytest.raises(Interrupt) as caught:
        sync_kind.get(sync_kind.auth(platform), API, platform)
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert "s3cr3t" not in frames_of_ours(caught.value)


@pytest.mark.parametrize("missing", sorted(ABSTRACT))
def test_adapter_that_leaves_something_out_cannot_be_made(missing: str) -> None:
    members = dict.fromkeys(ABSTRACT - {missing}, print)
    incomplete = type("Incomplete", (ThingspaceAuth,), members)
    with pytest.raises(TypeError, match=missing):
        incomplete()
