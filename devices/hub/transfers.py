"""Files to and from a browser on this machine: `se/file` uploads and managed downloads, as Selenium knows them.

Source: Selenium's remote WebDriver (`LocalFileDetector`, `se:downloadsEnabled`): a zip archive in base64 with one file.
"""

from __future__ import annotations

import base64
import binascii
import io
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from devices.webdriver import WebDriverError, read_json

DOWNLOADS_ENABLED = "se:downloadsEnabled"
LARGEST_UPLOAD = 256 << 20
_LARGEST_FILE = 1 << 30
_PARTIAL = (".crdownload", ".part", ".tmp")


def download_preferences(folder: Path) -> dict[str, Any]:
    """Capabilities that let Chromium, Edge and Firefox save into `folder` without asking."""
    chromium = {
        "download.default_directory": str(folder),
        "download.prompt_for_download": False,
        "savefile.default_directory": str(folder),
    }
    firefox = {
        "browser.download.folderList": 2,
        "browser.download.dir": str(folder),
        "browser.download.useDownloadDir": True,
        "browser.download.viewableInternally.enabledTypes": "",
        "browser.helperApps.neverAsk.saveToDisk": "application/octet-stream,application/zip,application/pdf,text/plain",
        "pdfjs.disabled": True,
    }
    return {
        "goog:chromeOptions": {"prefs": chromium},
        "ms:edgeOptions": {"prefs": chromium},
        "moz:firefoxOptions": {"prefs": firefox},
    }


def preferences_for(browser: Any, folder: Path) -> Mapping[str, Any]:
    """The part of `download_preferences` that a browser of that name understands."""
    option = {"chrome": "goog:chromeOptions", "MicrosoftEdge": "ms:edgeOptions", "firefox": "moz:firefoxOptions"}
    wanted = option.get(str(browser))
    return {name: value for name, value in download_preferences(folder).items() if name == wanted}


def receive_upload(body: bytes, folder: Path) -> str:
    """Unpack the one file of an upload into `folder`; returns its path. Raises WebDriverError."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(base64.b64decode(read_json(body)["file"])))
    except (ValueError, KeyError, TypeError, binascii.Error, zipfile.BadZipFile) as exc:
        message = f'an upload is {{"file": a zip archive in base64}}: {exc}'
        raise WebDriverError("invalid argument", message) from None
    with archive:
        files = [each for each in archive.infolist() if not each.is_dir()]
        if len(files) != 1:
            raise WebDriverError("invalid argument", f"an upload holds one file, this one {len(files)}")
        name = Path(files[0].filename.replace("\\", "/")).name
        if name in ("", ".", "..") or files[0].file_size > _LARGEST_FILE:
            raise WebDriverError("invalid argument", f"the upload of {files[0].filename!r} cannot be taken")
        target = Path(tempfile.mkdtemp(prefix="upload-", dir=folder)) / name
        try:
            with archive.open(files[0]) as packed, target.open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked, 1 << 20)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as exc:
            raise WebDriverError("invalid argument", f"the upload cannot be unpacked: {exc}") from None
    return str(target)


def list_downloads(folder: Path) -> list[str]:
    """Names of the files that were saved completely."""
    return sorted(each.name for each in folder.iterdir() if each.is_file() and not each.name.endswith(_PARTIAL))


def send_download(folder: Path, body: bytes) -> dict[str, str]:
    """One saved file, zipped, as the answer's value. Raises WebDriverError."""
    try:
        name = read_json(body)["name"]
    except (ValueError, KeyError, TypeError):
        raise WebDriverError("invalid argument", 'a download is asked for as {"name": "file"}') from None
    if name not in list_downloads(folder):
        there = ", ".join(list_downloads(folder)) or "none"
        raise WebDriverError("invalid argument", f"no file {name!r} was downloaded; there are: {there}")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(folder / name, name)
    return {"filename": name, "contents": base64.b64encode(packed.getvalue()).decode()}


def clear_downloads(folder: Path) -> None:
    """Remove what was saved."""
    for each in folder.iterdir():
        if each.is_file():
            each.unlink()
