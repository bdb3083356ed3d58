"""One employee's workspace. The employee's own pages are fakes that this test serves: behind the
real edge they are OpenClaw's chat and the desk's viewer (tests/e2e)."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Route, expect

from state_repo import changes
from tests.pages.conftest import ENGINEER, LOOKS, PASSWORD, PHONE
from tests.pages.reconciler_fake import reconciler  # noqa: F401 - a fixture
from tests.rows import put_employee, put_receipt
from webapp import accounts

FAKE_CHAT = """<!doctype html><title>fake chat</title>
<body style="font:16px sans-serif;margin:2rem;background:#fff">
<p style="background:#eef;padding:12px;border-radius:12px">Good morning! I read the three pages
you named; the summary is in research/tea.md.</p><textarea></textarea>"""
FAKE_DESK = """<!doctype html><title>fake desk</title>
<body style="font:14px sans-serif;margin:0;background:#16181d;color:#eee"><p style="padding:2rem">
(the screen)</p><script>parent.postMessage({desk: {text: 'Watching live', acting: false}}, '%s');
</script>"""


class Frames:
    """The employee's pages, made up. `asked`: the addresses that were opened."""

    def __init__(self, visitor) -> None:
        self.asked: list[str] = []
        self.answers = True
        self.desk = FAKE_DESK % visitor.site.url
        visitor.context.route(re.compile(r"https?://[^/]+\.(gw|vnc)\.iw\.localhost"), self._answer)

    def _answer(self, route: Route) -> None:
        self.asked.append(route.request.url)
        if self.answers:
            route.fulfill(body=FAKE_CHAT if ".gw." in route.request.url else self.desk,
                          content_type="text/html")


@pytest.fixture
def acme(site) -> str:
    site.customer("acme", 5)
    return site.employee("acme", "Pulse")


def filled(reconciler, pulse: str) -> None:  # noqa: F811
    folder = reconciler.folder(pulse)
    (folder / "research").mkdir()
    (folder / "research" / "tea.md").write_text("# Tea\n\nPrices rise by **4 %** in May.\n")
    (folder / "drafts").mkdir()
    (folder / "plan.csv").write_text("week,topic\n1,tea\n2,cups\n")
    (folder / "MEMORY.md").write_text("Bo likes tea.\n")
    (folder / "learning").mkdir()
    (folder / "learning" / "log.jsonl").write_text(json.dumps({
        "date": "2026-11-02", "lesson": "Invoices carry the order number.",
        "evidence": "14 of 14 mails since June."}) + "\n")


@LOOKS
def test_every_part_is_shown_and_accessible(
        site, acme, reconciler, visit, viewport, scheme):  # noqa: F811
    filled(reconciler, acme)
    reconciler.spends(acme, 4.2)
    now = datetime.now(UTC)
    put_receipt(site.status, stack="customer/acme", cause="commit", author="Ann", started_at=now,
        total_s=0.9,
        revision="a" * 40, subject="Hire Pulse for acme", result="succeeded",
        changes=[{"op": "create", "name": f"iw-emp-{acme}"}])
    site.status.add_event("Degraded", "Pulse is Synced, Degraded: its health check fails; see "
                          "`iw logs`, or retry it", "acme", acme)
    ann = visit("ann@acme.test", viewport=viewport, color_scheme=scheme)
    Frames(ann)
    page, size = ann.page, f"{scheme}-{'phone' if viewport is PHONE else 'desktop'}"
    ann.go(f"/employees/{acme}")
    expect(page.frame_locator("#chat").get_by_text("Good morning!")).to_be_visible()
    if viewport is PHONE:
        expect(page.locator("#pane-browser")).to_be_hidden()
        ann.shot(f"workspace-chat-{size}")
        page.get_by_role("tab", name="Browser").click()
        expect(page.locator("#pane-chat")).to_be_hidden()
    else:
        expect(page.locator("#pane-chat")).to_be_visible()
    expect(page.locator("#pane-browser .frame-state")).to_have_text("Watching live")
    expect(page.locator(".cover:visible")).to_have_count(0)
    assert ann.violations() == []
    ann.shot(f"workspace-browser-{size}")
    looks = {"Files": "research", "Memory": "MEMORY.md", "Lessons": "Invoices carry",
             "Activity": "Pulse was hired", "Usage": "$4.20 of $20.00",
             "Settings": "Instructions"}
    for name, text in looks.items():
        page.get_by_role("tab", name=name).click()
        pane = page.locator(f"#pane-{name.lower()}")
        expect(pane.get_by_text(text).first).to_be_visible()
        if name == "Files":
            page.get_by_role("treeitem", name="research").locator(".node-row").first.click()
            page.get_by_role("treeitem", name="tea.md").locator(".node-row").click()
            expect(pane.get_by_text("Prices rise")).to_be_visible()
        assert ann.violations() == [], name
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"], name
        ann.shot(f"workspace-{name.lower()}-{size}")


