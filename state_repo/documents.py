"""The documents: what should exist, as immutable values.

One file a document (`platform.yaml`, `customers/<customer>/customer.yaml`,
`customers/<customer>/employees/<employee>.yaml`). `parsing` reads and writes their YAML,
`schema` publishes their JSON Schema. Skills (`skills/<skill>/SKILL.md`) are Markdown, which
`skills` reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

API_VERSION = "instantworker/v1"
EmployeeState = Literal["warm", "running", "paused", "retired"]
LessonState = Literal["approved", "rejected"]
Interval = Literal["month", "year"]
PLATFORM_PATH = "platform.yaml"
SKILLS_FOLDER = "skills"
# What an employee works with, by the names under which its agent knows them.
TOOLS = ("read", "write", "edit", "apply_patch", "ls", "exec", "process", "browser", "web_fetch",
         "memory_get", "memory_search", "session_status", "automations")


def customer_path(customer: str) -> str:
    return f"customers/{customer}/customer.yaml"


def employee_path(customer: str, employee: str) -> str:
    return f"customers/{customer}/employees/{employee}.yaml"


def skill_path(skill: str) -> str:
    return f"{SKILLS_FOLDER}/{skill}/SKILL.md"


def lesson_path(customer: str, lesson: str) -> str:
    return f"customers/{customer}/lessons/{lesson}.yaml"


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing wrong with one field. `line` counts from 1; 0 where there is no line (yet).
    `excess`: by how much a limit is passed, so that less can be told from more."""

    path: str
    line: int
    field: str
    message: str
    fix: str
    excess: float = 0.0

    def __str__(self) -> str:
        where = f"{self.path}:{self.line}" if self.line else self.path
        return f"{where} {self.field}: {self.message}; {self.fix}"


def worsened(before: Iterable[Violation], after: Iterable[Violation]) -> list[Violation]:
    """What is wrong after a change and was not as wrong before it. A change that leaves a
    violation as it is, or lessens it, is no worse: who is in violation can still be paused."""
    def key(violation: Violation) -> tuple[str, str, str]:
        return violation.path, violation.field, violation.fix  # several rules may name one field
    known = {key(violation): violation.excess for violation in before}
    return [v for v in after if v.excess > known.get(key(v), -1.0)]


@dataclass(frozen=True, slots=True)
class Resources:
    cpus: float = 1.0
    memory_mb: int = 3072
    pids: int = 512


@dataclass(frozen=True, slots=True)
class Model:
    """What it may ask of the model proxy. `name`: one of the platform's models. `key_version`:
    a new number makes a new key and revokes the old one."""

    name: str = "default"
    monthly_budget_usd: float = 20.0
    requests_per_minute: int = 60
    key_version: int = 1


@dataclass(frozen=True, slots=True)
class Employee:
    """`image` ends in `@sha256:<64 hex>`. `retired_at`: RFC 3339, with `state: retired`.
    `restarts`: raised by a retry; a new number replaces the container. `state: warm`: booted and
    nobody yet: a hire claims it, under the id that it has. `seat`: False for one who was paused
    because its company has fewer seats than before: it holds none until it is resumed.
    `hired_at`: RFC 3339; of employees from before it was written, None. `image_pinned`: it stays
    at its image, whatever is rolled out."""

    id: str
    customer: str
    name: str
    role: str
    image: str
    state: EmployeeState = "running"
    model: Model = field(default_factory=Model)
    resources: Resources = field(default_factory=Resources)
    skills: tuple[str, ...] = ()
    instructions: str = ""
    restarts: int = 0
    retired_at: str | None = None
    seat: bool = True
    hired_at: str | None = None
    image_pinned: bool = False

    @property
    def path(self) -> str:
        return employee_path(self.customer, self.id)

    @property
    def holds_seat(self) -> bool:
        return self.seat and self.state in ("running", "paused")


@dataclass(frozen=True, slots=True)
class Freeze:
    """Nothing is reconciled, not even drift, until a time (`until`: RFC 3339)."""

    reason: str
    until: str

    def holds(self, now: datetime) -> bool:
        return now < datetime.fromisoformat(self.until)

    def __str__(self) -> str:
        until = datetime.fromisoformat(self.until).astimezone(UTC)
        return (f"frozen until {until:%Y-%m-%d %H:%M} UTC: {self.reason}. Nothing is changed or "
                "repaired meanwhile")


@dataclass(frozen=True, slots=True)
class IgnoredDifference:
    """A limit (`field`: cpus, memory or pids) of employees' containers that may differ from their
    documents until a time (`until`: RFC 3339): of everybody, of one customer, of one employee."""

    field: str
    reason: str
    until: str
    customer: str | None = None
    employee: str | None = None

    def covers(self, customer: str, employee: str, now: datetime) -> bool:
        return (self.customer in (None, customer) and self.employee in (None, employee)
                and now < datetime.fromisoformat(self.until))

    def __str__(self) -> str:
        until = datetime.fromisoformat(self.until).astimezone(UTC)
        whose = self.employee or self.customer or "everybody"
        return f"{self.field} of {whose} may differ until {until:%Y-%m-%d %H:%M} UTC: {self.reason}"


