"""Fixtures of the browser tests. A missing browser fails them with one sentence; it never skips them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

    from tests.ui.driver import Lab, LabServer

NO_PLAYWRIGHT = "The browser tests need Playwright and Chromium; run `make chromium`."


@pytest.fixture(scope="session")
def lab_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabServer]:
    """One JupyterLab server for all tests."""
    driver = _driver()
    if not (driver.LABEXTENSION / "package.json").exists():
        pytest.fail("The front end is not built; run `npm ci && npm run build` in js.", pytrace=False)
    server = driver.LabServer(tmp_path_factory.mktemp("lab"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests."""
    driver = _driver()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        try:
            chromium = driver.launch_chromium(playwright)
        except RuntimeError as error:
            pytest.fail(str(error), pytrace=False)
        yield chromium
        chromium.close()


@pytest.fixture
def lab(lab_server: LabServer, browser: Browser) -> Iterator[Lab]:
    """A page with JupyterLab in it; the test fails if the page leaves this machine or throws an error."""
    with _driver().lab_page(lab_server, browser) as page:
        yield page


@pytest.fixture
def touch_lab(lab_server: LabServer, browser: Browser) -> Iterator[Lab]:
    """The same on a device with a touch screen."""
    with _driver().lab_page(lab_server, browser, has_touch=True) as page:
        yield page


def _driver():
    try:
        from tests.ui import driver
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("playwright"):
            raise
        pytest.fail(NO_PLAYWRIGHT, pytrace=False)
    return driver