def test_the_separator_moves_by_keyboard_and_is_remembered(site, acme, visit):
    ann = visit("ann@acme.test")
    Frames(ann)
    ann.go(f"/employees/{acme}")
    page = ann.page
    line = page.get_by_role("separator", name="Width of the chat")
    expect(line).to_have_attribute("aria-valuenow", "40")
    expect(page.locator("#pane-chat")).to_be_visible()
    wide = page.locator("#pane-chat").bounding_box()["width"]
    line.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    expect(line).to_have_attribute("aria-valuenow", "50")
    assert page.locator("#pane-chat").bounding_box()["width"] > wide + 80
    page.reload()
    expect(line).to_have_attribute("aria-valuenow", "50")
    page.get_by_role("button", name="Keep chat open").click()
    expect(page.locator("#pane-chat")).to_be_hidden()
    expect(page.get_by_role("tab", name="Chat")).to_be_visible()
    page.get_by_role("tab", name="Browser").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#pane-files")).to_be_visible()
    assert page.url.endswith("#files")
    page.reload()
    expect(page.locator("#pane-files")).to_be_visible()


def test_who_sleeps_wakes_visibly_with_a_clock_and_a_way_out(site, acme, visit):
    put_employee(site.status, acme, asleep_since=datetime.now(UTC))
    ann = visit("ann@acme.test")
    Frames(ann)
    page = ann.page
    page.clock.install()
    ann.go(f"/employees/{acme}")
    chat = page.locator("#pane-chat .cover")
    expect(chat).to_contain_text(re.compile(r"Waking Pulse… \d+\s?s"))
    page.clock.run_for(4000)
    expect(chat).to_contain_text(re.compile(r"Waking Pulse… [4-9]\s?s"))
    assert ann.violations() == []
    ann.shot("workspace-waking")
    page.clock.run_for(61_000)
    expect(chat).to_contain_text("This takes longer than it should")
    for way in ("New workplace", "See what happened"):
        expect(chat.get_by_role("button", name=way)).to_be_visible()
    expect(chat.get_by_role("link", name="To the team")).to_be_visible()
    put_employee(site.status, acme, asleep_since=None)
    page.clock.run_for(5000)
    expect(page.locator("#pane-chat .cover")).to_be_hidden()
    expect(page.frame_locator("#chat").get_by_text("Good morning!")).to_be_visible()


def test_a_frame_that_does_not_load_says_so_and_is_tried_again(site, acme, visit):
    ann = visit("ann@acme.test")
    frames = Frames(ann)
    frames.answers = False
    page = ann.page
    page.clock.install()
    page.goto(f"{site.url}/employees/{acme}", wait_until="commit")
    cover = page.locator("#pane-chat .cover")
    expect(cover).to_contain_text("Opening the chat…")
    while not any(".gw." in url for url in frames.asked):  # its ticket is asked for first
        page.wait_for_timeout(20)
    page.clock.run_for(21_000)
    expect(cover).to_contain_text("The chat did not load within 20 s")
    frames.answers = True
    cover.get_by_role("button", name="Try again").click()
    expect(page.frame_locator("#chat").get_by_text("Good morning!")).to_be_visible()
    expect(cover).to_be_hidden()
    asked = [url for url in frames.asked if ".gw." in url]
    assert len(asked) == 2 and asked[0] != asked[1], "each with a ticket of its own"


