"""MECA packages (bioRxiv, medRxiv): zip archives whose `manifest.xml` says which file is the article.

Beside it lie other XML files, such as the transfer's own and the peer reviews; they are no papers and no failures.
"""

import zipfile
from collections.abc import Iterator

from biolm.sources.xml import Element, Unusable, local_name, parse_xml

MANIFEST = "manifest.xml"
_MAX_MANIFEST_BYTES = 1 << 20
_XLINK_HREF = "{http://www.w3.org/1999/xlink}href"
_XML = ("application/xml", "text/xml")


def meca_articles(archive: zipfile.ZipFile) -> frozenset[str] | None:
    """Names of the members that a package's manifest calls the article; None where the zip is no MECA package.

    Where the manifest is unreadable or names no article, every XML file in `content/` is one. May raise what
    zipfile does on damage.
    """
    names = archive.namelist()
    if MANIFEST not in names:
        return None
    listed: frozenset[str] = frozenset()
    if archive.getinfo(MANIFEST).file_size <= _MAX_MANIFEST_BYTES:
        try:
            root = parse_xml(archive.read(MANIFEST))
        except Unusable:
            root = None
        if root is not None and local_name(root) != "manifest":
            return None
        listed = frozenset(_articles(root)) & frozenset(names)
    return listed or frozenset(
        name for name in names if name.startswith("content/") and name.lower().endswith((".xml", ".nxml"))
    )


def _articles(manifest: Element | None) -> Iterator[str]:
    """Addresses of the XML instances of items of type "article", an attribute that has had two names."""
    for item in () if manifest is None else manifest:
        if local_name(item) == "item" and "article" in (item.get("item-type"), item.get("type")):
            for instance in item:
                address = instance.get("href") or instance.get(_XLINK_HREF) or ""
                if instance.get("media-type") in _XML or address.lower().endswith((".xml", ".nxml")):
                    yield address.removeprefix("./").lstrip("/")
