"""The SDK of the next generation, by its own HTTP client with both tokens on each request."""

from __future__ import annotations

from dataclasses import replace

from verizon.client import VerizonClient
from verizon.core import FormBody, HttpClient, HttpRequest, HttpResponse, Httpx2Client, JsonBody

from thingspace_auth_adapters.httpx2 import ThingspaceAuth

REPEATABLE = (JsonBody, FormBody, type(None))


class ThingspaceClient(HttpClient):
    def __init__(self, auth: ThingspaceAuth) -> None:
        self.auth = auth
        self.inner = Httpx2Client()

    def send(self, request: HttpRequest) -> HttpResponse:
        ours = self.auth.headers(request.url)
        response = self._sent(request, ours)
        # One repeat for each credential at most.
        for _ in ours:
            again = self._renewed(request, ours, response)
            if again is None:
                break
            ours = {name: value for name, value in ours.items() if again.get(name) == value}
            response.close()
            response = self._sent(request, again)
        return response

    def _sent(self, request: HttpRequest, ours: dict[str, str]) -> HttpResponse:
        return self.inner.send(replace(request, headers={**request.headers, **ours}))

    def _renewed(
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
