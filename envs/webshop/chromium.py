"""A headless Chromium under Selenium 4 that leaves nothing behind.

Rules:
    - Browser and driver are found in `SE_CHROMEDRIVER` or on the PATH, never downloaded.
    - The driver leads its own process group; closing kills the whole group and removes the folder of their files, even if the driver has
      died, the environment was never closed, the interpreter exits, or this process is killed (`empg_gym.children`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import weakref
from typing import Any

from empg_gym.children import child_environment, guard, make_folder, release, remove_folder
from empg_gym.errors import MissingDependencyError, require
from empg_gym.guardian import kill_group

PAGE_SECONDS = 20.0
"""Time limit of a page load or a script, in seconds."""
QUIT_SECONDS = 10.0
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1280,1000",
)


def find_browser() -> tuple[str, str]:
    """Return the paths of Chromium and its driver.

    Raises:
        MissingDependencyError: one of them is not installed.
    """
    driver = os.environ.get("SE_CHROMEDRIVER") or shutil.which("chromedriver")
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if driver is None or browser is None:
        name = "ChromeDriver" if browser else "Chromium"
        raise MissingDependencyError(
            f"the browser backend needs {name}, which is not on the PATH; on Debian: apt-get install chromium chromium-driver"
        )
    return browser, driver


class Chromium:
    """One browser; `driver` is the Selenium driver.

    Raises:
        MissingDependencyError: Selenium, Chromium or its driver is not installed.
    """

    def __init__(self) -> None:
        browser, driver = find_browser()
        require("selenium", "browser", "the browser backend")
        from selenium.webdriver import Chrome, ChromeOptions
        from selenium.webdriver.chrome.service import Service

        # All that driver and browser write is in here; a short name, as the path of the browser's socket has at most 107 characters.
        folder = make_folder("empg-gym-")
        options = ChromeOptions()
        options.binary_location = browser
        for flag in (*FLAGS, f"--user-data-dir={folder}/profile"):
            options.add_argument(flag)
        service = Service(driver, env={**child_environment(), "TMPDIR": folder}, popen_kw={"start_new_session": True})
        held: list[Any] = []
        self._finish = weakref.finalize(self, _end, held, service, folder)
        try:
            self.driver: Any = Chrome(options=options, service=service)
            guard(self.process_group)
        except BaseException:
            self.close()
            raise
        held.append(self.driver)
        self.driver.set_page_load_timeout(PAGE_SECONDS)
        self.driver.set_script_timeout(PAGE_SECONDS)

    @property
    def process_group(self) -> int:
        """Process group id of driver and browser."""
        return int(self.driver.service.process.pid)

    def close(self) -> None:
        """Close browser and driver; may be called again."""
        self._finish()


def _end(drivers: list[Any], service: Any, folder: str) -> None:
    """Ask the browser to quit, then kill the rest of its process group."""
    process = service.process
    for driver in drivers:
        with contextlib.suppress(Exception):
            driver.command_executor._client_config.timeout = QUIT_SECONDS
            driver.quit()
    if process is not None:
        kill_group(process.pid)
        process.wait(timeout=QUIT_SECONDS)
    remove_folder(folder)
    if process is not None:
        release(process.pid)
