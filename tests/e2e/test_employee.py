"""The employee at work, as its customer sees it: a real browser, the edge, OpenClaw, LiteLLM, and
a fake model provider that follows a script."""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

from stacks.identity import gateway_address
from state_repo import changes
from state_repo.documents import Sleep
from tests.conftest import docker
from tests.e2e.house import ENGINEER, House, until
from tests.e2e.work import Visitor, chromium, inside, signed_in, tool, working_house
from tests.fake_provider import KEY, FakeProvider
from tools import swap

pytestmark = [pytest.mark.e2e, pytest.mark.employee]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, images: dict[str, str], pulumi: str,
          provider: FakeProvider) -> Iterator[House]:
    with working_house(tmp_path_factory.mktemp("work"), images, provider) as made:
        yield made


@pytest.fixture(scope="module")
def pulse(house: House) -> str:
    return house.hire("acme", "Pulse")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


@pytest.fixture(scope="module")
def ann(house: House, browser: Browser, pulse: str) -> Iterator[Visitor]:
    visitor = signed_in(house, browser)
    visitor.open(pulse)
    yield visitor
    visitor.context.close()


def test_the_chat_answers_inside_our_page(ann, provider):
    ann.say("SAY Good morning", "(scripted) Good morning")
    ann.shot("chat")
    # What our script reads of the page (images/employee/chat): a newer one may call it otherwise.
    assert ann.frame("chat").evaluate("""() => {
        const { state } = document.querySelector('openclaw-chat-pane');
        return [state.connected, state.chatQueue, 'chatRunId' in state, 'chatSending' in state,
                [...document.scripts].some((x) => x.src.endsWith('/unstick.js'))]; }""") == [
        True, [], True, True, True]
    prompt = json.dumps(provider.requests[-1]["messages"])
    assert "You are Pulse" in prompt and "LEARNING-PROTOCOL" in prompt


def test_the_customer_watches_the_browser_and_sees_what_the_agent_opens(ann, house, pulse):
    desk = ann.watching()
    inside(house, pulse, "echo '<body style=\"background:#0a7d38\"><h1>Acme'\"'\"'s page</h1>' "
                         "> /data/workspace/page.html")
    ann.say(tool("browser", action="open", url="http://localhost:6081/workspace/page.html"),
            "The tool said")
    green = """() => {
      const canvas = document.querySelector('#screen canvas');
      const [r, g, b] = canvas.getContext('2d').getImageData(
        canvas.width / 2, canvas.height * 0.8, 1, 1).data;
      return r === 10 && g === 125 && b === 56; }"""
    desk.wait_for_function(green, timeout=20_000)
    ann.shot("browser")


def test_its_screen_is_a_small_picture(ann, house, pulse):
    ann.watching()
    answer = house.api("acme", "GET", f"/customers/acme/employees/{pulse}/thumbnail")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/jpeg")
    picture = Image.open(io.BytesIO(answer.content))
    assert picture.size == (480, 300)
    red, green, blue = picture.convert("RGB").getpixel((240, 240))  # the page that it opened
    assert abs(red - 10) + abs(green - 125) + abs(blue - 56) < 30


_HALF_OPEN = """
import asyncio, aiohttp
async def main():
    async with aiohttp.ClientSession() as session:
        async def greeted(answer):
            async with session.ws_connect("http://127.0.0.1:6080/websockify") as socket:
                said = (await socket.receive(10)).data
                if answer:
                    await socket.send_bytes(b"RFB 003.008\\n")
                    said += (await socket.receive(10)).data
                return said
        for _ in range(12):
            await greeted(False)
        print((await greeted(True)).hex())
asyncio.run(main())
"""


def test_viewers_that_go_in_the_middle_of_a_handshake_lock_nobody_out(house, pulse):
    said = bytes.fromhex(inside(house, pulse, f"PYTHONPATH=/opt/site python3 -c '{_HALF_OPEN}'"))
    assert said == b"RFB 003.008\n" + bytes([1, 1]), "one security type: none"


def test_a_watcher_acts_only_after_taking_over(ann):
    desk = ann.watching()
    desk.locator("#control").click()
    expect(desk.locator("#state")).to_have_text("You have keyboard and mouse", timeout=30_000)
    expect(desk.locator("#control")).to_have_text("Hand back")
    desk.locator("#control").click()
    ann.watching()


