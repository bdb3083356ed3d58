"""Sign-up, sign-in, recovery, invitations and settings, as a person does them."""

from __future__ import annotations

import re
import zipfile

import pyotp
import pytest
from playwright.sync_api import expect

from tests.pages.conftest import ONE_LOOK, PASSWORD, PHONE, SIZES
from webapp import mail

GOOD = "purple kettle orbit"


class Post:
    """Takes the mails, as if there was a mail server."""

    def __init__(self, site) -> None:
        self._app, self.sent = site.app, []
        self.url, self.sender = "smtp://nowhere.invalid", "InstantWorker <no-reply@iw.test>"
        site.app.extensions["iw_mail"] = self
        site.app.config["LOCAL"] = False

    def send(self, message) -> None:
        self.sent.append(message)

    def link(self) -> str:
        self.sent.clear()
        mail.deliver_due(self._app)
        return re.search(r"https?://[^/\s]+(/\S+\?key=\S+)", self.sent[-1].get_content())[1]


@pytest.fixture
def post(site) -> Post:
    return Post(site)


def fine(visitor, name: str, viewport) -> None:
    """The page has no serious fault, fits, and is pictured."""
    assert visitor.violations() == []
    wide = visitor.page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0, f"{name} scrolls sideways by {wide} px"
    visitor.shot(f"people-{name}-{'phone' if viewport is PHONE else 'desktop'}", full=True)


def fill(page, **fields: str) -> None:
    for label, value in fields.items():
        page.get_by_label(label.replace("_", " "), exact=True).fill(value)


@SIZES
def test_from_the_form_to_the_company(site, visit, post, viewport):
    carl = visit(viewport=viewport, color_scheme="dark" if viewport is PHONE else "light")
    page = carl.page
    carl.go("/sign-up?email=carl@cube.test&plan=team")
    expect(page.get_by_label("E-mail")).to_have_value("carl@cube.test")
    fill(page, Company="Cube & Sons", Your_name="Carl", Password="password123")
    page.get_by_text("one of the first that anybody would try").wait_for()
    fine(carl, "sign-up-weak", viewport)
    page.get_by_role("button", name="Start").click()
    page.get_by_text("fields that are marked").wait_for()
    expect(page.get_by_label("Company")).to_have_value("Cube & Sons")
    page.get_by_label("Password").fill(GOOD)
    page.get_by_text("Strong.").wait_for()
    fine(carl, "sign-up", viewport)
    page.get_by_role("button", name="Start").click()
    page.get_by_role("heading", name="Check your mail").wait_for()
    fine(carl, "check-mail", viewport)
    carl.go(post.link())
    page.get_by_role("heading", name="Welcome, Cube & Sons").wait_for()
    fine(carl, "confirm", viewport)
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "/sign-up" not in url)
    carl.go("/settings")
    expect(page.get_by_label("Company’s name")).to_have_value("Cube & Sons")
    with site.app.app_context():
        from webapp import accounts
        assert accounts.find("carl@cube.test").time_zone != ""


@SIZES
def test_on_ones_own_machine_it_goes_straight_on(site, visit, viewport):
    carl = visit(viewport=viewport)
    carl.go("/sign-up")
    fill(carl.page, Company="Cube", Your_name="Carl")
    carl.page.get_by_label("E-mail").fill("carl@cube.test")
    carl.page.get_by_label("Password").fill(GOOD)
    carl.page.get_by_role("button", name="Start").click()
    carl.page.wait_for_url(lambda url: "/sign-up" not in url)
    carl.go("/settings/people")
    carl.page.get_by_text("Confirm your e-mail address").wait_for()
    fine(carl, "unverified", viewport)


