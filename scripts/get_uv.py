"""Puts the one tool that everything else is installed with, uv, into .tools/: with nothing but python3's own library.

    python3 scripts/get_uv.py .tools

A bare Debian or Ubuntu has python3 and neither pip nor venv. Where pip is there it is asked first, since it knows the
user's own index and proxy; else the wheel is fetched from the index (UV_DEFAULT_INDEX, UV_INDEX_URL or PIP_INDEX_URL;
PyPI by default), its SHA-256 is compared with what the index says, and it is unpacked.
"""

import hashlib
import io
import json
import os
import platform
import re
import shutil
import stat
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from html.parser import HTMLParser
from pathlib import Path
from typing import NoReturn

PUBLIC_INDEX = "https://pypi.org/simple"


def main() -> None:
    target = Path(sys.argv[1] if len(sys.argv) > 1 else ".tools")
    uv = target / "bin" / "uv"
    if uv.exists():
        return
    target.mkdir(parents=True, exist_ok=True)
    print(f"installing uv into {target}/", flush=True)
    if not with_pip(target):
        without_pip(uv)
    if not uv.exists():
        stop("uv was installed, but its program was not found. Install uv yourself (https://docs.astral.sh/uv/).")


def with_pip(target: Path) -> bool:
    """False where there is no pip, or it can't."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"]
    try:
        done = subprocess.run([*command, str(target), "uv"], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0 and (target / "bin" / "uv").exists()


def without_pip(uv: Path) -> None:
    name, url, digest = newest_wheel()
    data = fetch(url)
    if digest and hashlib.sha256(data).hexdigest() != digest:
        stop(f"{name} is not what the index says that it is (SHA-256): it was not installed.")
    half = uv.with_suffix(".half")
    uv.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(io.BytesIO(data)) as wheel:
        program = next(each for each in wheel.namelist() if each.endswith(".data/scripts/uv"))
        with wheel.open(program) as source, half.open("wb") as sink:
            shutil.copyfileobj(source, sink)
    half.chmod(half.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    half.replace(uv)


def newest_wheel() -> tuple[str, str, str]:
    """(file name, URL, SHA-256) of the newest released wheel for this machine."""
    names = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")
    index = next((os.environ[name] for name in names if os.environ.get(name)), PUBLIC_INDEX).rstrip("/")
    page = f"{index}/uv/"
    answer = fetch(page, accept="application/vnd.pypi.simple.v1+json, text/html;q=0.1").decode()
    wheels = [
        each for each in (in_json(answer) if answer.lstrip().startswith("{") else in_html(answer)) if fits(each[0])
    ]
    if not wheels:
        stop(f"there is no uv for {platform.system()} {platform.machine()} on {index}.")
    name, url, digest = max(wheels, key=lambda each: version(each[0]))
    return name, urllib.parse.urljoin(page, url), digest


def in_json(page: str) -> list[tuple[str, str, str]]:
    """(file name, URL, SHA-256) of each file of a project, as PEP 691 has it."""
    files = [each for each in json.loads(page)["files"] if not each.get("yanked")]
    return [(each["filename"], each["url"], each["hashes"].get("sha256", "")) for each in files]


def in_html(page: str) -> list[tuple[str, str, str]]:
    """The same of a page of links, as PEP 503 has it and as mirrors still send it."""
    found: list[tuple[str, str, str]] = []

    class Links(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            url, _, fragment = (dict(attrs).get("href") or "").partition("#")
            if tag == "a" and "data-yanked" not in dict(attrs):
                found.append((url.rsplit("/", 1)[-1], url, fragment.removeprefix("sha256=")))

    Links().feed(page)
    return found


def fits(name: str) -> bool:
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    musl = not platform.libc_ver()[0]
    family = "musllinux" if musl else "manylinux"
    if platform.system() == "Darwin":
        return "macosx" in name and machine.replace("aarch64", "arm64") in name and name.endswith(".whl")
    return family in name and machine in name and name.endswith(".whl") and version(name) > (0,)


def version(name: str) -> tuple[int, ...]:
    """(0,) for anything but a plain release."""
    match = re.match(r"uv-(\d+)\.(\d+)\.(\d+)-", name)
    return tuple(map(int, match.groups())) if match else (0,)


def fetch(url: str, accept: str = "*/*") -> bytes:
    request = urllib.request.Request(url, headers={"Accept": accept, "User-Agent": "scalar-bootstrap"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return bytes(answer.read())
    except (urllib.error.URLError, OSError) as error:
        hint = "Is this machine connected, and does it need a proxy (https_proxy)?"
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            hint = "It has no certificates to check others' by: install the package ca-certificates."
        stop(f"can't fetch {url}: {error}. {hint}")


def stop(message: str) -> NoReturn:
    sys.exit(f"get_uv: {message}")


if __name__ == "__main__":
    main()
