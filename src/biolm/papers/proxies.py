"""The proxy that the environment names for an address (HTTPS_PROXY, ALL_PROXY, NO_PROXY)."""

from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from biolm.errors import ConfigError


def proxy_of(url: str) -> str | None:
    """The proxy that the environment names for an address. Raises ConfigError for one that is of no use."""
    parts = urlsplit(url)
    if proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    found = getproxies()
    said = found.get(parts.scheme) or found.get("all")
    if not said:
        return None
    proxy = said if "://" in said else f"http://{said}"
    try:
        usable = urlsplit(proxy).scheme in ("http", "https") and bool(urlsplit(proxy).hostname)
    except ValueError:
        usable = False
    if not usable:  # without repeating it: there may be a password in it
        raise ConfigError(
            f"the proxy that the environment names for {parts.scheme}:// is none of http:// or https://; "
            f"set {parts.scheme.upper()}_PROXY to one, or leave it and ALL_PROXY out"
        )
    return proxy
