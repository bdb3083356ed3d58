"""The first contents: the instance's file, the platform's document, a demo customer and login.

Runs inside the virtual environment. Everything here is done once and left alone afterwards, save
the images' digests and the skills, which follow the code until somebody changes them.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import os
import secrets
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from policies.documents import check_customer
from state_repo import changes
from state_repo.documents import (
    NetworkPool,
    OfferedModel,
    Plan,
    PlanLimits,
    Platform,
    SeatRange,
)
from state_repo.files import write_secret
from state_repo.forge import TOKEN as FORGE_TOKEN
from state_repo.instance import LABEL_INSTANCE, PORTS, Instance, InstanceError
from state_repo.store import Author, Store
from tools import catalogue, processes
from tools.ports import free_ports
from tools.restore import RESTORED
from webapp import accounts

SETUP = Author("Set-up", "setup@instantworker.invalid")
DEMO_EMAIL = "demo@acme.test"
# By variable: the secret's name, and the model with its list prices. Others: platform.yaml.
PROVIDERS = {
    "ANTHROPIC_API_KEY": ("provider-anthropic", OfferedModel(
        "anthropic/claude-sonnet-5", None, None, 2.0, 10.0, 200_000, 16_384)),
    "OPENAI_API_KEY": ("provider-openai", OfferedModel(
        "openai/gpt-5-mini", None, None, 0.25, 2.0, 272_000, 16_384)),
    "GEMINI_API_KEY": ("provider-gemini", OfferedModel(
        "gemini/gemini-2.5-flash", None, None, 0.3, 2.5, 1_000_000, 16_384)),
}
# A first catalogue, to be edited in platform.yaml; `iw billing doctor` says what Stripe needs.
PLANS = {
    "starter": Plan("Starter", 4900, trial_days=14, seats=SeatRange(1, 1, 3),
                    description="One employee, to see what it can do for you.",
                    limits=PlanLimits(1.0, 3072), model_budget_usd=10.0),
    "team": Plan("Team", 7900, trial_days=14, seats=SeatRange(3, 1, 20),
                 description="A few employees that share what your company knows.",
                 limits=PlanLimits(2.0, 4096), model_budget_usd=25.0),
    "business": Plan("Business", 14900, seats=SeatRange(10, 5, 100),
                     description="Many employees, with room for heavy work.",
                     limits=PlanLimits(4.0, 8192), model_budget_usd=60.0),
}
# What the web app is told, kept for it.
TOLD = ("STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET", "IW_SMTP_URL", "IW_MAIL_FROM")
_POOLS = ("10.192.0.0/12", "10.208.0.0/12", "10.224.0.0/12", "10.176.0.0/12", "10.160.0.0/12",
          "10.144.0.0/12", "10.128.0.0/12")


def instance(data: Path, prefix: str | None = None) -> Instance:
    """Loads the instance, or makes one that collides with nothing on this machine."""
    if (data / "instance.json").exists():
        return Instance.load(data)
    networks, taken = _docker_networks(), _other_prefixes()
    if prefix is None:
        prefix = next(p for p in ("iw", *(f"iw{n}" for n in range(2, 1000))) if p not in taken)
    elif prefix in taken:
        raise InstanceError(f"prefix {prefix} is used by another instance on this Docker; choose "
                            "another one (IW_PREFIX)")
    pool = next((p for p in _POOLS if not any(
        ipaddress.ip_network(p).overlaps(n) for n in networks)), _POOLS[0])
    edge = int(os.environ.get("IW_PORT", "8080"))  # its usual port when it is free
    made = Instance(id=secrets.token_hex(4), data=data.resolve(), prefix=prefix,
                    domain=os.environ.get("IW_DOMAIN", "iw.localhost"),
                    bind=os.environ.get("IW_BIND", "127.0.0.1"),
                    ports=free_ports(PORTS, {"edge": edge}), network_pool=pool)
    made.save()
    return made


def contents(made: Instance, images: dict[str, str], *, demo: bool = True) -> None:
    """The state repo's first commits, and the demo's login."""
    move_database(made)
    keep_forge(made, os.environ)
    store = Store.open_or_create(made, check_customer)
    if not made.state_remote:
        store.install_hooks()
    if store.head() is not None and (taken := store.restore_platform(SETUP)):
        print(f"platform.yaml could not be read; it is again what it was at {taken[:10]}. What was "
              "wrong is in the repo's history: git -C <data>/state.git show main~1:platform.yaml")

    offered = offered_model(made, os.environ)
    keep_told(made, os.environ)

    def prepared(old: Platform) -> Platform:
        if not old.images:
            old = Platform(images={}, network=NetworkPool(pool=made.network_pool),
                           warm_per_customer=1)
        models = old.models | ({"default": offered} if offered else {})
        found = followed(old.images, images, made.last_set("images"))
        return replace(old, images=found, models=models, plans=old.plans or PLANS)
    changes.set_platform(store, SETUP, "Set the platform's images, models and plans", prepared)
    keep_last_set(made, "images", images)
    keep_last_set(made, "skills", catalogue.teach(store, SETUP, made.last_set("skills")))
    for part, pinned in store.platform().images.items():
        if part in images and images[part] != pinned:
            print(f"platform.yaml names another image for {part} than the one built here; it stays "
                  f"({pinned}). To follow the build again: images.{part}: {images[part]}")
    move_restored(made, store, images)
    accounts.prepare(made)
    if not demo:
        return
    if "acme" not in store.snapshot().customers:
        changes.create_customer(store, SETUP, "acme", "Acme", 10)
    password = made.secrets_path / "demo-password"
    if not password.exists():
        write_secret(password, secrets.token_urlsafe(12) + "\n")
    accounts.ensure(made, DEMO_EMAIL, password.read_text().strip(), customer="acme", role="owner")


def move_restored(made: Instance, store: Store, images: Mapping[str, str]) -> None:
    """Once, after everything was restored onto this machine: who has an image that is not here
    gets the one that was built here."""
    mark = made.data / RESTORED
    if not mark.exists():
        return
    for state in store.snapshot().customers.values():
        for employee in state.employees.values():
            if employee.state != "retired" and not _is_here(employee.image):
                changes.set_image(store, SETUP, state.id, employee.id, images["employee"])
    mark.unlink()


def _is_here(image: str) -> bool:
    return subprocess.run(["docker", "image", "inspect", image.rpartition("@")[2]],
                          capture_output=True, check=False).returncode == 0


def move_database(made: Instance) -> None:
    """Once the database lay in the data folder itself: an instance of that time is brought over.

    Raises:
        InstanceError: somebody has it open.
    """
    old = made.data / made.database_path.name
    if not old.exists():
        return
    if any(processes.pid_of(made.data, name) for name in processes.NAMES):
        raise InstanceError(f"{old} moves to {made.database_path}, and this instance still runs: "
                            "`make down`, then `make run`")
    made.database_path.parent.mkdir(exist_ok=True)
    for end in ("-wal", "-shm", ""):  # the database itself last: then the move is over
        if (beside := old.with_name(old.name + end)).exists():
            beside.rename(made.database_path.with_name(beside.name))


def followed(named: Mapping[str, str], built: Mapping[str, str], last: Mapping[str, str]
             ) -> dict[str, str]:
    """The images to name, by part: the ones just built, but where somebody named another one than
    set-up did (`last`): who pinned an image, or went back to one, did it on purpose."""
    return {**named, **{part: image for part, image in built.items()
                        if part not in named or named[part] == last.get(part, named[part])}}


def keep_last_set(made: Instance, what: str, values: Mapping[str, str]) -> None:
    path = made.data / f"{what}-set.json"
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(dict(values), indent=2) + "\n")
    fresh.rename(path)


def remembered(made: Instance, environment: Mapping[str, str]) -> Instance:
    """The instance with what the environment says of the state repo's remote, kept so that every
    later command knows it too.

    Raises:
        ForgeAddressError: it can't be right.
    """
    given = {name: value for variable, name in (
        ("IW_STATE_REMOTE", "remote"), ("IW_FORGE", "forge"), ("IW_FORGE_URL", "forge_url"))
        if (value := environment.get(variable, "").strip())}
    after = replace(made, **given)  # type: ignore[arg-type]
    if after != made:
        after.save()
    _ = after.state_forge  # raises what is wrong with it now
    return after


def keep_forge(made: Instance, environment: Mapping[str, str]) -> None:
    """The forge's token goes where the reconciler finds it; for a remote over http also where git
    does, within the web app's walls too: it commits."""
    address, token = made.state_forge, environment.get("IW_FORGE_TOKEN", "").strip()
    if address is None or not token:
        return
    write_secret(made.secrets_path / FORGE_TOKEN, token)
    remote = urlsplit(made.state_remote or "")
    if remote.scheme in ("http", "https") and not remote.username:
        # Under which name git gives a token: what each forge's pages on tokens say.
        user = {"github": "x-access-token", "gitlab": "oauth2"}.get(address.kind, "token")
        write_secret(made.git_credentials_path, f"username={user}\npassword={token}\n")


