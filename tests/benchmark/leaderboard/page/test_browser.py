"""The page as its reader meets it, in a headless Chromium."""

from __future__ import annotations

import json

import pytest
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select

from benchmark.leaderboard import page as pages
from benchmark.records.files import read_all
from tests.benchmark.example_records import COMMITTED, EXAMPLE, VERSION_1
from tests.benchmark.leaderboard.page.conftest import ATTACKS, two_streams

pytestmark = pytest.mark.slow


@pytest.fixture
def opened(chromium, page):
    """The page, fresh; whatever a test does, nothing may be complained of or fetched."""
    yield from visit(chromium, page)


@pytest.fixture
def attacked(chromium, hostile_page):
    yield from visit(chromium, hostile_page)


def visit(chromium, page):
    chromium.get("about:blank")  # or a changed fragment alone would not load it again
    chromium.get_log("browser"), chromium.get_log("performance")
    chromium.get(page.as_uri())
    yield chromium
    assert chromium.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    sent = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert sent and all(url.startswith((page.as_uri(), "data:image/")) for url in sent), sent


def visible_rows(driver) -> list[str]:
    rows = driver.find_elements(By.CSS_SELECTOR, "#table tbody tr")
    return [row.find_element(By.CSS_SELECTOR, "th a").text for row in rows if row.is_displayed()]


def heading(driver, text: str):
    (found,) = (b for b in driver.find_elements(By.CSS_SELECTOR, "#table thead button") if b.text == text)
    return found


def order(button) -> str:
    return button.find_element(By.XPATH, "..").get_attribute("aria-sort")


def go(driver, fragment: str) -> None:
    driver.execute_script("location.hash = arguments[0]", fragment)


def shown_heading(driver) -> str:
    (found,) = (h for h in driver.find_elements(By.CSS_SELECTOR, "#method h2, #run h2") if h.is_displayed())
    return found.text


def test_headings_sort_both_ways(opened):
    assert visible_rows(opened)[:2] == ["mds", "naive"], "the leaderboard's order"
    gain = heading(opened, "Target gain")
    gain.click()
    assert visible_rows(opened) == ["joint", "naive", "mds", "frozen", "broken"] and order(gain) == "descending"
    gain.click()
    assert visible_rows(opened) == ["frozen", "mds", "naive", "joint", "broken"], "what has no value stays last"
    assert order(gain) == "ascending"
    name = heading(opened, "Method")
    name.click()
    assert visible_rows(opened) == sorted(visible_rows(opened)) and (order(name), order(gain)) == ("ascending", "none")


def test_rows_are_filtered_by_text_family_stream_and_reference(opened):
    box, count = opened.find_element(By.ID, "filter"), opened.find_element(By.ID, "count")
    box.send_keys("NAI")
    assert visible_rows(opened) == ["naive"] and count.text == "1 of 5 rows"
    box.send_keys("x")
    assert visible_rows(opened) == [] and opened.find_element(By.ID, "none").is_displayed()
    box.clear()
    box.send_keys(" ")
    opened.find_element(By.ID, "references").click()
    assert visible_rows(opened) == ["mds", "naive", "broken"]
    Select(opened.find_element(By.ID, "family")).select_by_visible_text("constrained")
    assert visible_rows(opened) == ["mds"]
    opened.find_element(By.LINK_TEXT, "two rounds").click()
    assert visible_rows(opened) == ["mds"] and count.text == "1 of 1 rows"
    opened.find_element(By.LINK_TEXT, "all streams").click()
    assert visible_rows(opened) == ["mds", "mds"]


