"""ESearch's answers are whole: cut by release dates where they are large, refused where they cannot be used."""

import asyncio
import json
from datetime import date
from urllib.parse import parse_qsl, urlsplit

import pytest
from pmc import FAST
from replica import Replica, json_answer, make_answer

from biolm.errors import InputError
from biolm.papers.client import Client
from biolm.papers.esearch import search_pmc


def search(url: str, term: str = "heart", **more) -> set[int]:
    async def inside() -> set[int]:
        async with Client(FAST) as client:
            return await search_pmc(client, f"{url}/eutils", term, **more)

    return asyncio.run(inside())


@pytest.fixture
def hasty(replica: Replica) -> Replica:
    """The rate is what test_client.py is for."""
    replica.eutils_per_second = None
    return replica


def questions(replica: Replica) -> list[str]:
    return [entry.path for entry in replica.log if "/eutils/" in entry.path]


@pytest.mark.parametrize("count", [1, 10, 11, 40, 300])
def test_answers_of_any_size_are_whole(hasty, url, count):
    found = [*range(3, 3 + 2 * count, 2)]
    hasty.put_query("heart", found)
    hasty.esearch_limit = 10
    assert search(url, limit=10) == set(found)
    assert (len(questions(hasty)) == 1) == (count <= 10)


def test_articles_of_one_day_up_to_the_limit_are_found(hasty, url):
    hasty.put_query("heart", range(1, 31))
    hasty.esearch_limit = 10
    for number in range(1, 31):
        hasty.released[number] = date(2020, 2, 28 + (number > 10)) if number <= 20 else date(2020, 3, 1)
    assert search(url, limit=10) == set(range(1, 31))


def test_more_on_one_day_than_are_given_out_is_one_line(hasty, url):
    hasty.put_query("heart", range(1, 31))
    hasty.esearch_limit = 10
    for number in range(1, 12):
        hasty.released[number] = date(2020, 2, 28)
    with pytest.raises(InputError, match=r"11 articles released on 2020-02-28 .*10 at most; narrow") as error:
        search(url, limit=10)
    assert "\n" not in str(error.value)


def test_a_query_with_or_is_narrowed_as_a_whole(hasty, url):
    hasty.put_query("heart OR liver", range(1, 31))
    hasty.esearch_limit = 10
    assert search(url, "heart OR liver", limit=10) == set(range(1, 31))
    first, *parts = (dict(parse_qsl(urlsplit(path).query))["term"] for path in questions(hasty))
    assert first == "heart OR liver"
    assert all(part.startswith("(heart OR liver) AND ") for part in parts)


def test_an_answer_that_names_fewer_than_it_finds_is_not_taken_for_all(hasty, url):
    hasty.put_query("heart", range(1, 31))
    hasty.esearch_limit = 10
    with pytest.raises(InputError, match=r"finds 30 articles for 'heart' and names 0 of them"):
        search(url)


def test_a_phrase_that_pmc_does_not_know_is_named(hasty, url):
    hasty.put_query("heart", [1])
    with pytest.raises(InputError, match=r"finds no article .*does not know hart") as error:
        search(url, "heart AND hart")
    assert "\n" not in str(error.value)
    assert search(url, "heart AND hart", must_find=False) == set()


def test_a_query_that_finds_nothing_is_one_line(hasty, url):
    hasty.put_query("heart", [])
    with pytest.raises(InputError, match=r"finds no article in PMC for 'heart'; ask for something else"):
        search(url)


@pytest.mark.parametrize("status", [200, 429])
def test_a_rate_limit_is_waited_for(hasty, url, status):
    hasty.put_query("heart", [1, 2])
    answer, refusals = hasty.answer, [1, 2, 3]

    def limited(method, target, conditions):
        if refusals:
            refusals.pop()
            return json_answer(
                status, {"error": "API rate limit exceeded", "api-key": "1.2.3.4", "count": "4"}
            )
        return answer(method, target, conditions)

    hasty.answer = limited
    assert search(url) == {1, 2}
    assert len(questions(hasty)) == 4


