"""Managed downloads, the film strip and the console, with a real Chromium."""

from __future__ import annotations

import http.server
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

PAGE = b"""<title>Files</title><a id=get href=/report.bin>get</a>
<script>setTimeout(() => document.title = 'later', 1500)</script>"""
REPORT = bytes(range(256)) * 10


class Site(http.server.BaseHTTPRequestHandler):
    """A page with a link to a file."""

    def do_GET(self) -> None:
        is_report = self.path == "/report.bin"
        body = REPORT if is_report else PAGE
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream" if is_report else "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def site() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


def test_what_a_page_saves_is_fetched_and_what_happened_is_filmed(lab, site, tmp_path):
    options = webdriver.ChromeOptions()
    options.enable_downloads = True
    options.set_capability("lab:record", {"film": 10, "console": True})
    driver = webdriver.Remote(lab.endpoint, options=options)
    try:
        driver.get(site)
        driver.find_element(By.ID, "get").click()
        WebDriverWait(driver, 30).until(lambda each: each.get_downloadable_files() == ["report.bin"])
        driver.download_file("report.bin", str(tmp_path))
        assert (Path(tmp_path) / "report.bin").read_bytes() == REPORT
        # Whoever waits leaves the session alone in between, which is when pictures for the film are taken.
        WebDriverWait(driver, 30).until(lambda each: each.title == "later")
        driver.execute_script("console.error('seen'); document.body.style.background = 'red'")
    finally:
        driver.quit()
    kept = {each["name"]: each["href"] for each in lab.last_run("chrome")["artifacts"]}
    console = json.loads(lab.http.get(kept["console.json"]).content)["value"]
    assert any("seen" in each["message"] for each in console)
    with Image.open(io.BytesIO(lab.http.get(kept["film.webp"]).content)) as film:
        assert film.format == "WEBP"
        assert film.n_frames >= 1