@dataclass(frozen=True, slots=True)
class Customer:
    """`subnet`: CIDR of its network, out of the platform's pool, never another customer's.
    `monthly_budget_usd`: of all its employees together; None: the sum of theirs. `plan`: one of
    the platform's; None: the seats were given by hand, and only the platform's limits hold."""

    id: str
    name: str
    max_employees: int
    subnet: str
    suspended: bool = False
    monthly_budget_usd: float | None = None
    plan: str | None = None
    freeze: Freeze | None = None

    @property
    def path(self) -> str:
        return customer_path(self.id)


@dataclass(frozen=True, slots=True)
class Lesson:
    """What an employee learned, and what its company decided about it. An approved lesson
    reaches every employee of the company. `learned_on`: YYYY-MM-DD."""

    id: str
    customer: str
    employee: str
    state: LessonState
    lesson: str
    evidence: str
    learned_on: str

    @property
    def path(self) -> str:
        return lesson_path(self.customer, self.id)


@dataclass(frozen=True, slots=True)
class Skill:
    """How a kind of work is done: what employees that are given it read when it comes up.

    `uses`: the tools that it works with. `example`: a task to try it with. `text`: the whole
    file, as employees get it. `digest`: of the text, 16 hex digits.
    """

    name: str
    description: str
    version: str
    uses: tuple[str, ...]
    example: str
    text: str
    digest: str

    @property
    def path(self) -> str:
        return skill_path(self.name)

    @property
    def title(self) -> str:
        """What people call it."""
        return self.name.replace("-", " ").capitalize()


@dataclass(frozen=True, slots=True)
class NetworkPool:
    """Customers' subnets are taken from `pool` (CIDR), each of `prefix_length`."""

    pool: str = "10.192.0.0/12"
    prefix_length: int = 25


@dataclass(frozen=True, slots=True)
class Limits:
    """What one employee may ask for at most."""

    max_cpus: float = 4.0
    max_memory_mb: int = 8192
    max_pids: int = 1024


@dataclass(frozen=True, slots=True)
class Brakes:
    """A snapshot that stops more than `max_stop_count` employees and more than
    `max_stop_percent` of those that run is held until an engineer confirms it."""

    max_stop_count: int = 5
    max_stop_percent: int = 30


@dataclass(frozen=True, slots=True)
class Dns:
    """`provider`: an octoDNS provider by short name. `address`: what the hosts resolve to.
    `listen`: where the platform's own PowerDNS answers others than this machine: address:port."""

    provider: str = "powerdns"
    address: str = "127.0.0.1"
    ttl: int = 60
    listen: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tls:
    """Who signs the edge's certificate, where the domain is a real one. `issuer`: `internal`, the
    edge's own authority, or `acme`, a public one: `directory` is "production" or "staging" (Let's
    Encrypt's), or another's URL; `email`: whom it warns; `trusted`: the secret file with the
    certificate (PEM) of an authority of one's own, by which the directory itself is trusted."""

    issuer: Literal["internal", "acme"] = "internal"
    directory: str = "production"
    email: str | None = None
    trusted: str | None = None


@dataclass(frozen=True, slots=True)
class OfferedModel:
    """A model that employees may use. `model`: LiteLLM's name, such as `openai/gpt-5-mini`, or
    `demo`: a labelled answer that needs no provider. `secret`: the file in the secrets' folder
    that holds the provider's key. `api_base`: of an OpenAI-compatible server, if not the
    provider's own. Prices in USD per million tokens; sizes in tokens."""

    model: str = "demo"
    secret: str | None = None
    api_base: str | None = None
    input_usd_per_million: float = 0.0
    output_usd_per_million: float = 0.0
    context_tokens: int = 128_000
    max_output_tokens: int = 8_192


@dataclass(frozen=True, slots=True)
class Sleep:
    """An employee that nobody watches and that does nothing for `after_minutes` is put to sleep
    (0: never). Asleep it keeps `memory_mb` in memory and the rest in swap."""

    after_minutes: float = 15.0
    memory_mb: int = 40


@dataclass(frozen=True, slots=True)
class Storage:
    """What one employee's volume, and one company's knowledge, may hold, in MiB; and how many
    files and folders a volume may have."""

    employee_mb: int = 5_120
    employee_files: int = 150_000
    knowledge_mb: int = 2_048


@dataclass(frozen=True, slots=True)
class SeatRange:
    """Seats of a plan: what its checkout begins with, the fewest and the most."""

    included: int = 1
    min: int = 1
    max: int = 100


@dataclass(frozen=True, slots=True)
class PlanLimits:
    """What one employee of a plan may ask for at most."""

    cpus: float = 1.0
    memory_mb: int = 3072


