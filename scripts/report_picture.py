"""A picture of a report, for the README: `python scripts/report_picture.py RUN --out docs/images/report.png`.

The page of a finished evaluation or training run is drawn by headless Chromium, light, 1,280 px wide, and stored with a palette of at most
256 colours. The picture in the repository is of the demo's model after 50 steps of reinforcement:

    empg-gym eval alfworld@valid_unseen --agent checkpoint:runs/demo --set agent.temperature=1 --episodes 40 --out runs/evaluation
    python scripts/report_picture.py runs/evaluation --address '#/episode/6'

Needs the extras `browser` and `test` (Pillow).
"""

from __future__ import annotations

import argparse
import base64
import io
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image
from selenium import webdriver

from empg_gym.envs.webshop.chromium import FLAGS, find_browser
from empg_gym.report import write_report

WIDTH, HEIGHT = 1280, 1100
COLORS = 256
PATIENCE = 120
"""Seconds until the page must be drawn."""


def picture(page: Path, address: str, *, height: int = HEIGHT) -> bytes:
    """Return a view of a page as PNG, in full colour."""
    binary, driver_path = find_browser()
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    with tempfile.TemporaryDirectory() as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}", "--hide-scrollbars", f"--window-size={WIDTH},{height}"):
            options.add_argument(flag)
        driver: Any = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver_path))
        try:
            size = {"width": WIDTH, "height": height, "deviceScaleFactor": 1, "mobile": False}
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            scheme = {"features": [{"name": "prefers-color-scheme", "value": "light"}]}
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme)
            driver.get(page.resolve().as_uri() + address)
            end = time.monotonic() + PATIENCE
            while driver.execute_script("return document.documentElement.dataset.ready") is None:
                if time.monotonic() > end:
                    raise TimeoutError(f"{page} was not drawn within {PATIENCE} s")
                time.sleep(0.05)
            return base64.b64decode(driver.get_screenshot_as_base64())
        finally:
            driver.quit()


def small(png: bytes) -> bytes:
    """Return the picture with a palette."""
    drawn = Image.open(io.BytesIO(png)).convert("RGB").quantize(COLORS, dither=Image.Dither.NONE)
    stored = io.BytesIO()
    drawn.save(stored, "PNG", optimize=True)
    return stored.getvalue()


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of an evaluation or a training run")
    parser.add_argument("--out", type=Path, default=Path("docs/images/report.png"))
    parser.add_argument("--address", default="#/", help="view of the page, such as #/episode/3 (counted from 1)")
    parser.add_argument("--height", type=int, default=HEIGHT)
    args = parser.parse_args()
    stored = small(picture(write_report(args.run), args.address, height=args.height))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_bytes(stored)
    print(f"{args.out}: {len(stored) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
