"""What the internal API answers: drift, logs, and an engineer's word to the loop."""

from __future__ import annotations

import math
import threading
import time
from datetime import UTC, datetime
from typing import Any

from reconciler import ReconcilerError, alerts, models, overview
from reconciler.decide import PLATFORM, Confirmed, stack_of
from reconciler.loop import WORKERS, Reconciler
from reconciler.probe import CHAT_PORT, thumbnail
from reconciler.prometheus import Prometheus
from reconciler.world import Source
from stacks import UnreachableError, cgroup

SERVICES_S = 20.0
APPLY_S = 20.0


class Answers:
    def __init__(self, reconciler: Reconciler) -> None:
        self._r = reconciler
        self._asking = threading.Lock()
        self._services: tuple[float, list[dict[str, Any]]] = (-math.inf, [])

    def drift(self) -> dict[str, Any]:
        look = self._r.world.look(self._r.book.platform, self._r.book.wanted().values(),
                                  self._r.rest.asleep())
        return {"items": [{"stack": d.stack, "kind": d.kind, "name": d.name, "problem": d.problem}
                          for items in look.drift.values() for d in items],
                "unknown": dict(look.unreachable), "ignored": self._ignored()}

    def _ignored(self) -> list[str]:
        """What may differ now, in words."""
        platform, now = self._r.book.platform, datetime.now(UTC)
        return [str(ignored) for ignored in (platform.ignore_differences if platform else ())
                if now < datetime.fromisoformat(ignored.until)]

    def status(self) -> dict[str, Any]:
        turn = self._r.turn
        hold = turn.decision.hold if turn else None
        return {"commit": turn.commit if turn else None,
                "halted": (turn.halt or (hold.reason if hold else None)) if turn else None,
                "queue": self._r.queue.depth(), "workers": self._r.workers.live(),
                "wedged": self._r.workers.wedged(),
                "unreachable": dict(turn.look.unreachable) if turn else {},
                "disks": self._r.world.disks()}

    def overview(self) -> dict[str, Any]:
        """See `overview.overview`."""
        return overview.overview(self._r, self.healthz)

    def charts(self, span: str) -> dict[str, Any]:
        """See `overview.charts`."""
        if span not in overview.SPANS:
            raise ReconcilerError(f"{span!r} is no span; one of {', '.join(overview.SPANS)}")
        return overview.charts(Prometheus(self._r.instance), span)

    def services(self) -> list[dict[str, Any]]:
        """See `overview.services`; asked anew once in a while, however many look, and by one of
        them: the others are told what was so before. Nothing, until anything is known."""
        at, _ = self._services
        if time.monotonic() - at > SERVICES_S and self._asking.acquire(blocking=False):
            try:
                self._services = time.monotonic(), overview.services(Prometheus(self._r.instance))
            except UnreachableError:
                self._services = -math.inf, []  # what was so is not known to be so
                raise
            finally:
                self._asking.release()
        return self._services[1]

    def uptime(self, employee: str) -> list[float | None]:
        """See `overview.uptime`."""
        return overview.uptime(Prometheus(self._r.instance), employee)

    def info(self) -> dict[str, Any]:
        return {"instance": self._r.instance.id, "workers": WORKERS,
                "programs": self._r.world.program_digest}

    def targets(self) -> list[dict[str, Any]]:
        """Prometheus' HTTP service discovery: every employee that should run and has an
        address."""
        return [{"targets": [f"http://{row['address']}:{CHAT_PORT}/healthz"],
                 "labels": {"employee": employee, "customer": row["customer"]}}
                for employee, row in sorted(self._r.fleet.rows().items())
                if row["address"] and row["desired_state"] == "running"
                and not row["asleep_since"]]

    def logs(self, employee: str, tail: int) -> str | None:
        return self._r.world.logs(employee, tail)

    def wake(self, employee: str) -> bool:
        """Wakes a sleeping employee; returns whether it slept."""
        return self._r.rest.wake(employee)

    def thumbnail(self, employee: str) -> bytes | None:
        """Its screen as a small picture. Wakes nobody: who sleeps is not asked."""
        row = self._r.fleet.rows().get(employee)
        if not row or not row["address"] or row["asleep_since"] or (
                row["desired_state"] != "running"):
            return None
        return thumbnail(row["address"])

    def disconnect(self, employee: str) -> None:
        """Ends every open connection to an employee; who may comes back by itself."""
        row = self._r.fleet.rows().get(employee)
        if row and row["address"]:
            cgroup.close_connections(row["address"])

    def retry(self, customer: str) -> None:
        """Ends the backoff of a customer's stack and converges it again."""
        if not self._r.book.retry(stack_of(customer)):
            raise ReconcilerError(f"nothing was ever applied for {customer}; see `iw status`")
        self._r.wake()

    def ask_model(self, name: str, question: str | None) -> dict[str, Any]:
        """One question to an offered model; see `models.ask`."""
        return models.ask(self._r.instance, self._r.store.platform(), name,
                          question or models.QUESTION)

    def alerts(self) -> dict[str, Any]:
        """See `alerts.state`."""
        return alerts.state(self._r.instance, self._r.store.platform().alerts)

    def test_alerts(self) -> list[dict[str, Any]]:
        """See `alerts.test`. Who was just named is told too: the change is waited for."""
        r, wanted = self._r, self._r.store.platform()
        end = time.monotonic() + APPLY_S
        r.wake()
        while (r.book.record(PLATFORM).digest != r.platform_digest(wanted)
               and time.monotonic() < end and not r.stopping):
            time.sleep(0.2)
        return alerts.test(r.instance, wanted.alerts)

    def certificate(self) -> dict[str, Any]:
        return self._r.certificates.as_json()

    def renew(self) -> None:
        self._r.certificates.renew()

    def backups(self) -> dict[str, Any]:
        return self._r.backups.as_json()

    def back_up(self, what: str) -> None:
        """A "run" or a "drill", now; see `backups.ask`."""
        self._r.backups.ask(what)

    def put_back(self, customer: str, employee: str | None, until: datetime | None) -> str:
        """See `backups.restore`."""
        return self._r.backups.restore(customer, employee, until)

    def restore(self, employee: str | None, customer: str | None, source: Source) -> str:
        """Ends the hold on files that are gone; see `World.restore`.

        Raises:
            ReconcilerError: no such employee.
        """
        r = self._r
        if employee is not None:
            customer = next((name for name, made in r.book.wanted().items()
                             if employee in made.state.employees), None)
        if customer is None or customer not in r.book.wanted():
            raise ReconcilerError(f"there is no {employee or customer}; see `iw status`")
        done = r.world.restore(customer, employee, source)
        r.outbox.event("Restored", done, customer, employee)
        r.wake()
        return done

    def confirm(self, commit: str) -> str:
        """Lets a held commit or a rewritten history be applied; `commit` may be shortened to 7
        digits. Of a held commit, those who were named as held may stop, and nobody else."""
        r = self._r
        head, turn = r.store.head() or "", r.turn
        hold = turn.decision.hold if turn else None
        named = [c for c in (hold.commit if hold else "", head) if c.startswith(commit)]
        if len(commit) < 7 or not named:
            raise ReconcilerError(f"{commit} is neither held nor the newest commit ({head[:10]}); "
                                  "look at what that one would stop (iw plan), then confirm it")
        # One word, one thing: to let employees stop takes no rewritten history along.
        before = r.confirmation.read()
        r.confirmation.write(Confirmed(head if named[-1] == head else before.commit,
                                       hold.employees if hold else frozenset()))
        r.outbox.event("Confirmed", f"commit {named[0][:10]} was confirmed" + (
            f": {len(hold.employees)} employees may stop" if hold else ""))
        r.wake()
        return named[0]

    def healthz(self) -> tuple[dict[str, Any], bool]:
        """How the loop is, and whether that is well. 60 s without a turn, or nobody to take an
        Action, must not look alive."""
        r, age = self._r, self._r.seconds_since_cycle()
        oldest = r.queue.oldest()
        found = {"loop_age_s": round(age, 1), "workers": r.workers.live(),
                 "wedged": {stack: round(s) for stack, s in r.workers.wedged().items()},
                 "oldest_action_s": round(time.monotonic() - oldest, 1) if oldest else 0.0,
                 "database": r.outbox.problem or "ok"}
        return found, age < 60 and r.workers.live() > 0
