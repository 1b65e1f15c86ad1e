"""Which proxy the environment names."""

from __future__ import annotations

from urllib.request import getproxies, proxy_bypass

from .._model.hosts import Origin


def proxy_for(target: Origin) -> str | None:
    """What the environment names as the proxy to an origin; ``None`` if none is to be used."""
    # Plain http is loopback, to which tokens are asked for without a proxy.
    if target.scheme == "http" or proxy_bypass(f"{target.host}:{target.port}"):
        return None
    proxies = getproxies()
    return proxies.get("https") or proxies.get("all")
