#!/usr/bin/env python3
"""Opens each page of a dashboard in Chromium, takes screenshots, and has axe-core look for what keeps people out.

screenshots.py ADDRESS EMAIL INTO [AXE]: the password comes on stdin. Writes INTO/PAGE-MODE.png for light, dark and phone. AXE is the
file axe.min.js; with it, the exit code is 1 if axe-core finds anything. The exit code is 1, too, if a page is wider than the phone.
"""

import base64
import sys
import time
from pathlib import Path

from chromium import Browser, driver, sign_in

# Each page's name and address; of "address selector", the page that the first such link leads to.
PAGES = {
    "login": "/login",
    "home": "/",
    "tools": "/tools?period=7d&compare=previous",
    "tool": "/tools?period=7d table.tools tbody a",
    "live": "/live",
    "days": "/admin",
    "users": "/admin/users?limit=20",
    "user": "/admin/users?status=active&limit=20 tbody th a",
    "suggestions": "/admin/suggestions?limit=20",
    "suggestion": "/admin/suggestions?status=reviewing tbody th a",
    "config": "/admin/config",
    "setting": "/admin/config tbody th a",
}
MODES = {"light": (1280, "light", False), "dark": (1280, "dark", False), "phone": (390, "light", True)}
TALLEST = 2000


def go(browser, address, page):
    path, _, selector = page.partition(" ")
    browser.open(address + path)
    if selector:
        link = browser.run("return document.querySelector(arguments[0])?.getAttribute('href')", selector)
        if not link:
            sys.exit(f"{path} has no {selector}")
        browser.open(address + link)
    # The first numbers of the stream.
    time.sleep(5 if path == "/live" else 0.2)


def violations(browser, axe):
    browser.run(axe)
    found = browser.wait_for("axe.run(document).then(found => arguments[0](found.violations))")
    return [f"{one['id']}: {one['help']}: {node['html'][:160]}" for one in found for node in one["nodes"]]


def main(address, email, into, axe=None):
    password = sys.stdin.readline().rstrip("\n")
    into = Path(into)
    into.mkdir(parents=True, exist_ok=True)
    script = Path(axe).read_text() if axe else None
    faults = []
    with driver() as port:
        browser = Browser(port)
        pages = dict(PAGES)
        for name, page in [("login", pages.pop("login")), *pages.items()]:
            if name == "home":
                sign_in(browser, address, email, password)
            for mode, (width, colours, mobile) in MODES.items():
                scheme = [{"name": "prefers-color-scheme", "value": colours}]
                browser.tell("Emulation.setEmulatedMedia", features=scheme)
                browser.tell(
                    "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=mobile
                )
                go(browser, address, page)
                # Whatever colours the user prefers.
                browser.run("document.documentElement.dataset.theme = arguments[0]", colours)
                wide, tall = browser.run(
                    "return [document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
                )
                if wide > width:
                    faults.append(f"{name}, {mode}: {wide} pixels wide")
                if script:
                    faults += [f"{name}, {mode}: {fault}" for fault in violations(browser, script)]
                clip = {"x": 0, "y": 0, "width": width, "height": min(tall, TALLEST), "scale": 1}
                shot = browser.tell("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)["data"]
                (into / f"{name}-{mode}.png").write_bytes(base64.b64decode(shot))
            print(name)
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