def test_a_rate_limit_without_end_is_one_line(hasty, url):
    hasty.answer = lambda *words: json_answer(200, {"error": "API rate limit exceeded"})
    with pytest.raises(InputError, match=r"limits our rate; try again later, or set NCBI_API_KEY") as error:
        search(url)
    assert "\n" not in str(error.value)


def test_a_complaint_of_esearch_is_passed_on(hasty, url):
    said = {"esearchresult": {"ERROR": "Search Backend failed:\nno"}}
    hasty.answer = lambda *words: json_answer(200, said)
    with pytest.raises(InputError, match="ESearch refuses 'heart': Search Backend failed") as error:
        search(url)
    assert "\n" not in str(error.value)


JUNK = {
    "HTML": b"<html>Log in</html>",
    "nothing": b"",
    "a list": b"[]",
    "a number": b"7",
    "null": b"null",
    "a word": b'"error"',
    "no result": b"{}",
    "another error": b'{"error": "no"}',
    "a list for a result": b'{"esearchresult": []}',
    "a word for a result": b'{"esearchresult": "count"}',
    "no count": b'{"esearchresult": {}}',
    "a word for a count": b'{"esearchresult": {"count": "many", "idlist": []}}',
    "words for ids": b'{"esearchresult": {"count": "1", "idlist": ["PMC1"]}}',
    "a number for ids": b'{"esearchresult": {"count": "1", "idlist": 1}}',
    "brackets": b"[" * 100_000,
    "no UTF-8": b"\xff\xfe{",
}


@pytest.mark.parametrize("kind", JUNK)
def test_an_answer_that_is_none_is_one_line(hasty, url, kind):
    hasty.answer = lambda *words: make_answer(200, "application/json", JUNK[kind])
    with pytest.raises(
        InputError, match=r"answers nothing that ESearch would; check --endpoint eutils=URL"
    ) as error:
        search(url)
    assert "\n" not in str(error.value)


def test_an_answer_with_control_characters_is_read(hasty, url):
    """NCBI's JSON has had raw tabs and line breaks in its words."""
    said = json.dumps({"esearchresult": {"count": "1", "idlist": ["5"], "querytranslation": "x"}})
    hasty.answer = lambda *words: make_answer(200, "application/json", said.replace("x", "\t\n").encode())
    assert search(url) == {5}


@pytest.mark.parametrize("number", [0, -5, 2**63, 10**30])
def test_a_number_that_no_pmcid_has_is_one_line(hasty, url, number):
    said = {"esearchresult": {"count": "1", "idlist": [str(number)]}}
    hasty.answer = lambda *words: json_answer(200, said)
    with pytest.raises(InputError, match=r"answers nothing that ESearch would; check --endpoint eutils=URL"):
        search(url)


@pytest.mark.parametrize(
    "said",
    [
        b'{"esearchresult": {"count": Infinity, "idlist": []}}',
        b'{"esearchresult": {"count": "-1", "idlist": []}}',
        b'{"esearchresult": {"count": "0", "idlist": [], "errorlist": [1]}}',
        b'{"esearchresult": {"count": "0", "idlist": [], "errorlist": {"phrasesnotfound": 1}}}',
    ],
)
def test_counts_and_complaints_that_are_none_are_one_line(hasty, url, said):
    hasty.answer = lambda *words: make_answer(200, "application/json", said)
    with pytest.raises(InputError, match=r"answers nothing that ESearch would; check --endpoint eutils=URL"):
        search(url)


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (404, "check --endpoint eutils=URL"),
        (403, "check --endpoint eutils=URL"),
        (503, "try again later"),
    ],
)
def test_what_to_do_depends_on_why_esearch_does_not_answer(hasty, url, status, advice):
    hasty.answer = lambda *words: json_answer(status, {})
    with pytest.raises(InputError, match=rf"does not answer \(HTTP {status}.*\); {advice}$"):
        search(url)