@SIZES
def test_a_forgotten_password(site, visit, post, viewport):
    site.customer("acme")
    ann = visit(viewport=viewport)
    ann.go("/sign-in?next=/settings/tokens")
    fine(ann, "sign-in", viewport)
    ann.page.get_by_role("link", name="Forgot your password?").click()
    ann.page.get_by_label("E-mail").fill("ann@acme.test")
    fine(ann, "forgot", viewport)
    ann.page.keyboard.press("Enter")
    ann.page.get_by_text("If ann@acme.test has an account").wait_for()
    ann.go(post.link())
    ann.page.get_by_label("New password").fill(GOOD)
    ann.page.get_by_text("Strong.").wait_for()
    fine(ann, "reset", viewport)
    ann.page.get_by_role("button", name="Set the password").click()
    ann.page.get_by_text("Your new password is set").wait_for()
    ann.sign_in("ann@acme.test", GOOD)
    ann.page.get_by_role("heading", name="Acme").first.wait_for()


@SIZES
def test_the_second_step(site, visit, viewport):
    site.customer("acme")
    ann = visit("ann@acme.test", viewport=viewport)
    page = ann.page
    ann.go("/settings/security")
    fine(ann, "security", viewport)
    page.get_by_role("link", name="Set it up").click()
    secret = page.locator("code.key").inner_text().replace(" ", "")
    fine(ann, "factor", viewport)
    page.get_by_label("The six digits").fill(pyotp.TOTP(secret).now())
    page.get_by_label("Your password").fill(PASSWORD)
    page.get_by_role("button", name="Turn it on").click()
    codes = page.locator("#codes code")
    codes.first.wait_for()
    recovery = codes.first.inner_text()
    fine(ann, "codes", viewport)
    page.get_by_role("link", name="I kept them").click()
    page.get_by_text("10 recovery codes are left").wait_for()

    later = visit(viewport=viewport)
    later.go("/sign-in?next=/settings/security")
    fill(later.page, Password=PASSWORD)
    later.page.get_by_label("E-mail").fill("ann@acme.test")
    later.page.keyboard.press("Enter")
    later.page.get_by_role("heading", name="Your code").wait_for()
    fine(later, "sign-in-code", viewport)
    later.page.keyboard.type("123456")
    later.page.keyboard.press("Enter")
    later.page.get_by_text("This code is not right").wait_for()
    later.page.get_by_label("Six digits").fill(recovery)
    later.page.keyboard.press("Enter")
    later.page.get_by_text("9 recovery codes are left").wait_for()
    assert later.page.url.endswith("/settings/security")
    later.page.get_by_role("button", name="Turn off").click()
    later.page.get_by_label("Your password").locator("visible=true").fill(PASSWORD)
    later.page.keyboard.press("Enter")
    later.page.get_by_text("The second step is off").wait_for()
    page.reload()
    page.get_by_role("heading", name="Sign in").wait_for()


@SIZES
def test_inviting_joining_and_removing(site, visit, post, viewport):
    site.customer("acme")
    ann = visit("ann@acme.test", viewport=viewport, color_scheme="dark")
    page = ann.page
    ann.go("/settings/people")
    page.get_by_text("You are here alone").wait_for()
    page.get_by_label("E-mail").fill("ben@acme.test")
    page.get_by_label("Role", exact=True).select_option("viewer")
    page.get_by_role("button", name="Invite").click()
    page.get_by_text("The invitation is on its way").wait_for()
    fine(ann, "invited", viewport)

    ben = visit(viewport=viewport)
    ben.go(post.link())
    ben.page.get_by_role("heading", name="Join Acme").wait_for()
    fill(ben.page, Your_name="Ben", Password=GOOD)
    ben.page.get_by_text("Strong.").wait_for()
    fine(ben, "join", viewport)
    ben.page.get_by_role("button", name="Join").click()
    ben.page.wait_for_url(lambda url: "/join" not in url)
    ben.go("/settings/people")
    ben.page.get_by_text("ann@acme.test").wait_for()
    expect(ben.page.get_by_role("button", name="Invite")).to_have_count(0)
    fine(ben, "members-as-viewer", viewport)

    page.reload()
    page.get_by_label("Role of Ben").select_option("manager")
    page.get_by_role("button", name="Change the role of Ben").click()
    page.get_by_role("dialog").get_by_role("button", name="Change").click()
    page.get_by_text("The role is changed").wait_for()
    ben.page.reload()
    ben.page.get_by_role("heading", name="Sign in").wait_for()
    ben.sign_in("ben@acme.test", GOOD)
    page.get_by_role("button", name="Remove Ben").click()
    page.get_by_role("dialog").wait_for()
    ann.shot(f"people-remove-{'phone' if viewport is PHONE else 'desktop'}")
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    page.get_by_text("They are out").wait_for()
    ben.go("/settings/people")
    ben.page.get_by_role("heading", name="Sign in").wait_for()


