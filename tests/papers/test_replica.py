import hashlib
import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import quote, urlsplit

import pytest
from replica import Replica, invented_article, serving

XML = "/pmc-oa-opendata/PMC1.1/PMC1.1.xml"


@pytest.fixture
def served() -> Iterator[tuple[Replica, str]]:
    replica = Replica()
    replica.put_article("PMC1.1", invented_article(1))
    with serving(replica) as url:
        yield replica, urlsplit(url).netloc


def get(place: str, path: str, **headers: str) -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection(place, timeout=5)) as connection:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()


def test_two_requests_in_pieces_get_two_answers(served):
    pieces = (f"HEAD {XML} HT", f"TP/1.1\r\n\r\nHEAD {XML} HTTP/1.1\r\nConnection: close\r", "\n\r\n")
    with socket.create_connection(served[1].split(":")) as client:
        for piece in pieces:
            client.sendall(piece.encode())
        assert b"".join(iter(lambda: client.recv(9999), b"")).count(b"HTTP/1.1 200 OK") == 2


def test_ranges_add_up_to_the_object_that_the_metadata_name(served):
    parts = [get(served[1], XML, Range=asked)[1] for asked in ("bytes=0-99", "bytes=100-")]
    metadata = json.loads(get(served[1], "/pmc-oa-opendata/metadata/PMC1.1.json")[1])
    assert metadata["xml_url"].endswith(hashlib.md5(b"".join(parts)).hexdigest())  # noqa: S324


def test_each_fault_comes_once_and_then_the_path_works(served):
    replica, place = served
    replica.faults.rates = dict.fromkeys(("503", "reset", "cut", "wrong"), 1.0)
    assert get(place, XML)[0] == 503
    for error in (ConnectionResetError, http.client.IncompleteRead):
        with pytest.raises(error):
            get(place, XML)
    assert get(place, XML)[1] != get(place, XML)[1] == invented_article(1)


def test_esearch_narrows_a_query_by_dates(served):
    served[0].put_query("heart", [1, 2])
    served[0].published.update({1: 2015, 2: 2020})
    path = f"/eutils/esearch.fcgi?db=pmc&term={quote('2016:2020[pdat] AND (heart)')}"
    assert json.loads(get(served[1], path)[1])["esearchresult"]["idlist"] == ["2"]
