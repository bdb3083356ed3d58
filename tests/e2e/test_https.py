"""The same flow in https, as on a domain of one's own, with the certificate authority that Caddy
makes: cookies, sockets and frames have other rules there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Error, expect

from tests.e2e.house import House
from tests.e2e.work import chromium, chromium_options, inside, signed_in, tool, working_house
from tests.fake_provider import FakeProvider

pytestmark = [pytest.mark.e2e, pytest.mark.employee, pytest.mark.long]
DOMAIN = "iw.test"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, images: dict[str, str], pulumi: str,
          provider: FakeProvider) -> Iterator[House]:
    with working_house(tmp_path_factory.mktemp("https"), images, provider, DOMAIN) as made:
        yield made


@pytest.fixture(scope="module")
def pulse(house: House) -> str:
    return house.hire("acme", "Pulse")


@pytest.fixture(scope="module")
def browser(house: House) -> Iterator[Browser]:
    # The edge shows its own certificate and the authority's that signed it, not the root.
    signer = house.instance.data / "data/edge/caddy/pki/authorities/local/intermediate.crt"
    with chromium(DOMAIN, signer.read_text()) as made:
        yield made


def test_chat_and_browser_work_in_https(house, browser, pulse):
    assert house.instance.app_url.startswith("https://app.iw.test:")
    visitor = signed_in(house, browser)
    visitor.open(pulse)
    visitor.say("SAY Good morning", "(scripted) Good morning")
    visitor.watching()
    inside(house, pulse, "echo '<title>Ours</title>' > /data/workspace/page.html")
    visitor.say(tool("browser", action="open", url="http://localhost:6081/workspace/page.html"),
                "The tool said")
    desk = visitor.watching()
    desk.locator("#control").click()
    expect(desk.locator("#state")).to_have_text("You have keyboard and mouse", timeout=30_000)
    visitor.shot("https")
    cookies = {cookie["name"]: cookie for cookie in visitor.context.cookies()}
    assert {"__Host-iw_session", "__Host-iw_edge"} <= set(cookies)
    assert all(cookies[name]["secure"] and cookies[name]["httpOnly"]
               for name in ("__Host-iw_session", "__Host-iw_edge"))
    visitor.context.close()


def test_a_browser_that_does_not_know_the_authority_is_not_let_through(house, browser):
    stranger = browser.browser_type.launch(**chromium_options(DOMAIN))
    with pytest.raises(Error, match="ERR_CERT_AUTHORITY_INVALID"):
        stranger.new_page().goto(house.instance.app_url)
    stranger.close()
