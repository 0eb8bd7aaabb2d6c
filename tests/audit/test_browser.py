"""The page of an audit in a real browser without a network, on a desktop and on a phone."""

from __future__ import annotations

import base64
import os
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from audit_reports import report, signed, with_everything
from chromium import NEEDED, SIZES, chromium, keep, set_size
from PIL import Image

from eventveil.audit.report.html import write_pages

pytest.importorskip("selenium", reason="no selenium here: pip install '.[test]'")
from selenium.webdriver.common.by import By

pytestmark = NEEDED


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        driver.execute_cdp_cmd("Network.enable", {})
        offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
        driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
        yield driver


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audit")
    sheets = folder / "work" / "pictures"
    sheets.mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 255, (300, 900), np.uint8)
    Image.fromarray(noise).save(sheets / "noisy.png")
    full = with_everything(report())
    write_pages(folder, full, signed(full, folder))
    return folder / "report.html"


def load(browser, path, size):
    """Load a page in a window of this size, and return the messages of the console."""
    set_size(browser, size)
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get(path.as_uri())
    return browser.get_log("browser")


def keep_pdf(name, pdf):
    """Save what was printed, if a folder for screenshots is set."""
    folder = os.environ.get("EVENTVEIL_SCREENSHOTS")
    if folder:
        Path(folder, f"{name}.pdf").write_bytes(pdf)


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


BROKEN_WORDS = """
const broken = [], text = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (text.nextNode()) {
  if (!text.currentNode.parentElement.closest("td, th, dt, dd, h1, h2, h3, p, li, strong") ||
      text.currentNode.parentElement.closest("code, pre")) continue;
  for (const word of text.currentNode.data.matchAll(/[^\\s\\u00a0-]+/g)) {
    const range = document.createRange();
    range.setStart(text.currentNode, word.index);
    range.setEnd(text.currentNode, word.index + word[0].length);
    if (new Set([...range.getClientRects()].map(box => Math.round(box.top))).size > 1) broken.push(word[0]);
  }
}
return broken;
"""


@pytest.mark.parametrize("name", [*SIZES, "tablet", "sheet"])
def test_no_word_is_broken_in_a_column(browser, path, name):
    """A sheet of A4 paper, without its margins, is 680 pixels wide."""
    load(browser, path, SIZES.get(name, (800, 1100) if name == "tablet" else (680, 1010)))
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print" if name == "sheet" else "screen"})
    try:
        assert browser.execute_script(BROKEN_WORDS) == []
        if name == "sheet":
            assert browser.execute_script("return document.documentElement.scrollWidth") <= 680
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def printed(browser):
    """Print the page to PDF on A4 paper, and return the number of its sheets and the PDF."""
    pdf = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})["data"])
    return len(re.findall(rb"/Type\s*/Page\b", pdf)), pdf


def test_page_one_prints_on_one_sheet_and_the_report_on_few(browser, path):
    load(browser, path, SIZES["desk"])
    sheets, pdf = printed(browser)
    assert 4 <= sheets <= 12
    assert b"/MediaBox [0 0 594.95996 841.91998]" in pdf or b"/MediaBox [0 0 595" in pdf  # A4
    browser.execute_script("[...document.body.children].filter(e => e.className != 'front').forEach(e => e.remove())")
    assert printed(browser)[0] == 1
    keep_pdf("report", pdf)


def test_the_certificate_prints_on_one_sheet(browser, path):
    certificate = path.with_name("certificate.html")
    assert load(browser, certificate, SIZES["desk"]) == []
    sheets, pdf = printed(browser)
    assert sheets == 1
    keep_pdf("certificate", pdf)


def test_a_page_that_wanted_something_from_the_network_would_be_found_out(browser, path):
    """Prove that the test can fail: an image from a server causes a message of the console."""

    class Quiet(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        image = f'<img src="http://127.0.0.1:{server.server_port}/pixel.png"></body>'
        other = path.with_name("other.html")
        other.write_text(path.read_text().replace("</body>", image))
        assert load(browser, other, SIZES["desk"])
    finally:
        server.shutdown()
        server.server_close()