def test_what_it_writes_is_seen_by_api(ann, house, pulse):
    ann.say(tool("write", path="notes/plan.md", content="Sell more tea."),
            "Successfully wrote 14 bytes")
    files = f"/customers/acme/employees/{pulse}/files"
    listed = house.api("acme", "GET", f"{files}?path=notes").json()["entries"]
    assert [entry["name"] for entry in listed] == ["plan.md"]
    read = house.api("acme", "GET", f"{files}/content?path=notes/plan.md")
    assert read.text == "Sell more tea." and read.headers["ETag"]


@pytest.mark.long  # with an employee that has no agent each time: tests/stacks, test_loop.py
def test_what_it_has_survives_a_new_container(ann, house, pulse):
    files = f"/customers/acme/employees/{pulse}/files"
    ann.say(tool("write", path="notes/later.md", content="Sell more tea."),
            "Successfully wrote 14 bytes")
    memory = f"/customers/acme/employees/{pulse}/memory"
    assert house.upload("acme", f"{memory}/content?path=MEMORY.md", b"Bo likes tea.").ok
    inside(house, pulse, "echo kept > /data/browser/a-profile")
    before = docker("inspect", "-f", "{{.Id}}", house.instance.container_name(pulse))

    house.iw("retry", pulse)
    until(lambda: docker("inspect", "-f", "{{.Id}}", house.instance.container_name(pulse))
          not in ([], before) and house.status.employee(pulse).health_status == "Healthy",
          "a new container", 90, house)
    assert house.api("acme", "GET", f"{files}/content?path=notes/later.md").text == (
        "Sell more tea.")
    assert house.api("acme", "GET", f"{memory}/content?path=MEMORY.md").text == "Bo likes tea."
    assert inside(house, pulse, "cat /data/browser/a-profile") == "kept"
    ann.open(pulse)
    ann.say("SAY I am back", "(scripted) I am back")


def test_a_stale_edit_and_an_escape_are_refused(house, pulse):
    files = f"/customers/acme/employees/{pulse}/files/content?path="
    made = house.upload("acme", f"{files}a.txt", b"one")
    assert house.upload("acme", f"{files}a.txt", b"two", **{"If-Match": made.headers["ETag"]}).ok
    stale = house.upload("acme", f"{files}a.txt", b"3", **{"If-Match": made.headers["ETag"]})
    assert stale.status_code == 412
    inside(house, pulse, "ln -sf /data/state /data/workspace/door; mkfifo /data/workspace/pipe")
    for path in ("../state/openclaw.json", "/etc/passwd", "door/openclaw.json", "pipe", "a%00b"):
        answer = house.api("acme", "GET", f"{files}{path}")
        assert answer.status_code in (400, 404, 409), (path, answer.text)
        assert "apiKey" not in answer.text
    memory = f"/customers/acme/employees/{pulse}/memory/content?path=a.txt"
    assert house.api("acme", "GET", memory).status_code == 400


def test_company_knowledge_is_searched_by_the_employee(ann, house, pulse):
    text = b"# Prices\n\nThe Kraken package costs 4711 euros a month.\n"
    put = house.upload("acme", "/customers/acme/knowledge/content?name=prices.md", text)
    assert put.status_code == 201 and put.json()["document"]["state"] == "extracted"
    found = house.api("acme", "GET", "/customers/acme/knowledge/search?q=kraken").json()["matches"]
    assert found[0]["document"] == "prices.md" and "4711" in found[0]["excerpt"]
    ann.say(tool("exec", command="knowledge kraken price; head -5 /shared/INDEX.md"), "4711")
    refused = inside(house, pulse, "touch /shared/mine 2>&1 || echo refused")
    assert "refused" in refused
    assert house.api("bolt", "GET", "/customers/bolt/knowledge").json()["documents"] == []
    removed = house.api("acme", "DELETE", "/customers/acme/knowledge/content?name=prices.md")
    assert removed.ok and inside(house, pulse, "ls /shared/text") == ""


def test_a_lesson_reaches_the_team_when_it_is_approved(ann, house, pulse):
    line = json.dumps({"date": "2026-11-01", "lesson": "Invoices carry the order number.",
                       "evidence": "14 of 14 mails."})
    ann.say(tool("write", path="learning/log.jsonl", content=line + "\n"),
            "Successfully wrote 100 bytes")
    path = f"/customers/acme/employees/{pulse}/lessons"
    (noted,) = house.api("acme", "GET", path).json()["lessons"]
    assert (noted["state"], noted["lesson"]) == ("new", "Invoices carry the order number.")
    approved = house.api("acme", "POST", f"{path}/{noted['id']}", {"state": "approved"})
    assert approved.ok, approved.text
    until(lambda: "Invoices carry the order number." in inside(
        house, pulse, "cat /data/workspace/AGENTS.md"), "the lesson in AGENTS.md", 30, house)
    assert house.api("acme", "GET", path).json()["lessons"][0]["state"] == "approved"
    (shown,) = house.api("acme", "GET", "/customers/acme/lessons").json()["lessons"]
    assert shown["evidence"] == "14 of 14 mails."