def test_a_browser_whose_page_comes_and_does_not_run_is_no_browser(site, acme, visit):
    ann = visit("ann@acme.test")
    frames = Frames(ann)
    frames.desk = "<!doctype html><title>half</title><p>Connecting…"
    page = ann.page
    page.clock.install()
    ann.go(f"/employees/{acme}")
    cover = page.locator("#pane-browser .cover")
    expect(cover).to_contain_text("Opening the browser…")
    while not any(".vnc." in url for url in frames.asked):
        page.wait_for_timeout(20)
    page.clock.run_for(21_000)
    expect(cover).to_contain_text("The browser did not load within 20 s")
    frames.desk = FAKE_DESK % site.url
    cover.get_by_role("button", name="Try again").click()
    expect(cover).to_be_hidden()


def test_who_is_paused_or_broken_is_not_loaded_and_says_what_to_do(site, acme, visit):
    changes.pause(site.store, ENGINEER, "acme", acme)
    put_employee(site.status, acme, desired_state="paused", health_status="Suspended",
                                reason="paused")
    ann = visit("ann@acme.test")
    frames, page = Frames(ann), ann.page
    ann.go(f"/employees/{acme}")
    chat = page.locator("#pane-chat .cover")
    expect(chat).to_contain_text("Pulse is paused")
    assert frames.asked == []
    chat.get_by_role("button", name="Resume").click()
    expect(chat).to_contain_text(re.compile("Pulse is starting"))
    put_employee(site.status, acme, desired_state="running", health_status="Degraded",
                                reason="its health check fails; see `iw logs`, or retry it")
    expect(chat).to_contain_text("Pulse needs attention")
    expect(chat).to_contain_text("it does not answer as it should")
    chat.get_by_role("button", name="New workplace").click()
    expect(page.get_by_text("Pulse gets a new workplace")).to_be_visible()
    put_employee(site.status, acme, health_status="Healthy", reason="")
    expect(page.frame_locator("#chat").get_by_text("Good morning!")).to_be_visible()


def test_nobody_else_can_speak_for_the_desk(site, acme, visit):
    ann = visit("ann@acme.test")
    Frames(ann)
    ann.go(f"/employees/{acme}")
    state = ann.page.locator("#pane-browser .frame-state")
    expect(state).to_have_text("Watching live")
    ann.page.evaluate("postMessage({desk: {text: 'Evil', acting: true}}, '*')")
    expect(ann.page.frame_locator("#chat").get_by_text("Good morning!")).to_be_visible()
    chat = next(f for f in ann.page.frames if ".gw." in f.url)
    chat.evaluate("parent.postMessage({desk: {text: 'Evil', acting: true}}, '*')")
    ann.page.wait_for_timeout(300)
    expect(state).to_have_text("Watching live")


def test_files_are_made_edited_moved_and_deleted(site, acme, reconciler, visit):  # noqa: F811
    filled(reconciler, acme)
    folder = reconciler.folder(acme)
    ann = visit("ann@acme.test")
    Frames(ann)
    ann.go(f"/employees/{acme}#files")
    page, pane = ann.page, ann.page.locator("#pane-files")
    page.get_by_role("treeitem", name="drafts").focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="New folder").click()
    page.get_by_label("Name of the folder").fill("spring")
    page.keyboard.press("Enter")
    expect(page.get_by_role("treeitem", name="spring")).to_be_visible()
    assert (folder / "drafts" / "spring").is_dir()
    pane.get_by_role("button", name="New text").click()
    page.get_by_label("Name of the file").fill("idea.md")
    page.keyboard.press("Enter")
    box = pane.get_by_role("textbox", name="Text of idea.md")
    box.fill("Sell more tea.")
    page.keyboard.press("Control+s")
    expect(page.get_by_text("idea.md is saved.")).to_be_visible()
    made = folder / "drafts" / "spring" / "idea.md"
    assert made.read_text() == "Sell more tea."
    pane.get_by_role("button", name="Rename or move").click()
    page.get_by_label("New path").fill("drafts/better.md")
    page.keyboard.press("Enter")
    expect(page.get_by_role("treeitem", name="better.md")).to_be_visible()
    assert not made.exists() and (folder / "drafts" / "better.md").exists()
    with page.expect_download() as download:
        pane.get_by_role("button", name="Download").click()
    assert download.value.suggested_filename == "better.md"
    pane.get_by_role("button", name="Delete").click()
    box = page.get_by_role("dialog", name="Delete better.md?")
    expect(box).to_contain_text("can’t be brought back")
    box.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("treeitem", name="better.md")).to_have_count(0)
    assert not (folder / "drafts" / "better.md").exists()