def test_deep_links_open_methods_and_runs_and_the_back_button_returns(opened, page):
    opened.find_element(By.LINK_TEXT, "naive").click()
    assert shown_heading(opened) == "naive" and not opened.find_element(By.ID, "board").is_displayed()
    opened.find_element(By.LINK_TEXT, "seed 1").click()
    assert shown_heading(opened) == "naive on driving, seed 1" and opened.title.startswith("naive on driving")
    text = opened.find_element(By.ID, "run").text
    assert "not preserved: partly cloudy −20.0 points, clear −4.0 points" in text
    assert "significant regression: partly cloudy −20.0 points" in text
    assert "--method naive --scenario driving --seed 1 " in text and "--set lr=0.01" in text
    opened.back()
    assert shown_heading(opened) == "naive"
    opened.back()
    assert opened.find_element(By.ID, "board").is_displayed() and "naive" in visible_rows(opened)
    (one,) = (r for r in EXAMPLE if r.method.name == "mds" and r.seed == 2)
    opened.get(f"{page.as_uri()}#/run/{one.run_id}")
    assert shown_heading(opened) == "mds on driving, seed 2"
    assert "no significant regression" in opened.find_element(By.ID, "run").text


def test_a_run_shows_its_scene_pairs_where_it_has_some(opened, page):
    run = next(r for r in two_streams() if r.scenario.name == "two rounds")
    go(opened, f"#/run/{run.run_id}")
    (found,) = opened.find_elements(By.XPATH, "//details[contains(., '80 scenes')]")
    found.find_element(By.TAG_NAME, "summary").click()
    assert found.find_element(By.TAG_NAME, "table").is_displayed()
    cells = [cell.get_property("textContent") for cell in found.find_elements(By.CSS_SELECTOR, "tbody tr > *")]
    assert cells[0] == "grouptext and image"
    assert cells[1:] == ["16.7", "36.2", "37.5", "+1.2", "9", "10"], "36.25 and 1.25 as Python rounds them"


def test_a_stream_has_its_own_link_plots_and_words_for_them(opened, page):
    go(opened, "#/stream/two%20rounds")
    (section,) = (s for s in opened.find_elements(By.CSS_SELECTOR, "section.stream") if s.is_displayed())
    images = section.find_elements(By.TAG_NAME, "img")
    assert len(images) == 5, "gains, tolerance, rates, classes and rounds"
    assert all(opened.execute_script("return arguments[0].naturalWidth", image) > 100 for image in images)
    section.find_element(By.TAG_NAME, "summary").click()
    assert "mds +7.8 at −0.5" in section.text


@pytest.mark.parametrize(
    "fragment", ["#/method/nothing", "#/run/0", "#/run/__proto__", "#/method/%E0%A4%A", "#/stream/x"]
)
def test_links_that_lead_nowhere_say_so(opened, fragment):
    go(opened, fragment)
    board = opened.find_element(By.ID, "board").is_displayed()
    assert board if "stream" in fragment else shown_heading(opened).startswith("No such")


def press(driver, *keys: str) -> None:
    ActionChains(driver).send_keys(*keys).perform()


def test_everything_is_reached_by_keyboard(opened):
    press(opened, Keys.TAB)
    assert opened.switch_to.active_element.text == "Skip to the results"
    seen = []
    for _ in range(60):
        press(opened, Keys.TAB)
        seen.append(opened.switch_to.active_element.text)
        if seen[-1] == "DevSafety":
            break
    assert {"driving", "two rounds", "all streams", "Rank", "Method"} <= set(seen)
    press(opened, Keys.ENTER)
    assert order(opened.switch_to.active_element) == "descending" and visible_rows(opened)[0] == "joint"
    press(opened, Keys.SPACE)
    assert order(opened.switch_to.active_element) == "ascending" and visible_rows(opened)[0] == "naive"
    press(opened, *[Keys.TAB] * 6)  # by three rates, Front and Seconds to the first row
    press(opened, Keys.ENTER)
    assert shown_heading(opened) == "naive" and opened.switch_to.active_element.text == "naive"