def keep_told(made: Instance, environment: Mapping[str, str]) -> None:
    """Keys and addresses go where the web app finds them: within its walls, after a reboot, and as
    a service."""
    for variable in TOLD:
        if value := environment.get(variable, "").strip():
            write_secret(made.secrets_path / "webapp" / variable.lower().replace("_", "-"), value)


def offered_model(made: Instance, environment: Mapping[str, str]) -> OfferedModel | None:
    """The model of the first provider whose key the environment holds; the key goes into the
    secrets' folder. None without a key: the demo model, or what platform.yaml says."""
    for variable, (secret, model) in PROVIDERS.items():
        if key := environment.get(variable, "").strip():
            write_secret(made.secrets_path / secret, key)
            base = environment.get("OPENAI_BASE_URL") if variable == "OPENAI_API_KEY" else None
            return replace(model, secret=secret, api_base=base)
    return None


def _docker(*arguments: str) -> list[str]:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    return done.stdout.split()


def _docker_networks() -> list[ipaddress.IPv4Network]:
    found = []
    for name in _docker("network", "ls", "-q"):
        text = "".join(_docker("network", "inspect", "-f", "{{json .IPAM.Config}}", name))
        for config in json.loads(text or "null") or ():
            network = ipaddress.ip_network(config.get("Subnet", "0.0.0.0/32"))
            if isinstance(network, ipaddress.IPv4Network):
                found.append(network)
    return found


def _other_prefixes() -> set[str]:
    """Prefixes that instances on this Docker use: the first part of their things' names."""
    names: Iterable[str] = [
        *_docker("ps", "-a", "--format", "{{.Names}}", "-f", f"label={LABEL_INSTANCE}"),
        *_docker("volume", "ls", "--format", "{{.Name}}", "-f", f"label={LABEL_INSTANCE}")]
    return {name.partition("-")[0] for name in names}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", type=json.loads, required=True)
    parser.add_argument("--no-demo", action="store_true")
    given = parser.parse_args()
    made = remembered(instance(given.data, os.environ.get("IW_PREFIX")), os.environ)
    contents(made, given.images, demo=not given.no_demo)


if __name__ == "__main__":
    main()
