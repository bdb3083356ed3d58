"""The operator's page is for engineers; the status page for everybody, and names nobody."""

from __future__ import annotations

import pytest

from tests.pages.fake_reconciler import FakeReconciler
from webapp.operations import tone


@pytest.fixture
def reconciler(house):
    made = FakeReconciler(house.app.config["INSTANCE"].socket)
    yield made
    made.close()


def test_only_engineers_see_operations(house):
    for path in ("/operations", "/operations/log", "/operations/-/now", "/operations/-/charts"):
        assert house.client("ann@acme.test").get(path).status_code == 403
        assert house.client().get(path).status_code in (302, 401)


def test_without_a_reconciler_the_page_says_so_and_is_there(house):
    page = house.client("eng@iw.test").get("/operations")
    assert page.status_code == 200 and "The reconciler does not answer" in page.text
    log = house.client("eng@iw.test").get("/operations/log")
    assert log.status_code == 200 and "be reached right now" in log.text


def test_monitoring_that_is_away_takes_only_its_own_figures(house, reconciler):
    reconciler.overview |= {"problem": "Prometheus does not say", "runs": None, "drift": None}
    reconciler.overview["alerts"] |= {"firing": None, "problem": "Prometheus does not say"}
    page = house.client("eng@iw.test").get("/operations")
    assert page.status_code == 200
    assert "Monitoring is away" in page.text and "Nobody can say what fires" in page.text
    assert "Capacity left" in page.text


def test_what_was_logged_is_text_and_never_markup(house, reconciler):
    reconciler.journal = [{"time": "2026-11-27T01:00:00+00:00", "level": "ERROR", "process": "x",
                           "message": "<script>alert(1)</script>"}]
    page = house.client("eng@iw.test").get("/operations/log")
    assert "<script>alert(1)" not in page.text and "&lt;script&gt;alert(1)" in page.text
    assert "Nothing was logged" in house.client("eng@iw.test").get(
        "/operations/log?about=nobody").text


def test_anybody_sees_the_status_and_it_tells_of_nobody(house, reconciler):
    stranger = house.client()
    page = stranger.get("/status")
    assert page.status_code == 200 and "Everything works." in page.text
    assert "acme" not in page.text.lower() and house.pulse not in page.text
    assert "86.75 % in the last two weeks" in page.text
    reconciler.services[1]["now"] = False
    assert "Something is not there right now" in stranger.get("/status").text
    for service in reconciler.services:
        service.update(now=None, days=[None] * 14)
    unknown = stranger.get("/status").text
    assert "Nothing was looked at yet." in unknown and "Everything works" not in unknown
    reconciler.close()


def test_a_status_that_can_not_be_told_is_not_called_good(house):
    page = house.client().get("/status")
    assert page.status_code == 200 and "can’t be told right now" in page.text


@pytest.mark.parametrize("share, shown", [(None, ""), (1.0, "good"), (0.999, "good"),
                                          (0.9989, "warn"), (0.95, "warn"), (0.94, "bad")])
def test_a_day_has_its_colour(share, shown):
    assert tone(share) == shown


def test_an_employees_uptime_is_its_companys(house, reconciler):
    path = f"/api/v1/customers/acme/employees/{house.pulse}/uptime"
    assert house.client("ann@acme.test").get(path).json["days"][-2:] == [0.5, 1.0]
    assert house.client("ann@bolt.test").get(path).status_code == 404
