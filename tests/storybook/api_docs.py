"""The API for people: the list, a topic, a search, and one that finds nothing."""

from __future__ import annotations

from server.web.api.openapi import document
from server.web.manual import operations
from server.web.pages.api_docs import HERE, ApiPage
from server.web.routes import ENDPOINTS
from tests.storybook.fixture import Story, frame


def stories() -> list[Story]:
    """All of them."""
    at, every = frame("API", HERE), operations(document(ENDPOINTS))
    return [
        Story("api", ApiPage(at, every)),
        Story("api-topic", ApiPage(at, every, about="calendars", one="calendars.create_calendar")),
        Story("api-found", ApiPage(at, every, match="add a job")),
        Story("api-nothing", ApiPage(at, every, match="teapot")),
    ]
