"""An employee's state in plain words, the same ones wherever it is shown."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Literal

from webapp.texts import N_

Group = Literal["work", "starting", "asleep", "attention", "paused", "retired"]

# The tone and what is said first. The tones are the badges' kinds.
_LABELS: dict[Group, tuple[str, str]] = {
    "work": ("good", N_("At work")),
    "starting": ("warn", N_("Starting")),
    "asleep": ("", N_("Asleep")),
    "attention": ("bad", N_("Needs attention")),
    "paused": ("", N_("Paused by you")),
    "retired": ("", N_("Retired")),
}
# What the reconciler tells engineers, and what that means to people.
_PLAIN = (
    (r"; see `iw logs`, or retry it", ""),
    (r" see `iw[^`]*`", " see its activity"),
    (r"its container is being made", N_("its workplace is being set up")),
    (r"it was just asked for; the reconciler takes it up", N_("your order was received")),
    (r"it started and gets ready", N_("it has started and gets ready")),
    (r"it wakes from a cold start", N_("it wakes from a deep sleep")),
    (r"its container stopped and is being started",
     N_("it stopped by itself and is started again")),
    (r"its container is being removed", N_("its workplace is being cleared")),
    (r"its container is not as wanted; a repair is due", N_(
        "something of it was changed from outside; that is being put right")),
    (r"its health check fails", N_("it does not answer as it should")),
    (r"its chat port is not open yet", N_("its chat does not answer yet")),
    (r"Docker does not answer, so that nothing could be checked; it is asked again every few "
     r"seconds", N_("it could not be checked just now; that is tried again every few seconds")),
    (r"its document vanished from the state repo; it was stopped and its files are kept\. .*",
     N_("its settings are gone; it was stopped, and its files are kept. Please tell us")),
    (r"\bcontainer\b", N_("workplace")),
    (r"tried again at [0-9:]{8} UTC", N_("it is tried again by itself")),
)


@lru_cache(maxsize=4096)
def plain(reason: str | None) -> str:
    """A reason as people read it."""
    text = reason or ""
    for pattern, words in _PLAIN:
        text = re.sub(pattern, words, text)
    return text.strip()


def summary(shown: dict[str, Any]) -> dict[str, str]:
    """`group`, `tone`, `label`, `detail` of an employee as the API shows it: what it is, how that
    is, and why."""
    group, reason = group_of(shown), plain(shown.get("reason"))
    tone, label = _LABELS[group]
    if group == "asleep":
        reason = N_("wakes when you open it")
    elif group == "paused" and shown["health_status"] != "Suspended":
        tone, label, reason = "warn", N_("Being paused"), N_("everything is kept")
    elif group == "paused" and shown["state"] != "paused":
        label, reason = N_("Stopped"), N_("your company is suspended; nothing is lost")
    elif group == "paused":
        reason = N_("everything is kept")
    elif group == "starting" and shown["health_status"] == "Suspended":
        reason = N_("your order was received")
    elif group == "retired":
        reason = reason.removeprefix("retired").lstrip("; ")
    elif group == "work" and shown["sync_status"] == "OutOfSync":
        label = N_("At work, changing")
    elif group == "work" and shown["sync_status"] == "Unknown":
        tone = "warn"
    return {"group": group, "tone": tone, "label": label, "detail": reason}


def group_of(shown: dict[str, Any]) -> Group:
    """What was wanted last counts before what was seen: an order that is seconds old shows."""
    state, health = shown["state"], shown["health_status"]
    if state == "retired":
        return "retired"
    if state == "vanished" or health in ("Degraded", "Missing"):
        return "attention"
    if state == "paused":
        return "paused"
    if health == "Suspended":
        return "paused" if "suspended" in (shown.get("reason") or "") else "starting"
    if health == "Healthy":
        return "asleep" if shown.get("asleep_since") else "work"
    return "starting"
