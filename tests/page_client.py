"""Uses an endpoint's page as a person with a keyboard does: `python3 page_client.py http://127.0.0.1:8080/`.

Needs the package `playwright` and a Chromium, which the variable `CHROMIUM` names. The endpoint has no
key. Ends without a word if all is as it should be.
"""

import os
import sys
import time

from playwright.sync_api import sync_playwright


def until(page, place, sound, seconds=300):
    """Waits for a text. The page's policy allows no scripts of ours inside."""
    end = time.time() + seconds
    while not sound(page.inner_text(place)):
        assert time.time() < end, f"{place}: {page.inner_text(place)}; {page.inner_text('#state')}"
        time.sleep(0.05)


def number(text):
    return int(text) if text.isdigit() else 0


with sync_playwright() as playwright:
    chromium = playwright.chromium.launch(executable_path=os.environ["CHROMIUM"], args=["--no-sandbox"])
    page = chromium.new_context(color_scheme="dark").new_page()
    complaints = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(sys.argv[1])
    until(page, "#fingerprint", lambda text: text != "-")
    assert page.locator("#text:focus").count() == 1

    # An answer that is stopped.
    page.keyboard.type("Once upon a time there was a little fox")
    page.keyboard.press("Enter")
    until(page, "#saw-answer", lambda text: number(text) >= 2)
    page.keyboard.press("Escape")
    until(page, "#state", lambda text: text.startswith("stopped"))
    assert page.locator(".turn").count() == 2 and page.inner_text("#sent").endswith("MB")

    # One that comes to its end.
    page.click("summary")
    page.fill("#tokens", "3")
    page.focus("#text")
    page.keyboard.type("A wolf came")
    page.keyboard.press("Enter")
    until(page, "#state", lambda text: text == "done")
    assert page.inner_text("#saw-answer") == "3" and page.locator(".failed").count() == 0
    assert page.locator(".turn").last.inner_text().strip() != "Model"
    page.click("#fresh")
    assert page.locator(".turn").count() == 0 and not complaints, complaints
    chromium.close()
