# ruff: noqa: INP001, T201 - a script, not a package
"""Takes docs/screenshots/*.png from a gateway of its own that runs the examples; `make screenshots` calls it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from gateway.client.gateway import Gateway, Submission, read_script
from gateway.client.session import Session

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"
SHOTS = HERE / "screenshots"
DESKTOP = {"width": 1080, "height": 800}
PHONE = {"width": 390, "height": 844}
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")


def main() -> None:
    """Bring a gateway up, run jobs, look, and take it down again."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    folder = Path(tempfile.mkdtemp(prefix="burst-shots-"))
    folder.chmod(0o711)
    directory = folder / "d"
    try:
        facts = bootstrap("up", directory, "--set=idle_s=60", *(f"--set={word}" for word in sys.argv[1:]))
        password = Path(facts["users"]["demo"]).read_text().strip()
        with Gateway(Session.login(facts["url"], "demo", password)) as gateway, sync_playwright() as playwright:
            program = shutil.which("chromium")
            browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
            take_all(gateway, browser, facts["url"], password)
            browser.close()
    finally:
        bootstrap("down", directory)
        shutil.rmtree(folder)


def take_all(gateway: Gateway, browser: Browser, url: str, password: str) -> None:
    """Submit the examples and take each picture when there is something to see."""
    SHOTS.mkdir(exist_ok=True)
    for seconds in (2, 5, 9):
        gateway.submit(Submission(f"#!/bin/bash\nsleep {seconds}\n", "warm.sh", options=("--time=1", "--exclusive")))
    page = sign_in(browser, url, password)
    caffeine = submit(gateway, "caffeine-xtb", "job.sh")
    held = submit(gateway, "ising-array", "array.sh", "--hold")
    submit(gateway, "ising-array", "reduce.sh", f"--dependency=afterok:{held.id}", "--export=ALL")
    page.locator(".badge.running").first.wait_for(timeout=120_000)
    shoot(page, "jobs")
    page.goto(f"{url}/web/jobs/{held.id}")
    shoot(page, "waiting")
    gateway.wait(caffeine.id or 0)
    page.goto(f"{url}/web/jobs/{caffeine.id}")
    page.set_viewport_size({"width": 1080, "height": 1000})
    shoot(page, "job")
    page.set_viewport_size(DESKTOP)
    page.goto(f"{url}/web/money")
    shoot(page, "money")
    phone = sign_in(browser, url, password, viewport=PHONE, color_scheme="dark")
    phone.goto(f"{url}/web/jobs/{caffeine.id}")
    shoot(phone, "phone-dark")
    approve(page, url)


def approve(page: Page, url: str) -> None:
    """A login that asks."""
    command = [sys.executable, "-m", "gateway.cli", "login", url, "--device"]
    with tempfile.TemporaryDirectory() as config:
        asking = subprocess.Popen(command, stderr=subprocess.PIPE, env={**os.environ, "BURST_CONFIG": config})
        assert asking.stderr is not None  # noqa: S101 - it is a pipe
        link = next(found[0] for line in asking.stderr if (found := re.search(r"http://\S+", line.decode())))
        page.set_viewport_size({"width": 1080, "height": 640})
        page.goto(link)
        shoot(page, "approve")
        asking.kill()
        asking.communicate()


def submit(gateway: Gateway, example: str, script: str, *options: str) -> Any:
    """Submit an example as it stands in its folder."""
    path = EXAMPLES / example / script
    return gateway.submit(Submission(read_script(path), script, options=options, directory=path.parent))


def sign_in(browser: Browser, url: str, password: str, **how: Any) -> Page:
    """A page that shows demo's jobs."""
    page = browser.new_context(**{"viewport": DESKTOP, **how}).new_page()
    page.goto(f"{url}/web/jobs")
    page.get_by_label("Name").fill("demo")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/web/jobs")
    return page


def shoot(page: Page, name: str, **how: Any) -> None:
    """Write one picture, once the page has settled."""
    time.sleep(1.2)
    page.screenshot(path=SHOTS / f"{name}.png", **how)
    print(f"{name}.png {(SHOTS / f'{name}.png').stat().st_size // 1024} KiB")


def bootstrap(verb: str, directory: Path, *words: str) -> dict[str, Any]:
    """Call `burst up` or `burst down`."""
    command = [sys.executable, "-m", "gateway.bootstrap", verb, "--dir", str(directory), *words]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


if __name__ == "__main__":
    main()
