#!/usr/bin/env python3
"""Does each page's main task in Chromium by keyboard alone, and tries the keys of the help.

keyboard.py ADDRESS EMAIL: the password comes on stdin. The account must be an administrator's of the demo. The exit code is 1 if
something cannot be done.
"""

import sys
import time

from chromium import Browser, driver

# Tabs to an element at most.
FURTHEST = 300


class Person:
    """Somebody who has a keyboard and no mouse."""

    def __init__(self, browser):
        self.browser = browser
        self.press = browser.press

    def type(self, text):
        self.press(*text)

    def tab_to(self, selector):
        for _ in range(FURTHEST):
            self.press("Tab")
            if self.browser.run("return document.activeElement.matches(arguments[0])", selector):
                return
        sys.exit(f"{self.address()}: the key Tab does not lead to {selector}")

    def address(self):
        return self.browser.run("return location.pathname + location.search")

    def sees(self, what, script, *arguments):
        """Waits until the script says yes."""
        for _ in range(50):
            if self.browser.run(f"return document.readyState === 'complete' && ({script})", *arguments):
                print(what)
                return
            time.sleep(0.1)
        sys.exit(f"{self.address()}: {what} does not work by keyboard")

    def sees_address(self, what, begin):
        self.sees(what, "(location.pathname + location.search).startsWith(arguments[0])", begin)

    def sees_focus(self, what, selector):
        self.sees(what, "document.activeElement.matches(arguments[0])", selector)

    def sees_text(self, what, text):
        self.sees(what, "document.body.innerText.includes(arguments[0])", text)


def main(address, email):
    password = sys.stdin.readline().rstrip("\n")
    with driver() as port:
        browser = Browser(port)
        person = Person(browser)
        browser.open(f"{address}/login")
        person.type(email)
        person.press("Tab")
        person.type(password)
        person.press("Enter")
        person.sees("login: sign in", "location.pathname === '/'")

        person.tab_to("#preferences select[name=theme]")
        person.press("ArrowDown")
        person.tab_to("#preferences button")
        person.press("Enter")
        person.sees_text("home: change a preference", "Your preferences are saved.")

        person.press("?")
        person.sees("help: open", "document.getElementById('keys').open")
        person.press("Escape")
        person.sees("help: close", "!document.getElementById('keys').open")

        person.press("2")
        person.sees_address("tools: open", "/tools")
        for key, period in [("d", "today"), ("w", "7d"), ("n", "90d"), ("m", "month")]:
            person.press(key)
            person.sees_address(f"tools: {period}", f"/tools?period={period}")
        person.press("t")
        person.sees("tools: 30 days", "location.search === ''")
        person.press("ArrowLeft")
        person.sees_address("tools: earlier", "/tools?from=")
        earlier = person.address()
        person.press("ArrowRight")
        person.sees("tools: later", "location.search !== '' && !arguments[0].endsWith(location.search)", earlier)
        person.press("x")
        person.sees_focus("tools: what to compare with", "[name=compare]")
        person.press("ArrowDown")
        person.tab_to(".filters button")
        person.press("Enter")
        person.sees("tools: compare", "location.search.includes('compare=previous')")
        person.press("/")
        person.sees_focus("tools: to the filters", ".filters [name=from]")
        person.tab_to(".quiet")
        person.press("Escape")
        person.sees("tools: without filters", "location.search === ''")
        person.press("w")
        person.sees_address("tools: a week", "/tools?period=7d")
        person.tab_to("table.tools tbody a")
        person.press("Enter")
        person.sees_address("tool: open", "/tools/")

        person.press("3")
        person.sees_text("live: open", "Read at")

        person.press("4")
        person.sees_address("days: open", "/admin")
        person.press("w")
        person.sees_address("days: 14 days", "/admin?from=")
        person.tab_to("summary")
        person.press("Enter")
        person.sees("days: how a number is made", "document.querySelector('details[open]')")

        person.press("5")
        person.sees_address("users: open", "/admin/users")
        person.press("ArrowRight")
        person.sees("users: next page", "location.search.includes('after=')")
        person.press("/")
        person.type("a")
        person.tab_to("[name=status]")
        person.type("act")
        person.press("Enter")
        person.tab_to(".filters button")
        person.press("Enter")
        person.sees("users: search", "location.search.includes('email=a') && location.search.includes('status=active')")
        person.tab_to("tbody th a")
        person.press("Enter")
        person.sees_address("user: open", "/admin/users/")
        person.tab_to("[name=reason]")
        person.type("a test")
        person.press("Enter")
        person.sees_text("user: suspend", "The account is suspended")
        person.tab_to("[action$=reinstate] button")
        person.press("Enter")
        person.sees_text("user: reinstate", "The account may be used again.")

        person.press("6")
        person.sees_address("suggestions: open", "/admin/suggestions")
        person.tab_to("tbody th a")
        person.press("Enter")
        person.sees_address("suggestion: open", "/admin/suggestions/")
        person.tab_to("textarea[name=message]")
        person.type("Thank you")
        person.tab_to("[action$=response] button")
        person.press("Enter")
        person.sees_text("suggestion: answer", "The answer is stored")

        person.press("7")
        person.sees_address("configuration: open", "/admin/config")
        person.tab_to("tbody th a")
        person.press("Enter")
        person.sees_address("setting: open", "/admin/config/")
        person.tab_to("main form button")
        person.press("Enter")
        person.sees("setting: store", "location.search.startsWith('?done=')")

        person.press("?")
        person.sees("help: open again", "document.getElementById('keys').open")
        person.tab_to("#keys-on")
        person.press(" ")
        person.press("Escape")
        person.press("2")
        time.sleep(0.5)
        person.sees_address("help: turn the keys off", "/admin/config/")
        person.tab_to("header form button")
        person.press("Enter")
        person.sees_address("sign out", "/login")
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