@dataclass(frozen=True, slots=True)
class Plan:
    """What a company buys, by the seat. `amount`: of one seat and interval, in the currency's
    minor unit (cents). `price_id`: Stripe's price of the same amount; None: it can't be bought
    through Stripe yet. `model_budget_usd`: what one employee may spend on models a month.
    `offered`: False for a plan that is sold no more, and still held by somebody."""

    title: str
    amount: int
    currency: str = "usd"
    interval: Interval = "month"
    price_id: str | None = None
    description: str = ""
    trial_days: int = 0
    seats: SeatRange = field(default_factory=SeatRange)
    limits: PlanLimits = field(default_factory=PlanLimits)
    model_budget_usd: float = 20.0
    offered: bool = True


@dataclass(frozen=True, slots=True)
class Billing:
    """Days: from a failed payment to the pause of all employees; from a down-grade below use to
    the pause of the newest; from the end of a subscription to the end of its export."""

    unpaid_grace_days: int = 7
    downgrade_grace_days: int = 3
    retention_days: int = 30


@dataclass(frozen=True, slots=True)
class Review:
    """How what engineers write reaches main. `direct_pushes`: also by a push to main itself, and
    not by a reviewed branch alone. `approvals`: how many engineers must agree with a change."""

    direct_pushes: bool = False
    approvals: int = 1


@dataclass(frozen=True, slots=True)
class AlertReceiver:
    """Who is told when something breaks; exactly one is set. `email`: an address. `webhook` and
    `slack`: the file in the secrets' folder that holds the URL, since who knows it can post."""

    email: str | None = None
    webhook: str | None = None
    slack: str | None = None

    @property
    def kind(self) -> str:
        return "email" if self.email else "webhook" if self.webhook else "slack"

    @property
    def target(self) -> str:
        """The address, or the name of the secret."""
        return self.email or self.webhook or self.slack or ""


@dataclass(frozen=True, slots=True)
class MailServer:
    """By which alerts are mailed. `server`: host:port; port 465 speaks TLS from the first byte,
    any other must offer STARTTLS unless `tls` is False. `secret`: the file with the password of
    `user`."""

    server: str
    sender: str
    user: str | None = None
    secret: str | None = None
    tls: bool = True


@dataclass(frozen=True, slots=True)
class Alerts:
    """`heartbeat`: the secret file with a URL that is called each minute while Prometheus and
    Alertmanager live; whoever watches it alerts when it stops. `repeat_hours`: how often an alert
    that lasts is told again."""

    receivers: tuple[AlertReceiver, ...] = ()
    mail: MailServer | None = None
    heartbeat: str | None = None
    repeat_hours: float = 4.0


@dataclass(frozen=True, slots=True)
class Backups:
    """Where everything is copied to, encrypted. `repository`: a folder, or another place as restic
    names it (sftp:…, s3:…); None: nowhere. `access`: the secret file with what the place asks
    for, a line NAME=value each. `drill_days`: how often a sample is restored beside the original
    and compared. `keep_…`: how many of the newest of each day, week and month stay."""

    repository: str | None = None
    access: str | None = None
    every_hours: float = 6.0
    drill_days: float = 7.0
    keep_daily: int = 7
    keep_weekly: int = 5
    keep_monthly: int = 12


@dataclass(frozen=True, slots=True)
class Platform:
    """`images`: by part (employee, model-proxy, edge, dns, monitoring), each by digest.
    `models`: what is offered, by the name that employees use. `plans`: what can be bought, by id,
    in the order in which it is shown. `warm_per_customer`: booted blanks kept ready for each
    customer that has a free seat. `ocr_languages`: of what is written in pictures and scans, by
    Tesseract's names. `skills`: the catalogue by name, out of its own files and not
    of platform.yaml."""

    images: dict[str, str]
    network: NetworkPool = field(default_factory=NetworkPool)
    defaults: Resources = field(default_factory=Resources)
    limits: Limits = field(default_factory=Limits)
    brakes: Brakes = field(default_factory=Brakes)
    dns: Dns = field(default_factory=Dns)
    models: dict[str, OfferedModel] = field(default_factory=lambda: {"default": OfferedModel()})
    sleep: Sleep = field(default_factory=Sleep)
    storage: Storage = field(default_factory=Storage)
    plans: dict[str, Plan] = field(default_factory=dict)
    billing: Billing = field(default_factory=Billing)
    review: Review = field(default_factory=Review)
    tls: Tls = field(default_factory=Tls)
    alerts: Alerts = field(default_factory=Alerts)
    backups: Backups = field(default_factory=Backups)
    warm_per_customer: int = 0
    grace_days: int = 14
    freeze: Freeze | None = None
    ignore_differences: tuple[IgnoredDifference, ...] = ()
    ocr_languages: tuple[str, ...] = ("eng",)
    skills: Mapping[str, Skill] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return PLATFORM_PATH

    def ignored_fields(self, customer: str, employee: str, now: datetime) -> frozenset[str]:
        """What may differ of an employee's container now."""
        return frozenset(ignored.field for ignored in self.ignore_differences
                         if ignored.covers(customer, employee, now))


Document = Platform | Customer | Employee | Lesson