def test_an_edit_opens_only_for_the_file_that_is_still_chosen(
        site, acme, reconciler, visit):  # noqa: F811
    filled(reconciler, acme)
    ann = visit("ann@acme.test")
    Frames(ann)
    ann.go(f"/employees/{acme}#files")
    page, pane = ann.page, ann.page.locator("#pane-files")
    page.get_by_role("treeitem", name="plan.csv").locator(".node-row").click()
    expect(pane.get_by_role("region", name="Text of plan.csv")).to_contain_text("week,topic")
    held: list[Route] = []
    page.route("**/files/content?path=plan.csv", lambda route: held.append(route))
    with page.expect_request("**/files/content?path=plan.csv"):
        pane.get_by_role("button", name="Edit").click()
    page.get_by_role("treeitem", name="MEMORY.md").locator(".node-row").click()
    expect(pane.get_by_role("region", name="Text of MEMORY.md")).to_contain_text("Bo likes tea.")
    with page.expect_response("**/files/content?path=plan.csv") as answer:
        held[0].continue_()
    answer.value.finished()
    page.wait_for_timeout(300)
    expect(pane.get_by_role("region", name="Text of MEMORY.md")).to_be_visible()
    expect(pane.get_by_role("textbox")).to_have_count(0)


def test_an_edit_that_somebody_crossed_loses_nothing(site, acme, reconciler, visit):  # noqa: F811
    filled(reconciler, acme)
    file = reconciler.folder(acme) / "plan.csv"
    ann = visit("ann@acme.test")
    Frames(ann)
    ann.go(f"/employees/{acme}#files")
    page, pane = ann.page, ann.page.locator("#pane-files")
    page.get_by_role("treeitem", name="plan.csv").locator(".node-row").click()
    pane.get_by_role("button", name="Edit").click()
    pane.get_by_role("textbox", name="Text of plan.csv").fill("mine")
    file.write_text("theirs, meanwhile")
    pane.get_by_role("button", name="Save").click()
    expect(pane.get_by_role("alert")).to_contain_text("Somebody changed this file")
    assert file.read_text() == "theirs, meanwhile"
    pane.get_by_role("button", name="See theirs").click()
    expect(pane.get_by_text("theirs, meanwhile")).to_be_visible()
    expect(pane.get_by_role("textbox", name="Text of plan.csv")).to_have_value("mine")
    assert ann.violations() == []
    ann.shot("workspace-conflict")
    pane.get_by_role("button", name="Overwrite with mine").click()
    expect(page.get_by_text("plan.csv is saved.")).to_be_visible()
    assert file.read_text() == "mine"


def test_uploads_by_drop_show_progress_and_never_replace_unasked(
        site, acme, reconciler, visit):  # noqa: F811
    filled(reconciler, acme)
    folder = reconciler.folder(acme)
    ann = visit("ann@acme.test")
    Frames(ann)
    ann.go(f"/employees/{acme}#files")
    page, pane = ann.page, ann.page.locator("#pane-files")
    expect(page.get_by_role("treeitem", name="plan.csv")).to_be_visible()
    page.evaluate("""() => {
      const data = new DataTransfer();
      data.items.add(new File(['x'.repeat(200000)], 'big.txt'));
      data.items.add(new File(['new plan'], 'plan.csv'));
      document.getElementById('pane-files').dispatchEvent(
        new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true})); }""")
    expect(page.get_by_role("treeitem", name="big.txt")).to_be_visible()
    assert (folder / "big.txt").stat().st_size == 200_000
    row = pane.locator(".uploads li", has_text="plan.csv")
    expect(row).to_contain_text("is already there")
    assert "week,topic" in (folder / "plan.csv").read_text()
    row.get_by_role("button", name="Replace it").click()
    expect(row).to_contain_text("uploaded")
    assert (folder / "plan.csv").read_text() == "new plan"
    pane.locator("input[type=file]").set_input_files(
        {"name": "dot.png", "mimeType": "image/png", "buffer": bytes.fromhex(
            "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415408d7"
            "63f8cfc0000003010100c9fe92ef0000000049454e44ae426082")})
    page.get_by_role("treeitem", name="dot.png").locator(".node-row").click()
    expect(pane.get_by_role("img", name="Picture: dot.png")).to_be_visible()