@SIZES
def test_sessions(site, visit, viewport):
    site.customer("acme")
    ann, elsewhere = visit("ann@acme.test", viewport=viewport), visit("ann@acme.test")
    ann.go("/settings/security")
    ann.page.get_by_text("This one").wait_for()
    ann.page.get_by_role("button", name="End the session").click()
    ann.page.get_by_text("That session ended").wait_for()
    elsewhere.go("/settings")
    elsewhere.page.get_by_role("heading", name="Sign in").wait_for()
    ann.page.get_by_role("button", name="Sign out everywhere").click()
    ann.page.get_by_role("dialog").get_by_role("button", name="Sign out everywhere").click()
    ann.page.get_by_text("You are signed out everywhere").wait_for()


@SIZES
def test_tokens(site, visit, viewport):
    site.customer("acme")
    ann = visit("ann@acme.test", viewport=viewport)
    page = ann.page
    ann.go("/settings/tokens")
    page.get_by_text("No tokens yet").wait_for()
    page.get_by_label("What is it for?").fill("Reports")
    page.get_by_role("button", name="Make the token").click()
    secret = page.locator("#secret").inner_text()
    fine(ann, "tokens", viewport)
    answer = site.app.test_client().get("/api/v1/session",
                                        headers={"Authorization": f"Bearer {secret}"})
    assert answer.json["account"]["email"] == "ann@acme.test"
    page.get_by_role("button", name="Revoke Reports").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    page.get_by_text("No tokens yet").wait_for()


@ONE_LOOK
def test_company_notifications_and_data(site, visit, viewport, scheme):
    site.customer("acme")
    ann = visit("ann@acme.test", viewport=viewport, color_scheme=scheme)
    page = ann.page
    ann.go("/settings")
    page.get_by_label("Company’s name").fill("Acme Rockets")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("The new name is saved").wait_for()
    fine(ann, f"company-{scheme}", viewport)
    ann.go("/settings/notifications")
    page.get_by_label("A budget is nearly spent").uncheck()
    page.get_by_role("button", name="Save").click()
    page.get_by_text("Saved.").wait_for()
    expect(page.get_by_label("A budget is nearly spent")).not_to_be_checked()
    fine(ann, f"notifications-{scheme}", viewport)
    ann.go("/settings/data")
    fine(ann, f"data-{scheme}", viewport)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download everything").click()
    assert "company.yaml" in zipfile.ZipFile(download.value.path()).namelist()
    page.get_by_role("button", name="Delete…").click()
    page.get_by_label("Type Acme Rockets to confirm").fill("Acme Rockets")
    page.get_by_label("Your password").fill(PASSWORD)
    ann.shot(f"people-delete-{scheme}-{'phone' if viewport is PHONE else 'desktop'}")
    page.get_by_role("button", name="Delete Acme Rockets").click()
    page.get_by_text("It is asked for").wait_for()
    fine(ann, f"closing-{scheme}", viewport)
    page.get_by_role("button", name="Keep Acme Rockets").first.click()
    page.get_by_text("Nothing is deleted").wait_for()


def test_settings_by_keyboard_alone(site, visit):
    site.customer("acme")
    ann = visit("ann@acme.test")
    ann.go("/settings")
    for _ in range(30):
        ann.page.keyboard.press("Tab")
        if ann.page.evaluate("document.activeElement.textContent.trim()") == "API tokens":
            break
    ann.page.keyboard.press("Enter")
    ann.page.wait_for_url("**/settings/tokens")
    for _ in range(40):
        ann.page.keyboard.press("Tab")
        if ann.page.evaluate("document.activeElement.name") == "name":
            break
    ann.page.keyboard.type("By hand")
    ann.page.keyboard.press("Enter")
    ann.page.locator("#secret").wait_for()
