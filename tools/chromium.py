"""Chromium, driven through chromedriver."""

import contextlib
import json
import subprocess
import sys
import time
import urllib.request

# As WebDriver writes keys that are no letters.
KEYS = {
    "Tab": "\ue004",
    "Enter": "\ue007",
    "Escape": "\ue00c",
    "ArrowLeft": "\ue012",
    "ArrowRight": "\ue014",
    "ArrowDown": "\ue015",
}


class Browser:
    """One Chromium."""

    def __init__(self, port):
        self.driver = f"http://127.0.0.1:{port}"
        arguments = ["--headless=new", "--no-sandbox", "--hide-scrollbars", "--window-size=1280,900"]
        wanted = {"alwaysMatch": {"goog:chromeOptions": {"args": arguments}}}
        self.session = "/session/" + self.ask("/session", {"capabilities": wanted})["sessionId"]

    def ask(self, path, body):
        request = urllib.request.Request(
            self.driver + path, json.dumps(body).encode(), {"content-type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["value"]

    def open(self, url):
        self.ask(self.session + "/url", {"url": url})

    def run(self, script, *arguments):
        return self.ask(self.session + "/execute/sync", {"script": script, "args": arguments})

    def wait_for(self, script, *arguments):
        return self.ask(self.session + "/execute/async", {"script": script, "args": arguments})

    def press(self, *keys):
        """Presses keys, one after the other: letters, or what KEYS names."""
        strokes = [{"type": kind, "value": KEYS.get(key, key)} for key in keys for kind in ("keyDown", "keyUp")]
        actions = [{"type": "key", "id": "keyboard", "actions": strokes}]
        self.ask(self.session + "/actions", {"actions": actions})

    def tell(self, command, **parameters):
        return self.ask(self.session + "/goog/cdp/execute", {"cmd": command, "params": parameters})


@contextlib.contextmanager
def driver():
    with subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True) as process:
        try:
            for line in process.stdout:
                if "started successfully on port" in line:
                    yield int(line.rstrip(".\n").rsplit(" ", 1)[1])
                    return
            sys.exit("chromedriver does not start")
        finally:
            process.terminate()


def sign_in(browser, address, email, password):
    browser.open(f"{address}/login")
    browser.run(
        "document.querySelector('[name=email]').value = arguments[0];"
        "document.querySelector('[name=password]').value = arguments[1];"
        "document.querySelector('main form').submit()",
        email,
        password,
    )
    for _ in range(50):
        if not browser.run("return location.pathname").startswith("/login"):
            return
        time.sleep(0.2)
    sys.exit("signing in failed")