@pytest.mark.long  # two minutes of patience; by a clock of its own: tests/pages/test_unstick.py
def test_a_message_that_the_page_keeps_is_sent_after_all(ann):
    """The page believes for ever that it is still sending: it goes on queueing. Our script
    loads it anew."""
    ann.idle()
    chat = ann.frame("chat")
    chat.evaluate("""() => { const { state } = document.querySelector('openclaw-chat-pane');
        Object.defineProperty(state, 'chatSending', { get: () => true, set: () => {} }); }""")
    ann.send("SAY Are you there")
    assert chat.evaluate("document.querySelector('openclaw-chat-pane').state.chatQueue.length") == 1
    ann.wait(lambda: "(scripted) Are you there" in ann.frame("chat").locator("body").inner_text(),
             "the kept message's answer")


def test_usage_is_recorded(house, pulse):
    used = until(lambda: house.api("acme", "GET", "/customers/acme/usage").json()["employees"].get(
        pulse), "usage of Pulse", 10)
    assert used["calls"] >= 5 and used["settled_usd"] > 0 and used["tokens"] >= 750


def test_nothing_inside_the_container_holds_the_provider_s_key(house, pulse):
    found = inside(house, pulse, f"grep -rls -e '{KEY[:-1]}[{KEY[-1]}]' /data /shared /tmp /etc "
                                 "/opt/employee /proc/[0-9]*/environ /proc/[0-9]*/cmdline "
                                 "2>/dev/null; true")
    assert found == ""
    host = gateway_address(house.store.read_customer(house.store.head(), "acme").customer.subnet)
    ports = sorted(set(house.instance.ports.values()) | {22, 80, 443})
    probe = ("for p in " + " ".join(map(str, ports)) + "; do timeout 1 bash -c "
             f"'exec 3<>/dev/tcp/{host}/'$p 2>/dev/null && echo $p; done; true")
    assert inside(house, pulse, probe) == str(house.instance.ports["model_proxy"])


_READ_BY_BROWSER = """
import asyncio, aiohttp, json
async def main():
    async with aiohttp.ClientSession() as session:
        async with session.put("http://127.0.0.1:9222/json/new?about:blank") as answer:
            page = json.loads(await answer.text())
        async with session.ws_connect(page["webSocketDebuggerUrl"]) as socket:
            async def call(number, method, **parameters):
                await socket.send_str(json.dumps(
                    {"id": number, "method": method, "params": parameters}))
                while (said := json.loads((await socket.receive(10)).data)).get("id") != number:
                    pass
                return said["result"]
            for path in ("/data/state/openclaw.json", "/data/workspace/seen.txt"):
                await call(1, "Page.navigate", url="file://" + path)
                await asyncio.sleep(1)
                found = await call(2, "Runtime.evaluate", expression="document.body.innerText")
                print(repr(found["result"].get("value", "")[:200]))
asyncio.run(main())
"""


@pytest.mark.long  # on real Landlock each time: tests/employee/test_walls.py
def test_what_the_agent_does_is_kept_from_what_its_gateway_lives_by(ann, house, pulse, provider):
    config = json.loads(inside(house, pulse, "cat /data/state/openclaw.json"))
    secret = config["gateway"]["auth"]["password"]
    ann.open(pulse)
    ann.say(tool("exec", command=(
        "ls /data/state && echo rea''ched; cat /data/state/openclaw.json && echo rea''ched; "
        "for p in /proc/[0-9]*; do ls $p/root/data/state > /dev/null 2>&1 && echo rea''ched; done; "
        "pkill -9 -f '[o]penclaw.mjs' && echo rea''ched; ln -sfn /data/state /data/workspace/way; "
        "cat /data/workspace/way/openclaw.json && echo rea''ched; "
        "echo fine > /data/workspace/seen.txt && cat /shared/INDEX.md > /dev/null; "
        "echo walls-hold-$((40+2))")), "walls-hold-42")
    assert "reached" not in ann.frame("chat").locator("body").inner_text()
    # Without the page: what is tried is the gateway's own tools.
    for path in ("/data/state/openclaw.json", "/data/workspace/way/openclaw.json",
                 "/proc/self/root/data/state/openclaw.json", "/proc/self/environ"):
        before = len(provider.requests)
        house.ask(pulse, tool("read", path=path))
        said = json.dumps(provider.requests[before:])
        assert "escapes sandbox root" in said, said[-600:]
        assert secret not in said and "OPENCLAW_STATE_DIR" not in said
    house.ask(pulse, tool("write", path="/data/state/openclaw.json", content="{}"))
    assert json.loads(inside(house, pulse, "cat /data/state/openclaw.json"))["gateway"] == (
        config["gateway"])
    seen = docker("exec", house.instance.container_name(pulse), "env", "PYTHONPATH=/opt/site",
                  "python3", "-c", _READ_BY_BROWSER)
    assert "'fine" in " ".join(seen) and secret not in " ".join(seen)


