"""Origin checks and the API's description, without a server."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from server.errors import Forbidden
from server.web.api import openapi
from server.web.csrf import check_origin
from server.web.routes import ENDPOINTS

COOKIE = {"Cookie": "__Host-understudy=x"}


def request(**headers: str) -> web.Request:
    """A POST to north:8008 with these headers; underscores stand for hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return make_mocked_request("POST", "/api/v1/jobs", {"Host": "north:8008"} | named)


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "same-origin"} | COOKIE,
        {"Sec_Fetch_Site": "none"} | COOKIE,
        {"Origin": "https://north:8008"} | COOKIE,
        {},
    ],
)
def test_own_pages_and_programs_pass(headers: dict[str, str]) -> None:
    """The page of this origin, the address bar, and a program without a cookie."""
    check_origin(request(**headers))


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "cross-site"} | COOKIE,
        {"Sec_Fetch_Site": "same-site"} | COOKIE,
        {"Sec_Fetch_Site": "cross-site", "Origin": "https://north:8008"} | COOKIE,
        {"Origin": "https://evil.example"} | COOKIE,
        {"Origin": "https://north:9999"} | COOKIE,
        {"Origin": "null"} | COOKIE,
        COOKIE,
    ],
)
def test_other_sites_are_refused(headers: dict[str, str]) -> None:
    """Another site, another port of this host, a sandboxed page, and a cookie that says nothing of its page."""
    with pytest.raises(Forbidden):
        check_origin(request(**headers))


def test_the_description_is_made_of_the_table() -> None:
    """Every endpoint is described once, with its path's parts as parameters and the key on writes only."""
    document = openapi.document(ENDPOINTS)
    described = {(method, path) for path, place in document["paths"].items() for method in place}
    assert len(described) == len(ENDPOINTS)
    run = document["paths"]["/api/v1/jobs/{name}/run"]["post"]
    assert {(p["name"], p["in"]) for p in run["parameters"]} == {("name", "path"), ("Idempotency-Key", "header")}
    assert "Idempotency-Key" not in str(document["paths"]["/api/v1/jobs"]["get"])
    assert document["paths"]["/livez"]["get"]["security"] == []
    for name in set(_references(document)):
        assert any(name in part for part in document["components"].values()), name


def _references(value: object) -> list[str]:
    """Every schema that a document points at."""
    if isinstance(value, dict):
        own = [str(value["$ref"]).rpartition("/")[2]] if "$ref" in value else []
        return own + [name for part in value.values() for name in _references(part)]
    return [name for part in value for name in _references(part)] if isinstance(value, list) else []
