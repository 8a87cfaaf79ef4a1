"""A headless Chromium for tests of the page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from empg_gym.envs.webshop.chromium import FLAGS, find_browser
from empg_gym.errors import MissingDependencyError

PATIENCE = 300
"""Seconds that a condition is waited for: generous, since the machine may be busy."""


@contextmanager
def chromium(profile: Path) -> Iterator:
    """Start a browser; skips the test where Chromium, its driver or selenium is missing."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: pip install 'empg-gym[browser]'")
    try:
        binary, driver_path = find_browser()
    except MissingDependencyError as error:
        pytest.skip(str(error))
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*FLAGS, f"--user-data-dir={profile}", "--window-size=1280,900"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver_path))
    try:
        driver.set_script_timeout(PATIENCE)
        screen(driver)
        yield driver
    finally:
        driver.quit()


def screen(driver, *, dark: bool = False, width: int = 1280) -> None:
    """Set the colour scheme and the width of the window, in pixels."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def visit(driver, path: Path, address: str = "#/") -> None:
    """Open a view of a page and wait until it has been drawn."""
    driver.get("about:blank")
    driver.get(path.resolve().as_uri() + address)
    wait(driver, lambda d: d.execute_script("return document.documentElement.dataset.ready") is not None)


def goto(driver, address: str) -> None:
    """Go to another view of the open page, as a link does."""
    driver.execute_script(
        "delete document.documentElement.dataset.ready; location.hash = '#/no-view'; location.hash = arguments[0]", address
    )
    wait(driver, lambda d: d.execute_script("return document.documentElement.dataset.ready") == address)


def wait(driver, condition):
    """Return the first truthy result of a condition of the driver."""
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(driver, PATIENCE, poll_frequency=0.05).until(condition)


def keys(driver, *names: str) -> None:
    """Press keys."""
    from selenium.webdriver import ActionChains

    ActionChains(driver, duration=0).send_keys(*names).perform()


def text_of(driver, selector: str) -> str:
    """Return the rendered text of the first match."""
    return driver.execute_script("return document.querySelector(arguments[0])?.innerText", selector)
