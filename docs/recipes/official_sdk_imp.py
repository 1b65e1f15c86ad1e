"""The official SDK 2.0.0, vehicle APIs included, on a session that renews both tokens."""

from __future__ import annotations

from typing import Any

import requests
from verizon.http.auth.session_token import SessionTokenCredentials
from verizon.http.auth.thingspace_oauth import ThingspaceOauthCredentials
from verizon.http.auth.vz_m2m_token import VZM2mTokenCredentials
from verizon.models.oauth_token import OauthToken
from verizon.verizon_client import VerizonClient

from thingspace_auth_adapters.requests import ThingspaceAuth

# It has no expiry, which keeps the SDK from fetching a token for itself.
STAND_IN = OauthToken(access_token="replaced", token_type="Bearer")


def client_on(session: requests.Session) -> Any:
    return VerizonClient(
        http_client_instance=session,
        thingspace_oauth_credentials=ThingspaceOauthCredentials("", "", oauth_token=STAND_IN),
        vz_m2m_token_credentials=VZM2mTokenCredentials("replaced"),
        # For imp.thingspace.verizon.com.
        session_token_credentials=SessionTokenCredentials("replaced"),
    )


def main() -> None:
    with requests.Session() as session:
        session.auth = ThingspaceAuth.from_environment()
        client = client_on(session)
        print(client.device_role_controller.get_acl_rules_by_vendor_id("vendor").body)


if __name__ == "__main__":
    main()
