"""The page of an audit in a real browser without a network, on a desktop and on a phone.

Set EVENTVEIL_SCREENSHOTS to a folder to save screenshots.
"""

from __future__ import annotations

import base64
import os
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from audit_reports import figure
from PIL import Image

from eventveil.audit.figures import Attribute, Likeness, Replay
from eventveil.audit.report.html import write_pages
from eventveil.audit.report.report import Repeated

pytest.importorskip("selenium", reason="no selenium here: pip install '.[test]'")
from selenium import webdriver
from selenium.webdriver.common.by import By

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="no chromium with its driver: apt-get install chromium-driver"),
    pytest.mark.timeout(300),
]
SIZES = {"desk": (1280, 900), "phone": (375, 812)}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    yield driver
    driver.quit()


@pytest.fixture
def full(report):
    """Return a report with everything that a page can show, and long names."""
    picture = {
        "restored": figure(0.12),
        "likeness": Likeness(ssim=figure(0.25, 0.2), psnr_db=figure(11.0, 10.5)),
        "replay": Replay(noise=True, guesses=768, explained=figure(0.01), succeeded=False),
        "attributes": tuple(
            Attribute(name=name, probe=probe, classes=("one", "other"), people=40, accuracy=figure(0.6, 0.5))
            for name in ("glasses", "height", "light")
            for probe in ("linear", "cnn")
        ),
        "name": "noisy_channel-2026-with-a-long-name",
    }
    raw, hidden, bare = report.subjects
    return report.model_copy(
        update={
            "subjects": (raw, hidden.model_copy(update=picture), bare),
            "data": report.data.model_copy(update={"simulated": True}),
            "repeated": (Repeated(job="informed plain, seed 0, on raw", reasons=("its worker is gone",)),),
        }
    )


@pytest.fixture
def path(full, tmp_path):
    sheets = tmp_path / "work" / "pictures"
    sheets.mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 255, (300, 900), np.uint8)
    Image.fromarray(noise).save(sheets / "noisy.png")
    write_pages(tmp_path, full)
    return tmp_path / "report.html"


def load(browser, path, size):
    """Load a page in a window of this size, and return the messages of the console."""
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size[0] < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get(path.as_uri())
    return browser.get_log("browser")


def keep(browser, name):
    """Save a screenshot of the whole page, if a folder for them is set."""
    folder = os.environ.get("EVENTVEIL_SCREENSHOTS")
    if folder:
        shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})["data"]
        Path(folder, f"{name}.png").write_bytes(base64.b64decode(shot))


@pytest.mark.parametrize("name", SIZES)
def test_it_loads_without_a_network_and_without_a_complaint(browser, path, name):
    assert load(browser, path, SIZES[name]) == []
    requests = [
        line["message"] for line in browser.get_log("performance") if "Network.requestWillBeSent" in line["message"]
    ]
    urls = [message.split('"url":"')[1].split('"')[0] for message in requests if '"url":"' in message]
    assert urls
    assert {url.split(":")[0] for url in urls} <= {"file", "data"}
    keep(browser, name)


@pytest.mark.parametrize("name", SIZES)
def test_the_verdict_is_the_first_that_is_seen(browser, path, name):
    load(browser, path, SIZES[name])
    first = browser.find_element(By.CSS_SELECTOR, ".verdict strong")
    assert first.is_displayed()
    assert first.rect["y"] + first.rect["height"] < SIZES[name][1]
    assert "Pass (private enough" in first.text
    headings = browser.find_elements(By.CSS_SELECTOR, "h2")
    assert all(first.rect["y"] < heading.rect["y"] for heading in headings)


@pytest.mark.parametrize("name", SIZES)
def test_plots_and_pictures_are_there_at_a_size_that_shows_something(browser, path, name):
    load(browser, path, SIZES[name])
    images = browser.find_elements(By.TAG_NAME, "img")
    assert len(images) == 4  # three plots and a sheet of pictures
    for image in images:
        assert browser.execute_script("return arguments[0].complete && arguments[0].naturalWidth > 0", image)
        assert image.rect["width"] > 0.9 * min(SIZES[name][0] - 32, 640)
        assert image.rect["height"] > 80
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", image)  # the driver stops at its edge
        shot = np.asarray(Image.open(BytesIO(image.screenshot_as_png)).convert("L"))
        assert shot.std() > 5  # not an empty frame


@pytest.mark.parametrize("name", [*SIZES, "tablet"])
def test_nothing_is_to_be_scrolled_sideways_and_nothing_is_too_small(browser, path, name):
    size = SIZES.get(name, (800, 1100))
    load(browser, path, size)
    for details in browser.find_elements(By.TAG_NAME, "details"):
        browser.execute_script("arguments[0].open = true", details)
    width = size[0]
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    wide = browser.execute_script(
        "return [...document.body.querySelectorAll('*')].filter(e => e.getBoundingClientRect().right > innerWidth + 1)"
        ".map(e => e.tagName + ' ' + e.textContent.slice(0, 60))"
    )
    assert wide == []
    small = browser.execute_script(
        "return [...document.body.querySelectorAll('p, td, th, li, summary')]"
        ".filter(e => e.textContent.trim() && parseFloat(getComputedStyle(e).fontSize) < 12).length"
    )
    assert small == 0
    keep(browser, f"{name}-open")


def test_a_page_that_wanted_something_from_the_network_would_be_found_out(browser, path):
    """Prove that the test can fail: an image from a server causes a message of the console."""

    class Quiet(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        image = f'<img src="http://127.0.0.1:{server.server_port}/pixel.png"></body>'
        path.write_text(path.read_text().replace("</body>", image))
        assert load(browser, path, SIZES["desk"])
    finally:
        server.shutdown()
        server.server_close()
