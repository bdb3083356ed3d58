"""From a broken part to the mail of whoever must mend it."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from state_repo import changes
from state_repo.documents import AlertReceiver, Alerts, MailServer
from tests.conftest import docker, free_ports
from tests.e2e.house import ENGINEER, House, until
from tests.fake_receivers import Mailbox, closing

pytestmark = [pytest.mark.e2e, pytest.mark.long]


def test_a_stopped_edge_is_told_by_mail_and_so_is_its_end(house: House, record_property):
    mailbox = Mailbox(free_ports()["app"])
    with closing(mailbox):
        changes.set_platform(house.store, ENGINEER, "Alerts", lambda p: replace(p, alerts=Alerts(
            (AlertReceiver(email="night@iw.test"),),
            MailServer(mailbox.server, "alerts@iw.test", tls=False))))
        until(house.is_synced, "Alertmanager knows", 60, house)
        (told,) = house.iw("alert", "test")
        assert told == {"kind": "email", "target": "night@iw.test", "problem": None}

        def mails(subject: str) -> list[str]:
            return [m["Subject"] for m in mailbox.mails if subject in m["Subject"]]
        house.stop("reconciler")  # else it is started again within seconds
        docker("stop", house.instance.platform_container("edge"))
        began = time.monotonic()
        until(lambda: mails("[InstantWorker] PartDown"), "the mail", 180)
        delay = time.monotonic() - began
        record_property("alert_delay_s", round(delay, 1))
        print(f"a stopped edge was told after {delay:.0f} s")
        until(lambda: mails("[InstantWorker] LoopDead"), "nobody repairs: that is told too", 120)
        house.start("reconciler")
        until(lambda: mails("ended: PartDown") and mails("ended: LoopDead"), "the ends", 240, house)
        assert not [a for a in house.iw("alert", "list")["firing"]
                    if a["name"] in ("PartDown", "LoopDead")]
