"""The page in a real browser, of a real service."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.service.running import TOKEN, Running, camera_clip, service, stream

SECONDS_60 = 60_000


def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        assert "CI" not in os.environ, "chromium is not installed; .ci/run does that"
        pytest.skip("chromium is not installed")
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        started = play.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("page")
    streams = [stream("entrance", camera_clip(folder))]
    with service(folder, streams, http={"token": TOKEN}) as found:
        found.until_live("entrance")
        yield found


@pytest.fixture
def page(browser: Any, running: Running) -> Iterator[Any]:
    """The page with the token given; anything that goes wrong in it is an error of the test."""
    opened = browser.new_page(viewport={"width": 1280, "height": 800})
    opened.set_default_timeout(SECONDS_60)
    troubles: list[str] = []
    opened.on("pageerror", lambda error: troubles.append(str(error)))
    opened.on("console", lambda one: troubles.append(one.text) if "Content Security" in one.text else None)
    opened.add_init_script(f"sessionStorage.setItem('token', '{TOKEN}')")
    opened.goto(running.address)
    yield opened
    opened.close()
    assert not troubles


def open_page(browser: Any, running: Running, **options: Any) -> Any:
    """A page of its own, with the token given."""
    opened = browser.new_page(**options)
    opened.set_default_timeout(SECONDS_60)
    opened.add_init_script(f"sessionStorage.setItem('token', '{TOKEN}')")
    opened.goto(running.address)
    return opened


def until(page: Any, true: str) -> None:
    """Waits for an expression; the page's own policy forbids Playwright's `wait_for_function`."""
    deadline = time.monotonic() + 60
    while not page.evaluate(true):
        assert time.monotonic() < deadline, true
        page.wait_for_timeout(100)


def pixels(page: Any) -> int:
    """Pixels that the overlay has painted."""
    script = """() => { const c = document.getElementById('detail-overlay');
        return c.width ? c.getContext('2d').getImageData(0, 0, c.width, c.height).data.filter((v, i) => i % 4 == 3 && v).length : 0 }"""
    return int(page.evaluate(script))


def test_it_shows_what_lives_moves_and_costs(page: Any) -> None:
    card = page.locator(".card", has_text="entrance")
    card.locator(".pill.live").wait_for()
    until(page, "document.querySelector('.card img').naturalWidth > 0")
    until(page, "/[1-9]/.test(document.querySelector('.card .row b').textContent)")
    assert page.locator("#fact-live").inner_text() == "1 of 1"
    assert page.title() == "1/1 live · ovstream"


def test_the_overlay_moves_and_the_layers_can_be_chosen(page: Any) -> None:
    page.get_by_role("button", name="entrance").click()
    until(page, "document.getElementById('detail-picture').naturalWidth > 0")
    until(page, "document.getElementById('detail-why').textContent.includes('patches changed')")
    label = page.locator("#detail-overlay").get_attribute("aria-label")
    until(page, f"document.getElementById('detail-overlay').getAttribute('aria-label') !== {label!r}")
    until(page, "document.querySelectorAll('#detail-timeline svg path').length > 1")
    page.get_by_role("checkbox", name="age of patches").check()
    page.wait_for_timeout(50)
    with_ages = pixels(page)
    for name in ("age of patches", "motion", "changed", "zones"):
        page.get_by_role("checkbox", name=name).uncheck()
    page.wait_for_timeout(50)
    assert with_ages > 10 * pixels(page)
    page.keyboard.press("Escape")
    page.locator("#detail").wait_for(state="hidden")


def test_a_camera_is_added_and_removed_by_keyboard(page: Any, running: Running) -> None:
    page.get_by_role("button", name="Add camera").first.focus()
    page.keyboard.press("Enter")
    page.get_by_label("Address").fill("synthetic:?width=160&height=96&fps=5")
    page.get_by_label("Name", exact=True).fill("added here")
    page.keyboard.press("Enter")
    assert page.locator("#adding").is_visible(), "a wrong name is told by the browser"
    page.get_by_label("Name", exact=True).fill("added-here")
    page.get_by_label("Priority").fill("3")
    with page.expect_request("**/api/streams") as asked:
        page.keyboard.press("Enter")
    url = "synthetic:?width=160&height=96&fps=5"
    assert asked.value.post_data_json == {
        "url": url,
        "stream_id": "added-here",
        "supervise": {"priority": 3},
    }, "what the person changed, and nothing else"
    page.locator("#adding").wait_for(state="hidden")
    card = page.get_by_role("button", name="added-here")
    card.wait_for()
    assert running.stream("added-here")["origin"] == "api"
    card.focus()
    page.keyboard.press("Enter")
    remove = page.locator("#act-remove")
    remove.click()
    assert running.stream("added-here")["id"] == "added-here", "once is not enough"
    remove.click()
    card.wait_for(state="detached")
    assert running.http.get("/api/streams/added-here").status_code == 404
    page.locator("#events", has_text="removed").wait_for()


def test_what_the_service_refuses_is_said_in_the_form(page: Any) -> None:
    page.get_by_role("button", name="Add camera").first.click()
    page.get_by_label("Address").fill("synthetic:")
    page.get_by_label("Name", exact=True).fill("entrance")
    page.get_by_role("button", name="Add", exact=True).click()
    page.locator("#add-trouble", has_text="already").wait_for()
    page.get_by_label("Name", exact=True).fill("odd")
    page.get_by_label("Address").fill("gopher://x")
    page.get_by_role("button", name="Add", exact=True).click()
    page.get_by_text("is not supported").first.wait_for()


def test_a_camera_is_probed_in_the_form(page: Any) -> None:
    page.get_by_role("button", name="Add camera").first.click()
    page.get_by_label("Address").fill("synthetic:?width=160&height=96&fps=10")
    page.get_by_role("button", name="Probe first").click()
    page.locator("#probe-report li").first.wait_for()
    assert "160\u00d796" in page.locator("#probe-report").inner_text()


def test_on_a_phone_nothing_is_wider_than_the_screen(browser: Any, running: Running) -> None:
    phone = open_page(browser, running, viewport={"width": 360, "height": 740}, color_scheme="dark")
    phone.get_by_role("button", name="entrance").wait_for()
    assert phone.evaluate("document.documentElement.scrollWidth") <= 360
    phone.get_by_role("button", name="entrance").click()
    phone.locator("#detail-why").wait_for()
    assert phone.evaluate("document.getElementById('detail').scrollWidth") <= 360
    dark = phone.evaluate("getComputedStyle(document.body).backgroundColor")
    phone.keyboard.press("Escape")
    phone.get_by_role("button", name="Switch between dark and light").click()
    assert phone.evaluate("getComputedStyle(document.body).backgroundColor") != dark
    phone.close()


def test_it_asks_for_the_token_and_says_when_it_is_wrong(browser: Any, running: Running) -> None:
    fresh = browser.new_page()
    fresh.set_default_timeout(SECONDS_60)
    fresh.goto(running.address)
    fresh.get_by_label("Bearer token").fill("wrong")
    fresh.keyboard.press("Enter")
    fresh.get_by_text("This token is not known here.").wait_for()
    fresh.get_by_label("Bearer token").fill(TOKEN)
    fresh.keyboard.press("Enter")
    fresh.get_by_role("button", name="entrance").wait_for()
    fresh.close()


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The rules of axe-core: contrast, names, roles, order, focus, by WCAG 2.2 AA."""
    if shutil.which("npm") is None:
        assert "CI" not in os.environ, "npm is not installed; .ci/run does that"
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("axe")
    command = [
        "npm",
        "install",
        "--no-package-lock",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "axe-core@4",
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text()


def complaints(page: Any, axe: str) -> list[str]:
    """What a screen reader, a keyboard or weak eyes would stumble over."""
    page.evaluate(axe)
    found = page.evaluate(
        "axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa', 'best-practice']})"
    )
    return [
        f"{one['id']} ({one['impact']}): {node['target']} {node['failureSummary']}"
        for one in found["violations"]
        for node in one["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_in_the_way_of_screen_readers_and_weak_eyes(
    browser: Any, running: Running, axe: str, scheme: str
) -> None:
    opened = open_page(browser, running, color_scheme=scheme, reduced_motion="reduce")
    opened.get_by_role("button", name="entrance").wait_for()
    until(opened, "document.querySelector('.card img').naturalWidth > 0")
    assert complaints(opened, axe) == []
    opened.get_by_role("button", name="Add camera").first.click()
    assert complaints(opened, axe) == []
    opened.keyboard.press("Escape")
    opened.get_by_role("button", name="entrance").click()
    until(opened, "document.getElementById('detail-picture').naturalWidth > 0")
    until(opened, "document.querySelectorAll('#detail-timeline svg path').length > 1")
    assert complaints(opened, axe) == []
    opened.close()


def test_every_control_has_a_name(page: Any) -> None:
    page.get_by_role("button", name="entrance").wait_for()
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('button, input, img, dialog')].filter((e) => !(e.textContent.trim()
            || e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') || e.hasAttribute('alt') || e.labels?.length
            || e.hidden)).map((e) => e.outerHTML)"""
    )
    assert nameless == []


def test_it_says_when_the_service_is_gone(browser: Any, tmp_path: Path) -> None:
    with service(tmp_path, []) as found:
        lonely = browser.new_page()
        lonely.set_default_timeout(SECONDS_60)
        lonely.goto(found.address)
        lonely.get_by_text("No camera yet").wait_for()
        found.stop()
        lonely.get_by_text("The service does not answer").wait_for()
        lonely.close()
