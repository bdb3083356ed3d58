"""The one place of this process that reads its environment and its arguments."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from state_repo.instance import Instance


@dataclass(frozen=True, slots=True)
class StripeSettings:
    """`api_base`: another server that speaks Stripe's API (tests). `meter`: the event name of a
    Stripe meter that model spend (in cents) is reported to."""

    secret_key: str = field(repr=False)
    webhook_secret: str | None = field(default=None, repr=False)
    api_base: str | None = None
    meter: str | None = None
    automatic_tax: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """`threads`: in which Flask answers; an open event stream holds none. `smtp_url`: where mails
    are sent, smtp://user:password@host:587 (STARTTLS where it is offered; always with a password)
    or smtps://…; without one they are written into the log. `mail_from`: their sender.
    `stripe`: None without keys: the local mode, in which plans are chosen freely."""

    instance: Instance
    threads: int = 64
    smtp_url: str | None = None
    mail_from: str | None = None
    stripe: StripeSettings | None = None

    @property
    def local(self) -> bool:
        """On somebody's own machine, where nobody else is and no mail arrives."""
        return self.smtp_url is None and self.instance.domain.endswith(".localhost")

    @property
    def secure(self) -> bool:
        return self.instance.app_url.startswith("https:")


def load(arguments: list[str] | None = None) -> Settings:
    parser = argparse.ArgumentParser(prog="python -m webapp")
    parser.add_argument("--data", type=Path, help="the instance's data folder")
    return of(parser.parse_args(arguments).data)


def of(data: Path | None) -> Settings:
    """The settings of the instance in that folder."""
    instance = Instance.load(data)
    return Settings(instance, int(os.environ.get("IW_WEB_THREADS", "64")),
                    wanted(instance, os.environ, "IW_SMTP_URL"),
                    wanted(instance, os.environ, "IW_MAIL_FROM"),
                    stripe_settings(instance, os.environ))


def wanted(instance: Instance, environment: Mapping[str, str], variable: str) -> str | None:
    """From the environment, else from a file of `<data>/secrets/webapp`, where `make run` puts it:
    so that it holds after a reboot, `iw billing` finds it too, and the web app within its walls."""
    if given := environment.get(variable, "").strip():
        return given
    try:
        path = instance.secrets_path / "webapp" / variable.lower().replace("_", "-")
        return path.read_text().strip() or None
    except FileNotFoundError:
        return None


def stripe_settings(instance: Instance, environment: Mapping[str, str]) -> StripeSettings | None:
    """None without a key; see `wanted`."""
    def read(variable: str) -> str | None:
        return wanted(instance, environment, variable)
    key = read("STRIPE_SECRET_KEY")
    if key is None:
        return None
    return StripeSettings(key, read("STRIPE_WEBHOOK_SECRET"), read("STRIPE_API_BASE"),
                          read("STRIPE_METER"), bool(read("STRIPE_AUTOMATIC_TAX")))
