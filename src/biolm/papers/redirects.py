"""Where a service may send us: a mirror must not make us ask the machines of our own network."""

from yarl import URL

REDIRECTS = frozenset({301, 302, 303, 307, 308})
MOST_REDIRECTS = 5


def followed(url: URL, location: str) -> URL | None:
    """Where a redirect leads; None where it is no address, or one that must not be followed.

    Followed are redirects to the same host and port, from one host of Amazon's to another (S3's regions), and from
    http to https of the same host; never from https to http.
    """
    try:
        target = url.join(URL(location))
        old, new = (url.host or "").lower(), (target.host or "").lower()
        port = target.port
    except ValueError:
        return None
    if not new or target.scheme not in ("http", "https") or (url.scheme, target.scheme) == ("https", "http"):
        return None
    if old == new:
        upgraded = (url.scheme, target.scheme) == ("http", "https") and port == 443
        return target if port == url.port or upgraded else None
    is_amazon = old.endswith(".amazonaws.com") and new.endswith(".amazonaws.com")
    return target if is_amazon and port == (443 if target.scheme == "https" else 80) else None