def test_memory_is_corrected_and_a_lesson_approved(site, acme, reconciler, visit):  # noqa: F811
    filled(reconciler, acme)
    ann = visit("ann@acme.test")
    Frames(ann)
    ann.go(f"/employees/{acme}#memory")
    page, pane = ann.page, ann.page.locator("#pane-memory")
    page.get_by_role("treeitem", name="MEMORY.md").locator(".node-row").click()
    expect(pane.get_by_text("Bo likes tea.")).to_be_visible()
    pane.get_by_role("button", name="Edit").click()
    pane.get_by_role("textbox", name="Text of MEMORY.md").fill("Bo likes coffee.")
    pane.get_by_role("button", name="Save").click()
    expect(pane.get_by_text("Bo likes coffee.")).to_be_visible()
    page.get_by_role("tab", name="Lessons").click()
    lesson = page.locator(".lesson")
    expect(lesson).to_contain_text("14 of 14 mails since June.")
    lesson.get_by_role("button", name="Approve").click()
    expect(lesson).to_contain_text("Approved")
    decided = site.store.read_customer(site.store.head(), "acme").lessons.values()
    assert [x.state for x in decided] == ["approved"]


def test_settings_are_checked_and_saved(site, acme, reconciler, visit):  # noqa: F811
    ann = visit("ann@acme.test")
    Frames(ann)
    ann.go(f"/employees/{acme}#settings")
    page, pane = ann.page, ann.page.locator("#pane-settings")
    pane.get_by_label("Name", exact=True).fill("")
    expect(pane.get_by_text("Give it a name, so that you can call it.")).to_be_visible()
    pane.get_by_label("Name", exact=True).fill("Pulsar")
    pane.get_by_label("Monthly budget").fill("35")
    pane.get_by_role("checkbox", name=re.compile("Web research")).check()
    pane.get_by_role("button", name="Save changes").click()
    expect(page.get_by_text("Saved. It takes effect within seconds.")).to_be_visible()
    expect(page.get_by_role("heading", name="Pulsar", level=1)).to_be_visible()
    saved = site.store.read_customer(site.store.head(), "acme").employees[acme]
    assert (saved.name, saved.model.monthly_budget_usd, saved.skills) == (
        "Pulsar", 35.0, ("web-research",))
    pane.get_by_role("button", name="Pause").click()
    expect(pane.get_by_role("button", name="Resume")).to_be_visible()


def test_a_viewer_reads_everything_and_changes_nothing(
        site, acme, reconciler, visit):  # noqa: F811
    filled(reconciler, acme)
    accounts.ensure(site.instance, "vic@acme.test", PASSWORD, customer="acme", role="viewer")
    vic = visit("vic@acme.test")
    Frames(vic)
    page = vic.page
    vic.go(f"/employees/{acme}#files")
    expect(page.frame_locator("#chat").get_by_text("Good morning!")).to_be_visible()
    page.get_by_role("treeitem", name="plan.csv").locator(".node-row").click()
    expect(page.get_by_text("week,topic")).to_be_visible()
    for name in ("Edit", "Delete", "Rename", "New folder", "New text"):
        expect(page.locator("#pane-files").get_by_role("button", name=name)).to_have_count(0)
    page.get_by_role("tab", name="Lessons").click()
    expect(page.get_by_text("Invoices carry the order number.")).to_be_visible()
    expect(page.get_by_role("button", name="Approve")).to_have_count(0)
    page.get_by_role("tab", name="Settings").click()
    expect(page.get_by_text("A manager of your company can change these.")).to_be_visible()
    expect(page.locator("#pane-settings button")).to_have_count(0)
    assert vic.violations() == []


def test_without_the_reconciler_a_part_says_so_and_offers_a_retry(site, acme, visit):
    ann = visit("ann@acme.test")
    Frames(ann)
    ann.go(f"/employees/{acme}#usage")
    pane = ann.page.locator("#pane-usage")
    expect(pane.get_by_text(re.compile("can.t be reached right now"))).to_be_visible()
    expect(pane.get_by_role("button", name="Try again")).to_be_visible()
    ann.page.get_by_role("tab", name="Files").click()
    expect(ann.page.locator("#pane-files").get_by_role("button", name="Try again")).to_be_visible()
