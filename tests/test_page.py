"""The report's page in a real browser: no errors, no requests, and it does what its controls say."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from boards import board, finished, spec

from bench.errors import ConfigError
from bench.report.page.write import write

BROWSER = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
HOSTILE = '</script><img src=x onerror="window.hit=1"><script>window.hit=1</script>{{data}}\u2028<!--'
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium, chromium-browser or google-chrome on the path")


def no_command(spec: Any, run_id: str) -> str:
    raise ConfigError(f"run {run_id} is made up")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on two text boards and a control one, with runs in every state and completions that attack the page."""
    root, out = tmp_path_factory.mktemp("results"), tmp_path_factory.mktemp("out")
    board(root, {"grpo": 0.7, "ppo": 0.6, "untrained": 0.2}, tasks=("last_digit", "gsm8k"), items=16)
    board(root, {"ppo": 0.9, "a2c": 0.8}, tasks=("cartpole",), items=4, tier="control", seeds=range(3))
    finished(root, spec("dapo", 0), [0.1, 0.9, 0.5])
    finished(root, spec("dapo", 1), [0.1, 0.3], end="diverged")
    finished(root, spec("dapo", 2), [0.1], end="stopped")
    finished(root, spec("gspo", 0), [0.1, 0.2], end="memory")
    broken = finished(root, spec("gspo", 1), [0.1, 0.2])
    (broken / "spec.json").write_text("{")
    for path in root.glob("last_digit-tiny/grpo/*/samples.jsonl"):
        lines = [json.loads(line) | {"text": HOSTILE, "prompt": HOSTILE} for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return write(root, out, no_command)[0]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield opened
        opened.close()


class Watched:
    """A page with everything that it complained about or asked for."""

    def __init__(self, browser: Any, path: Path, **settings: Any) -> None:
        self.page = browser.new_page(**settings)
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.errors.append(message.text) if message.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("html[data-ready]", state="attached")


@pytest.fixture
def opened(browser: Any, made: Path) -> Iterator[Watched]:
    watched = Watched(browser, made, viewport={"width": 1280, "height": 900})
    yield watched
    watched.page.close()


def texts(page: Any, selector: str) -> list[str]:
    found: list[str] = page.eval_on_selector_all(selector, "nodes => nodes.map(node => node.textContent.trim())")
    return found


def column(page: Any, table: str, place: int) -> list[str]:
    return texts(page, f"{table} tbody tr > :nth-child({place})")


def test_opens_without_a_complaint_and_asks_for_nothing_but_itself(opened: Watched, made: Path) -> None:
    opened.page.mouse.wheel(0, 20_000)
    opened.page.wait_for_timeout(200)
    assert opened.errors == []
    assert [url for url in opened.requests if not url.startswith("data:")] == [made.as_uri()]
    assert opened.page.evaluate("window.hit") is None


def test_the_policy_forbids_what_the_page_does_not_need(opened: Watched) -> None:
    assert opened.page.evaluate("fetch('https://example.org/').then(() => 'sent', () => 'refused')") == "refused"
    assert opened.requests[1:] == []


def test_hostile_completions_are_shown_as_they_are_written(opened: Watched) -> None:
    shown = texts(opened.page, "section[id^=board-last] details .pair pre")
    assert any("</script><img src=x onerror=" in text for text in shown)
    assert opened.page.evaluate("document.querySelectorAll('img').length") == 0


def test_every_chart_is_drawn(opened: Watched) -> None:
    charts = opened.page.query_selector_all(".chart")
    assert len(charts) >= 3 * 3
    inked = "node => { const c = node.querySelector('canvas'); if (!c) return 0; "
    inked += "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let n = 0; "
    inked += "for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n }"
    assert all(chart.evaluate(inked) > 500 for chart in charts)


def picture(page: Any) -> str:
    """The first chart as it is drawn."""
    found: str = page.eval_on_selector(".chart canvas", "canvas => canvas.toDataURL()")
    return found


def test_every_picture_is_there(opened: Watched, made: Path) -> None:
    facts = "node => [node.id, node.querySelectorAll('svg path, svg use').length, node.getBoundingClientRect().width]"
    shown = opened.page.eval_on_selector_all("figure.picture", f"all => all.map({facts})")
    known = {identity.removeprefix("picture-") for identity, _, _ in shown}
    assert all(marks > 10 and width > 100 for _, marks, width in shown)
    for name in (
        "probability_of_improvement-last-digit-tiny",
        "stability_against_score-cartpole",
        "performance_profiles",
        "effective_weight",
    ):
        assert name in known, known
    files = {path.stem for path in (made.parent / "pictures").glob("*.svg")}
    assert files == {path.stem for path in (made.parent / "pictures").glob("*.png")}
    assert known | {"learning_curves-cartpole", "entropy-gsm8k-tiny", "gate-gsm8k-tiny"} <= files


def test_an_axis_switch_redraws(opened: Watched) -> None:
    page = opened.page
    drawn = [picture(page)]
    page.locator(".segments label", has_text="updates").first.click()
    drawn.append(picture(page))
    page.keyboard.press("ArrowRight")
    drawn.append(picture(page))
    assert len(set(drawn)) == 3
    page.locator(".segments input").first.check(force=True)
    assert picture(page) == drawn[0]


def test_the_legend_switches_entries_and_intervals(opened: Watched) -> None:
    page = opened.page
    seen = {picture(page)}
    page.locator(".bands input").first.uncheck()
    seen.add(picture(page))
    button = page.locator(".names button[aria-pressed]").first
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    seen.add(picture(page))
    page.locator(".names .none").first.click()
    seen.add(picture(page))
    assert len(seen) == 4
    page.locator(".names .all").first.click()
    assert set(page.eval_on_selector_all(".names button[aria-pressed]", "all => all.map(b => b.getAttribute('aria-pressed'))")) == {"true"}


def test_hovering_tells_the_values(opened: Watched) -> None:
    plot = opened.page.locator(".chart .u-over").first
    plot.scroll_into_view_if_needed()
    plot.hover()
    tip = opened.page.locator(".tip").first
    assert tip.is_visible()
    assert re.search(r"(ppo|a2c)0\.\d+", tip.inner_text().replace("\t", "").replace("\n", "")), tip.inner_text()


def test_a_leaderboard_sorts_by_number(opened: Watched) -> None:
    page, table = opened.page, "section[id='board-last-digit-tiny'] > .scroll table"
    heads = texts(page, f"{table} thead th")
    place = heads.index("score") + 1
    page.locator(f"{table} thead button", has_text="score").click()
    falling = [float(text) for text in column(page, table, place) if text]
    page.locator(f"{table} thead button", has_text="score").click()
    rising = [float(text) for text in column(page, table, place) if text]
    assert falling == sorted(falling, reverse=True)
    assert rising == sorted(rising) != falling
    assert page.get_attribute(f"{table} thead th:nth-child({place})", "aria-sort") == "ascending"


def test_the_runs_sort_and_filter(opened: Watched) -> None:
    page, rows = opened.page, "#runs tbody tr:not(.detail)"
    total = len(page.query_selector_all(rows))
    assert total == 2 * 15 + 6 + 5
    page.locator("#runs thead button", has_text="score").click()
    found = [float(text) for text in column(page, "#runs", 6) if text]
    assert len(found) >= 38 and found == sorted(found, reverse=True)
    page.select_option("#runs select[data-column='4']", "diverged")
    assert len(page.query_selector_all(rows)) == 1
    assert texts(page, "#runs [aria-live]") == [f"1 of {total} runs"]
    page.select_option("#runs select[data-column='4']", "")
    page.fill("#runs input", "dapo LAST_digit")
    assert len(page.query_selector_all(rows)) == 3
    page.fill("#runs input", "nothing has this")
    assert not page.query_selector_all(rows)


def test_a_run_opens_to_its_settings(opened: Watched) -> None:
    page = opened.page
    page.fill("#runs input", "grpo last_digit")
    button = page.locator("#runs tbody button").first
    button.click()
    opened_row = page.locator("#runs tr.detail").inner_text()
    assert "is made up" in opened_row and "train.lr = 0.0003" in opened_row and "torch 2.13.0" in opened_row
    button.click()
    assert page.locator("#runs tr.detail").count() == 0


def test_what_is_not_counted_is_said(opened: Watched) -> None:
    (said,) = texts(opened.page, "#left-out")
    for words in (
        "stopped before its budget",
        "made up to have ended so: memory",
        "spec.json cannot be read",
        "made up to have ended so: diverged",
    ):
        assert words in said


def test_fits_a_phone(browser: Any, made: Path) -> None:
    watched = Watched(browser, made, viewport={"width": 360, "height": 740}, device_scale_factor=2, has_touch=True, is_mobile=True)
    assert watched.page.evaluate("document.documentElement.scrollWidth") <= 360
    assert watched.page.evaluate("window.innerWidth") == 360
    assert watched.errors == []
    watched.page.close()


CONTRAST = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const c = parse(getComputedStyle(at).backgroundColor);
      if (c.length < 4 || c[3] > 0) return c;
    }
    return [255, 255, 255];
  };
  let worst = [99, ""];
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    if (!own || node.closest("svg, script, .skip") || !node.getClientRects().length) continue;
    const [a, b] = [light(parse(getComputedStyle(node).color)), light(ground(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < worst[0]) worst = [ratio, node.tagName + " " + node.className + ": " + node.textContent.slice(0, 40)];
  }
  return [...worst, getComputedStyle(document.body).backgroundColor];
}"""


def test_text_is_readable_in_light_and_in_dark(browser: Any, made: Path) -> None:
    grounds = set()
    for scheme in ("light", "dark"):
        watched = Watched(browser, made, color_scheme=scheme, viewport={"width": 1280, "height": 900})
        watched.page.eval_on_selector_all("details", "all => all.forEach(node => { node.open = true })")
        ratio, where, ground = watched.page.evaluate(CONTRAST)
        assert ratio >= 4.5, (scheme, where)
        grounds.add(ground)
        watched.page.close()
    assert len(grounds) == 2


def test_paper_shows_everything_and_no_controls(opened: Watched) -> None:
    page = opened.page
    assert not page.eval_on_selector("details", "node => node.open")
    page.emulate_media(media="print")
    page.wait_for_timeout(100)
    assert page.eval_on_selector_all("details", "all => all.every(node => node.open)")
    for controls in (".segments", ".bands", ".names .small", "#runs .controls", "nav"):
        assert page.locator(controls).first.is_hidden(), controls
    assert page.locator(".names button").first.is_visible()  # what the lines are
    page.set_viewport_size({"width": 700, "height": 1000})  # about A4 between its margins
    assert page.evaluate("document.documentElement.scrollWidth") <= 700
    assert page.eval_on_selector(".scroll.tall", "node => node.scrollHeight <= node.clientHeight + 1")
    assert page.eval_on_selector_all(".chart canvas", "all => all.every(node => node.clientWidth <= 680)")
    assert len(page.pdf(format="A4")) > 50_000
