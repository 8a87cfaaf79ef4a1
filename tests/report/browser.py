"""A headless Chromium for tests of the page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from empg_gym.envs.webshop.chromium import FLAGS, find_browser
from empg_gym.errors import MissingDependencyError


@contextmanager
def chromium(profile: Path, *, dark: bool = False, width: int = 1280) -> Iterator:
    """Start a browser; skips the test where Chromium, its driver or selenium is missing."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: pip install 'empg-gym[browser]'")
    try:
        binary, driver_path = find_browser()
    except MissingDependencyError as error:
        pytest.skip(str(error))
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*FLAGS, f"--user-data-dir={profile}", f"--window-size={width},900"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver_path))
    try:
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride", {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        )
        if dark:
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]})
        yield driver
    finally:
        driver.quit()


def visit(driver, path: Path, address: str = "#/") -> None:
    """Open a view of a page and wait until it has been drawn."""
    from selenium.webdriver.support.ui import WebDriverWait

    driver.get("about:blank")
    driver.get(path.resolve().as_uri() + address)
    WebDriverWait(driver, 30).until(lambda d: d.execute_script("return document.documentElement.dataset.ready") is not None)


def text_of(driver, selector: str) -> str:
    """Return the rendered text of the first match."""
    return driver.execute_script("return document.querySelector(arguments[0])?.innerText", selector)
