"""One browser for all tests of pages."""

from __future__ import annotations

import pytest

from tests.report.browser import chromium, screen


@pytest.fixture(scope="session")
def shared_browser(tmp_path_factory):
    """A Chromium, started once."""
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture
def browser(shared_browser):
    """The browser with a light screen of 1280 pixels and an empty log."""
    screen(shared_browser)
    shared_browser.get_log("browser")
    return shared_browser