def test_another_customer_gets_nothing(house, browser, pulse):
    bob = signed_in(house, browser, "bolt")
    page = bob.page.goto(f"{house.instance.app_url}/employees/{pulse}")
    assert page is not None and page.status == 404
    for host in (house.instance.chat_host(pulse), house.instance.browser_host(pulse)):
        assert bob.page.goto(house.instance.url(host)).status == 401
    for path in ("files", "files/content?path=notes/plan.md", "memory", "lessons"):
        assert house.api("bolt", "GET", f"/customers/acme/employees/{pulse}/{path}"
                         ).status_code == 404
        assert house.api("bolt", "GET", f"/customers/bolt/employees/{pulse}/{path}"
                         ).status_code == 404
    bob.context.close()


@pytest.mark.long  # without an agent each time: tests/pages/test_workspace.py
def test_a_phone_shows_one_pane_at_a_time(house, browser, pulse):
    phone = signed_in(house, browser, viewport={"width": 390, "height": 780})
    phone.open(pulse)
    phone.frame("chat").locator("textarea").first.wait_for(timeout=30_000)
    phone.shot("phone-chat")
    phone.page.get_by_role("tab", name="Browser").click()
    expect(phone.page.locator("#pane-chat")).to_be_hidden()
    phone.watching()
    phone.shot("phone-browser")
    phone.context.close()


def test_signing_out_closes_what_is_open(house, browser, pulse):
    visitor = signed_in(house, browser)
    visitor.open(pulse)
    desk = visitor.watching()
    visitor.page.evaluate("""async () => {
      const session = await (await fetch('/api/v1/session')).json();
      await fetch('/api/v1/session', {
        method: 'DELETE', headers: {'X-CSRF-Token': session.csrf_token}}); }""")
    try:
        expect(desk.locator("#state")).to_contain_text("The connection was lost", timeout=15_000)
    finally:
        visitor.context.close()


# ---- nothing that was said is lost --------------------------------------------------------------

WORDS = [f"word{n}" for n in range(40)]


@pytest.fixture
def slowly(provider) -> Iterator[None]:
    """A model that takes about 40 seconds for WORDS."""
    provider.pause_s = 1.0
    yield
    provider.pause_s = 0.0


@pytest.mark.long
def test_a_reply_ends_before_its_employee_is_replaced(ann, house, pulse, slowly):
    ann.open(pulse)
    name = house.instance.container_name(pulse)
    before = docker("inspect", "-f", "{{.Id}}", name)
    frame, _ = ann.send("SAY " + " ".join(WORDS))
    # After the last one: what was said before stands there too.
    ann.wait(lambda: WORDS[2] in frame.locator("body").inner_text().rpartition("(scripted)")[2]
             and WORDS[39] not in frame.locator("body").inner_text().rpartition("(scripted)")[2],
             "the beginning of the reply", 60)
    told = len(house.events("Finishing"))
    house.iw("retry", pulse, "--no-wait")
    until(lambda: docker("inspect", "-f", "{{.Id}}", name) not in ([], before),
          "a new container", 120, house)
    assert len(house.events("Finishing")) == told + 1
    ann.page.wait_for_timeout(1000)
    frame = ann.frame("chat")
    ann.wait(lambda: f"(scripted) {' '.join(WORDS)}" in " ".join(
        frame.locator("body").inner_text().split()), "the whole reply", 90)


@pytest.mark.long
def test_what_is_said_while_it_is_replaced_is_answered_once(ann, house, pulse):
    ann.open(pulse)
    ann.say("SAY I am here", "(scripted) I am here")
    ann.idle()
    name = house.instance.container_name(pulse)
    before = docker("inspect", "-f", "{{.Id}}", name)
    house.iw("retry", pulse, "--no-wait")
    until(lambda: docker("inspect", "-f", "{{.Id}}", name) != before, "the old one gone", 60, house)
    ann.say("SAY in between", "(scripted) in between")
    ann.idle()
    assert ann.frame("chat").locator("body").inner_text().count("(scripted) in between") == 1


