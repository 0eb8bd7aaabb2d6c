"""Chromium without a screen, driven by selenium. Set EVENTVEIL_SCREENSHOTS to a folder to save screenshots."""

from __future__ import annotations

import base64
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
NEEDED = [
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="no chromium with its driver: apt-get install chromium-driver"),
    pytest.mark.timeout(300),
]
"""Marks of tests that need it."""
SIZES = {"desk": (1280, 900), "phone": (375, 812)}


@contextmanager
def chromium(profile):
    """Yield the driver of a new browser; `profile` is a new folder."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={profile}")
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


def set_size(browser, size):
    """Give the window this size."""
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size[0] < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def keep(browser, name):
    """Save a screenshot of the whole page, if a folder for them is set."""
    folder = os.environ.get("EVENTVEIL_SCREENSHOTS")
    if folder:
        shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})["data"]
        Path(folder, f"{name}.png").write_bytes(base64.b64decode(shot))
