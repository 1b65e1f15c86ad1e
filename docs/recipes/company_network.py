"""A company's proxy and certificates, for one's own requests and for the calls of the endpoints."""

from __future__ import annotations

import os
import ssl

import httpx
import requests

import thingspace_auth_adapters.httpx
import thingspace_auth_adapters.requests

BASE_URL = os.environ.get("THINGSPACE_BASE_URL", "https://thingspace.verizon.com")


def requests_session(proxy: str, ca_file: str) -> requests.Session:
    session = requests.Session()
    session.proxies = {"https": proxy}
    session.verify = ca_file
    # With session=, what is set on the session holds for the endpoints, too.
    session.auth = thingspace_auth_adapters.requests.ThingspaceAuth.from_environment(
        session=session
    )
    return session


def httpx_client(proxy: str, trust: ssl.SSLContext) -> httpx.Client:
    options = {"proxy": proxy, "verify": trust}
    auth = thingspace_auth_adapters.httpx.ThingspaceAuth.from_environment(client_options=options)
    return httpx.Client(auth=auth, proxy=proxy, verify=trust)


def main() -> None:
    with requests_session("http://proxy.example:3128", "/etc/ssl/company.pem") as session:
        print(session.get(f"{BASE_URL}/api/m2m/v1/devices", timeout=30).status_code)


if __name__ == "__main__":
    main()