def test_a_hostile_record_does_nothing_and_is_shown_as_text(attacked):
    assert attacked.execute_script("return window.hacked") is None
    go(attacked, "#/all")
    names = [name.strip() for name in visible_rows(attacked)]
    data = json.loads(attacked.find_element(By.ID, "data").get_attribute("textContent"))
    assert set(ATTACKS[:2]) < set(names)
    for attack in ATTACKS:
        attacked.execute_script("location.hash = '#/method/' + encodeURIComponent(arguments[0])", attack)
        heading = attacked.find_element(By.CSS_SELECTOR, "#method h2")
        assert heading.get_attribute("textContent") == attack
    for number, run in data["runs"].items():
        go(attacked, f"#/run/{number}")
        page = attacked.find_element(By.ID, "run")
        assert run["method"] in page.get_attribute("textContent")
        assert not page.find_elements(By.CSS_SELECTOR, "img, script")
    assert attacked.execute_script("return window.hacked") is None


def test_injected_script_is_kept_from_running(chromium, hostile_page, tmp_path):
    text = hostile_page.read_text().replace(
        "<main", "<script>window.hacked=1</script><img src=x onerror=hacked=1><main"
    )
    (tmp_path / "broken.html").write_text(text)
    chromium.get((tmp_path / "broken.html").as_uri())
    assert chromium.execute_script("return window.hacked") is None
    assert "Content Security Policy" in str(chromium.get_log("browser"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_legible_in_light_and_dark(opened, scheme):
    preferred = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", preferred)
    assert (luminance(opened, "background-color") < 0.5) == (scheme == "dark")
    for selector in ("body", "#table a", "small", ".tabs a", "header p"):
        assert contrast(opened, selector) >= 4.5, selector  # WCAG 2 AA
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def luminance(driver, part: str, selector: str = "body") -> float:
    """Relative luminance of a colour, as in WCAG 2."""
    text = driver.find_element(By.CSS_SELECTOR, selector).value_of_css_property(part)
    channels = [float(x) / 255 for x in text[text.index("(") + 1 : -1].split(",")[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(driver, selector: str) -> float:
    low, high = sorted([luminance(driver, "color", selector), luminance(driver, "background-color")])
    return (high + 0.05) / (low + 0.05)


@pytest.fixture(params=[COMMITTED, VERSION_1], ids=["today", "version 1"])
def committed(chromium, request, tmp_path):
    """The page of committed results on a window of 1,400 pixels."""
    screen = {"width": 1400, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    yield from visit(chromium, pages.write(read_all(request.param), tmp_path))
    chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_no_table_is_cut_on_a_window_of_1400_pixels(committed):
    streams = [tab.get_attribute("data-stream") for tab in committed.find_elements(By.CSS_SELECTOR, ".tabs a")]
    assert streams
    for stream in streams:
        go(committed, f"#/stream/{stream}" if stream else "#/all")
        room, needed = committed.execute_script(
            "const scroll = document.querySelector('#board .scroll'); return [scroll.clientWidth, scroll.scrollWidth]"
        )
        assert needed <= room, (stream, needed, room)


@pytest.mark.parametrize("committed", [VERSION_1], indirect=True)
def test_where_strictness_is_out_of_reach_two_more_columns_are_shown_and_the_page_says_why(committed):
    for stream, beyond in (("driving-foggy", False), ("places-dressing-room", True), ("driving-foggy", False)):
        go(committed, f"#/stream/{stream}")
        shown = {button.text for button in committed.find_elements(By.CSS_SELECTOR, "#table thead button")}
        assert ({"Classes preserved", "Gain without regression"} <= shown) == beyond
        words = committed.find_element(By.CSS_SELECTOR, f"section[data-stream='{stream}']").text
        assert ("Strictness is out of reach here by counting alone" in words) == beyond


def test_nothing_but_the_tables_is_wider_than_a_phone(opened):
    wide = {"width": 360, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", wide)
    for fragment in ("#/", "#/method/mds", f"#/run/{EXAMPLE[0].run_id}"):
        go(opened, fragment)
        assert opened.execute_script("return document.documentElement.scrollWidth") <= 360, fragment
    opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
