"""The Knowledge page, with a fake reconciler behind it."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.pages.conftest import ONE_LOOK, PASSWORD, PHONE
from webapp import accounts

PRICES = b"Package,Price\nKraken,49 EUR\nFin,9 EUR\n"


def files(*named: tuple[str, bytes]) -> list[dict]:
    return [{"name": name, "mimeType": "text/plain", "buffer": data} for name, data in named]


def choose(page, *named: tuple[str, bytes]) -> None:
    page.locator("#files").set_input_files(files(*named))


@pytest.fixture
def ann(site, visit, reconciler):
    site.customer("acme")
    made = visit("ann@acme.test")
    made.go("/knowledge")
    return made


@ONE_LOOK
def test_it_is_accessible_and_fits(site, visit, reconciler, viewport, scheme):
    site.customer("acme")
    ann = visit("ann@acme.test", viewport=viewport, color_scheme=scheme)
    shape = f"{scheme}-{'phone' if viewport is PHONE else 'desktop'}"
    ann.go("/knowledge")
    expect(ann.page.get_by_role("heading", name="Nothing to look up yet")).to_be_visible()
    assert ann.violations() == []
    ann.shot(f"knowledge-empty-{shape}")
    choose(ann.page, ("prices.csv", PRICES), ("scan.pdf", b"not one"), ("table.xlsx", b"x"),
           ("A rather long name of the handbook for people at the front desk.md", b"# Hours\n"))
    expect(ann.page.get_by_role("row")).to_have_count(4)
    expect(ann.page.get_by_text("Employees can’t read .xlsx files.")).to_be_visible()
    assert ann.violations() == []
    assert ann.page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    ann.shot(f"knowledge-{shape}", full=True)
    ann.page.get_by_label("Search in all documents").fill("kraken hours")
    expect(ann.page.locator("mark")).to_have_text(["Hours", "Kraken"])
    expect(ann.page.locator("#matches")).to_contain_text("No document holds all of these words")
    expect(ann.page.locator(".excerpts li").first).to_have_text("Page 12 # Hours")
    assert ann.violations() == []
    ann.shot(f"knowledge-search-{shape}")


def test_a_document_is_uploaded_read_downloaded_and_removed(ann, reconciler):
    page = ann.page
    choose(page, ("prices.csv", PRICES))
    row = page.get_by_role("row").filter(has_text="prices.csv")
    expect(row).to_contain_text("Yes")
    expect(row).to_contain_text("by ann@acme.test")
    expect(page.locator("#left")).to_contain_text("left")
    row.get_by_role("button", name="Show the text").click()
    expect(page.get_by_label("The document’s text")).to_contain_text("Kraken,49 EUR")
    page.keyboard.press("Escape")
    with page.expect_download() as download:
        row.get_by_role("link", name="Download").click()
    assert download.value.path().read_bytes() == PRICES
    row.get_by_role("button", name="Remove").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    assert "prices.csv" in reconciler.documents["acme"]
    row.get_by_role("button", name="Remove").click()
    expect(page.get_by_role("dialog")).to_contain_text("can’t be undone")
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(page.get_by_role("heading", name="Nothing to look up yet")).to_be_visible()
    assert reconciler.documents["acme"] == {}


def test_a_document_that_was_replaced_comes_back(ann, reconciler):
    page = ann.page
    choose(page, ("prices.csv", PRICES))
    row = page.get_by_role("row").filter(has_text="prices.csv")
    expect(row).to_contain_text("Yes")
    assert row.get_by_role("button", name="earlier version").count() == 0
    choose(page, ("prices.csv", b"Package,Price\nKraken,59 EUR\n"))
    page.get_by_role("button", name="Replace it").click()
    row.get_by_role("button", name="1 earlier version of prices.csv").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("listitem")).to_have_count(1)
    expect(dialog.get_by_role("listitem")).to_contain_text("by ann@acme.test")
    ann.shot("knowledge-versions")
    assert ann.violations() == []
    with page.expect_download() as download:
        dialog.get_by_role("link", name="Download").click()
    assert download.value.path().read_bytes() == PRICES
    dialog.get_by_role("button", name="Bring back").click()
    expect(page.get_by_text("is again what it was")).to_be_visible()
    assert reconciler.documents["acme"]["prices.csv"]["data"] == PRICES
    expect(row.get_by_role("button", name="2 earlier versions of prices.csv")).to_be_visible()


def test_a_web_page_is_added_and_fetched_again(ann, reconciler):
    page = ann.page
    field = page.get_by_label("Address of a web page")
    field.fill("example.com/nowhere")
    field.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("it answers 404")
    expect(field).to_have_value("example.com/nowhere")
    ann.shot("knowledge-web-page")
    assert ann.violations() == []
    field.fill("https://example.com/prices")
    reconciler.go_on.clear()
    page.get_by_role("button", name="Add this web page").click()
    expect(page.get_by_role("button", name="Add this web page")).to_be_disabled()
    expect(page.locator("#uploads-status")).to_have_text("The page is being fetched…")
    reconciler.go_on.set()
    row = page.get_by_role("row").filter(has_text="example.com-prices.html")
    expect(row.get_by_role("link", name="https://example.com/prices")).to_be_visible()
    expect(field).to_have_value("")
    expect(page.locator("#web-page-wrong")).to_have_text("")
    # The words of the first time may still be there when the button is pressed.
    with page.expect_response(lambda answer: answer.request.method == "POST"):
        row.get_by_role("button", name="Fetch again example.com-prices.html").click()
    expect(page.get_by_text("example.com-prices.html was fetched.").last).to_be_visible()
    asked = [call for call in reconciler.calls if call.endswith("/knowledge/page")]
    assert len(asked) == 3 and ann.violations() == []


def test_documents_are_dropped_and_the_unreadable_say_why(ann, reconciler):
    page = ann.page
    data = page.evaluate_handle("""() => {
      const data = new DataTransfer();
      data.items.add(new File(["Hours: 9 to 17"], "hours.txt"));
      data.items.add(new File(["no pdf"], "scan.pdf"));
      data.items.add(new File([], "folder.md"));
      return data; }""")
    page.locator("#zone").dispatch_event("drop", {"dataTransfer": data})
    expect(page.locator("#documents tr")).to_have_count(2)
    expect(page.locator("#documents tr", has_text="scan.pdf")).to_contain_text("It is damaged")
    expect(page.locator("#uploads")).to_contain_text("It is empty.")


def test_a_guessed_encoding_says_so_and_is_set_right(ann, reconciler):
    reconciler.put("acme", "prix.txt", "Prix à l'œuvre".encode("cp1252"))
    reconciler.documents["acme"]["prix.txt"]["left_out"] = ["Page 2 has no text; it may be a scan."]
    ann.go("/knowledge")
    row = ann.page.locator("#documents tr", has_text="prix.txt")
    expect(row).to_contain_text("Its encoding was guessed: koi8-r")
    expect(row).to_contain_text("Page 2 has no text; it may be a scan.")
    assert ann.violations() == []
    ann.shot("knowledge-guessed")
    row.get_by_label("Encoding of prix.txt").select_option("Windows, Western Europe")
    expect(ann.page.get_by_text("prix.txt was read again.")).to_be_visible()
    expect(row).not_to_contain_text("guessed")
    assert reconciler.documents["acme"]["prix.txt"]["said_encoding"] == "cp1252"
    expect(row.get_by_label("Encoding of prix.txt")).to_have_value("cp1252")


def test_a_name_that_is_there_asks_first(ann, reconciler):
    reconciler.put("acme", "prices.csv", b"old")
    ann.go("/knowledge")
    expect(ann.page.locator("#documents tr")).to_have_count(1)
    choose(ann.page, ("prices.csv", PRICES))
    ann.page.get_by_role("button", name="Keep the old one").click()
    assert reconciler.documents["acme"]["prices.csv"]["data"] == b"old"
    choose(ann.page, ("prices.csv", PRICES))
    ann.page.get_by_role("button", name="Replace it").click()
    expect(ann.page.locator("#uploads")).to_contain_text("Every employee can read it now.")
    assert reconciler.documents["acme"]["prices.csv"]["data"] == PRICES


def test_a_lost_network_ends_nothing(ann, reconciler):
    expect(ann.page.get_by_role("heading", name="Nothing to look up yet")).to_be_visible()
    ann.context.set_offline(True)
    choose(ann.page, ("prices.csv", PRICES))
    expect(ann.page.locator("#uploads")).to_contain_text("The connection was lost")
    ann.context.set_offline(False)
    expect(ann.page.locator("#uploads")).to_contain_text("Every employee can read it now.")


def test_the_queue_can_be_cancelled_and_taken_up_again(ann, reconciler):
    expect(ann.page.get_by_role("heading", name="Nothing to look up yet")).to_be_visible()
    reconciler.pause_s = 1.0
    choose(ann.page, ("one.txt", b"1"), ("two.txt", b"2"))
    uploads = ann.page.locator("#uploads > li")
    expect(uploads.first).to_contain_text("Its text is being read")
    uploads.nth(1).get_by_role("button", name="Cancel").click()
    expect(uploads.nth(1)).to_contain_text("Cancelled")
    expect(uploads.first).to_contain_text("Every employee can read it now.")
    assert set(reconciler.documents["acme"]) == {"one.txt"}
    uploads.nth(1).get_by_role("button", name="Retry").click()
    expect(uploads.nth(1)).to_contain_text("Every employee can read it now.")


def test_limits_say_what_to_do(ann, reconciler):
    reconciler.max_bytes, reconciler.max_document_bytes = 1000, 900
    ann.go("/knowledge")
    expect(ann.page.get_by_role("heading", name="Nothing to look up yet")).to_be_visible()
    choose(ann.page, ("big.txt", b"x" * 901), ("a.txt", b"x" * 600), ("b.txt", b"x" * 600))
    expect(ann.page.locator("#uploads > li").first).to_contain_text("It is larger than")
    expect(ann.page.locator("#uploads > li").nth(2)).to_contain_text("Remove documents that nobody")
    expect(ann.page.locator("#left")).to_contain_text("400 byte")


def test_a_reconciler_that_is_away_is_waited_for(ann, reconciler):
    reconciler.fail_with = (503, "reconciler_away", "It restarts.")
    ann.go("/knowledge")
    expect(ann.page.get_by_text("It restarts. Trying again in")).to_be_visible()
    reconciler.fail_with = None
    expect(ann.page.get_by_role("heading", name="Nothing to look up yet")).to_be_visible()


def test_who_only_reads_can_look_and_change_nothing(site, visit, reconciler):
    site.customer("acme")
    accounts.ensure(site.instance, "vic@acme.test", PASSWORD, customer="acme", role="viewer")
    reconciler.put("acme", "prices.csv", PRICES, "ann@acme.test")
    vic = visit("vic@acme.test")
    vic.go("/knowledge")
    expect(vic.page.get_by_role("link", name="Download prices.csv")).to_be_visible()
    expect(vic.page.locator("#zone")).to_have_count(0)
    expect(vic.page.get_by_role("button", name="Remove")).to_have_count(0)


def test_a_folder_is_dropped_with_all_that_is_in_it(ann, reconciler):
    """Browsers give a dropped folder as entries: a tree of them, by hand."""
    ann.page.evaluate("""() => {
      const file = (name, text) => ({ name, isFile: true, isDirectory: false,
        file: (ok, no) => text === null ? no(new Error("gone")) : ok(new File([text], name)) });
      const folder = (name, ...inner) => ({ name, isFile: false, isDirectory: true,
        createReader: () => {
          const left = [...inner];
          return { readEntries: (ok) => ok(left.splice(0, 2)) };
        } });
      const entries = [
        folder("shop", file("hours.txt", "9 to 17"), folder("deep", file("prices.csv", "a,1")),
          file(".DS_Store", "x"), file("lost.txt", null)),
        file("plain.md", "# Plain")];
      const event = new Event("drop", { bubbles: true, cancelable: true });
      const items = entries.map((entry) => ({ webkitGetAsEntry: () => entry }));
      event.dataTransfer = { files: [], items };
      document.getElementById("zone").dispatchEvent(event);
    }""")
    expect(ann.page.get_by_role("row")).to_have_count(4)
    assert set(reconciler.documents["acme"]) == {"hours.txt", "prices.csv", "plain.md"}
    expect(ann.page.locator(".upload").filter(has_text="lost.txt")).to_contain_text("It is empty.")


def test_a_long_document_tells_how_far_it_is_read(ann, reconciler):
    reconciler.go_on.clear()
    reconciler.page = [12, 300]
    choose(ann.page, ("handbook.md", b"# Hours"))
    upload = ann.page.locator(".upload").filter(has_text="handbook.md")
    expect(upload).to_contain_text("Page 12 of 300 is being read…")
    expect(ann.page.get_by_role("row").filter(has_text="handbook.md")).to_contain_text(
        "Page 12 of 300 is being read…")
    reconciler.go_on.set()
    expect(upload).to_contain_text("Every employee can read it now.")
