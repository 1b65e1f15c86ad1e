"""The SDK of the next generation, by its own HTTP client with both tokens on each request."""

from __future__ import annotations

from dataclasses import replace

from verizon.client import VerizonClient
from verizon.core import FormBody, HttpClient, HttpRequest, HttpResponse, Httpx2Client, JsonBody

from thingspace_auth_adapters.httpx2 import ThingspaceAuth

REPEATABLE = (JsonBody, FormBody, type(None))


def carrying(request: HttpRequest, headers: dict[str, str]) -> HttpRequest:
    return replace(request, headers={**request.headers, **headers})


class ThingspaceClient(HttpClient):
    def __init__(self, auth: ThingspaceAuth) -> None:
        self.auth = auth
        self.inner = Httpx2Client()

    def send(self, request: HttpRequest) -> HttpResponse:
        ours = self.auth.headers(request.url)
        request = carrying(request, ours)
        response = self.inner.send(request)
        renewable = dict(ours)
        # One repeat for each credential at most: one that was renewed is not shown again.
        for _ in ours:
            again = self.renewed(request, renewable, response)
            if again is None:
                break
            response.close()
            renewable = {k: v for k, v in renewable.items() if again.get(k, v) == v}
            request = carrying(request, again)
            response = self.inner.send(request)
        return response

    def renewed(
        self, request: HttpRequest, sent: dict[str, str], response: HttpResponse
    ) -> dict[str, str] | None:
        if not 400 <= response.status_code < 500:
            return None
        again = self.auth.recover(
            request.url,
            sent,
            request.method,
            response.status_code,
            response.headers,
            response.read(),
        )
        return again if isinstance(request.body, REPEATABLE) else None

    def close(self) -> None:
        self.inner.close()


def main() -> None:
    with VerizonClient(
        custom_http_client=ThingspaceClient(ThingspaceAuth.from_environment())
    ) as client:
        print(client.connectivity_callbacks.list_registered_callbacks("0000123456-00001"))


if __name__ == "__main__":
    main()