@pytest.mark.long
def test_a_new_key_lets_the_work_end_that_was_begun_with_the_old_one(ann, house, pulse):
    ann.open(pulse)
    steps = [("exec", {"command": f"sleep 3; echo step {n}"}) for n in range(4)]
    before = json.loads(inside(house, pulse, "cat /data/state/openclaw.json"))
    frame, shown = ann.send(f"WORK {json.dumps(steps)}", "The work is done: step 3")
    ann.page.wait_for_timeout(4000)
    changes.rotate_key(house.store, ENGINEER, "acme", pulse)
    ann.wait(lambda: frame.locator("body").inner_text().count("The work is done: step 3") > shown,
             "the end of the work", 120)
    key = before["models"]["providers"]["litellm"]["apiKey"]
    keys = house.instance.data / "config" / "model_proxy" / "keys"
    until(lambda: not (keys / f"{hashlib.sha256(key.encode()).hexdigest()}.json").exists(),
          "the old key revoked", 60, house)
    ann.say("SAY with a new key", "(scripted) with a new key")


@pytest.fixture
def memory_to_sleep_in() -> Iterator[None]:
    """Swap: this machine's, or one of the test's."""
    made = None if swap.exists() else swap.make("6G")
    yield
    if made is not None:
        swap.remove(made)


def test_asleep_it_wakes_on_a_visit(ann, house, pulse, memory_to_sleep_in):
    sleep_and_wake(ann, house, pulse)


@pytest.mark.long
def test_without_swap_it_is_stopped_and_wakes_on_a_visit(ann, house, pulse):
    if swap.exists():
        pytest.skip("this machine has swap")
    sleep_and_wake(ann, house, pulse)


def sleep_and_wake(ann: Visitor, house: House, pulse: str) -> None:
    name = house.instance.container_name(pulse)
    ann.page.goto(f"{house.instance.app_url}/")  # nobody watches any more
    changes.set_platform(house.store, ENGINEER, "Sleep soon", lambda p: replace(
        p, sleep=Sleep(after_minutes=0.1)))
    until(lambda: house.status.employee(pulse).asleep_since, "Pulse asleep", 200, house)
    down = ["paused" if swap.exists() else "exited"]  # it is on the record before it is so
    until(lambda: docker("inspect", "-f", "{{.State.Status}}", name) == down, str(down), 60, house)
    ill = len(house.events("Degraded"))
    changes.set_platform(house.store, ENGINEER, "Sleep late", lambda p: replace(
        p, sleep=Sleep(after_minutes=60)))
    until(house.is_synced, "it sleeps, and that is as wanted", 30, house)
    ann.open(pulse)
    ann.say("SAY Good evening", "(scripted) Good evening")
    assert house.status.employee(pulse).asleep_since is None
    assert len(house.events("Degraded")) == ill, "to wake is not an illness"


@pytest.mark.long
def test_a_blank_is_hired_in_no_time_and_has_no_past(house, browser, provider):
    changes.set_platform(house.store, ENGINEER, "Warm", lambda p: replace(p, warm_per_customer=1))
    changes.set_seats(house.store, ENGINEER, "bolt", 3)
    blank = until(lambda: next((e for e in house.status.employees("bolt")
                                if e.desired_state == "warm" and e.health_status == "Healthy"),
                               None), "a warm blank", 120, house)
    asked = len(provider.requests)
    began = time.monotonic()
    hired = house.hire("bolt", "Quill")
    seconds = time.monotonic() - began
    assert hired == blank.id
    assert house.status.employee(hired).container_id == blank.container_id
    print(f"claimed and ready in {seconds:.1f} s")
    bob = signed_in(house, browser, "bolt")
    bob.open(hired)
    bob.say("SAY Quill here", "(scripted) Quill here")
    assert len(provider.requests) > asked, "the real model answers, not the stand-in"
    said = bob.frame("chat").locator("body").inner_text()
    assert "demo model" not in said and "Hello" not in said
    bob.context.close()


def test_a_retired_employee_s_key_opens_nothing(house, pulse):
    config = json.loads(inside(house, pulse, "cat /data/state/openclaw.json"))
    key = config["models"]["providers"]["litellm"]["apiKey"]
    keys = house.instance.data / "config" / "model_proxy" / "keys"
    known = {path.name for path in keys.iterdir()}
    assert f"{hashlib.sha256(key.encode()).hexdigest()}.json" in known
    house.iw("retire", pulse, "--yes")
    until(lambda: f"{hashlib.sha256(key.encode()).hexdigest()}.json" not in {
        path.name for path in keys.iterdir()}, "the key revoked", 30, house)
