"""The process: wires the rooms, schedules the loop, and stops in good order."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import threading
from pathlib import Path

from apscheduler.schedulers.background import BackgroundScheduler

from policies import pack
from policies.documents import check_customer
from reconciler import ReconcilerError
from reconciler.api import InternalApi
from reconciler.engine import Engine
from reconciler.forges.follow import Follower, follower_of
from reconciler.locks import InstanceLock
from reconciler.loop import Reconciler
from reconciler.plans import Planner
from reconciler.settings import Settings
from reconciler.world import World
from stacks.secret_files import secret
from state_repo import StateRepoError, journal
from state_repo.forge import ForgeAddressError
from state_repo.instance import Instance
from state_repo.status import StatusStore
from state_repo.store import Store

log = logging.getLogger(__name__)


def passphrase_file(instance: Instance) -> Path:
    """The secret that encrypts Pulumi's state; made once. Losing it loses the state's secrets.

    Raises:
        InstanceError: it was made before, and is gone.
    """
    path = instance.secrets_path / "pulumi-passphrase"
    instance.expect("pulumi-passphrase", path.exists(), f"restore {path}: it opens the secrets "
                    "in Pulumi's state")
    secret(instance, "pulumi-passphrase")
    instance.mark_made("pulumi-passphrase")
    return path


def trim(folder: Path, most: int = 20 * 1024 * 1024) -> None:
    """Keeps each log below `most` bytes: what is over it goes to <name>.1, over the one before.
    The processes append to the file that stays, whatever it holds."""
    for path in folder.glob("*.log"):
        if path.stat().st_size > most:
            shutil.copyfile(path, path.with_suffix(".log.1"))
            os.truncate(path, 0)


def _follower(reconciler: Reconciler, planner: Planner) -> Follower | None:
    try:
        return follower_of(reconciler, planner)
    except ForgeAddressError as error:  # `iw doctor` says so too; everything else goes on
        log.error("no forge is followed: %s", error)
        return None


def run(settings: Settings) -> int:
    """Runs until SIGTERM or SIGINT. Returns the exit code."""
    journal.write_to(sys.stderr, "reconciler", settings.log_level)
    for noisy in ("apscheduler", "alembic", "git", "waitress.queue",
                  "PowerDnsProvider[platform]"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # A program whose engine ended early can't log to it; what matters is in the event log.
    logging.getLogger("grpc._server").setLevel(logging.CRITICAL)
    instance = Instance.load(settings.data)
    try:
        lock = InstanceLock(instance.run_path / "reconciler.lock")
    except ReconcilerError as error:
        log.error("%s", error)
        return 75  # EX_TEMPFAIL
    try:
        status = StatusStore.prepared(instance, patience_s=3.0)
    except StateRepoError as error:
        log.error("the database can't be used: %s", error)
        return 75
    store = Store.open_or_create(instance, check_customer)
    world = World(instance)
    analyzer = pack.HostedPack(world.tenant)
    engine = Engine(home=instance.pulumi_path, passphrase_file=passphrase_file(instance),
                    providers=world.providers, pulumi=settings.pulumi,
                    policy_pack=analyzer.write_launcher(instance.run_path / "policy-pack"))
    reconciler = Reconciler(instance, store, status, world, engine)

    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    planner = Planner(reconciler)
    follower = _follower(reconciler, planner)
    api = InternalApi(reconciler, planner, follower)
    close_api = api.serve(instance.socket, instance.ports["reconciler"])
    reconciler.start()
    scheduler = BackgroundScheduler(timezone="UTC")
    scheduler.add_job(reconciler.notice, "interval", seconds=settings.notice_s, max_instances=1,
                      coalesce=True)
    for tidy in (store.pack, status.prune, engine.prune, lambda: trim(instance.logs_path)):
        scheduler.add_job(tidy, "interval", hours=1, jitter=300, max_instances=1, coalesce=True)
    scheduler.add_job(reconciler.let_rest, "interval", seconds=5, max_instances=1, coalesce=True)
    scheduler.add_job(reconciler.guard_disk, "interval", seconds=1, max_instances=1,
                      coalesce=True)
    scheduler.add_job(reconciler.watch_storage, "interval", seconds=30, max_instances=1,
                      coalesce=True)
    if instance.state_remote:
        scheduler.add_job(store.fetch, "interval", seconds=settings.fetch_s, max_instances=1,
                          coalesce=True)
    scheduler.start()
    turns = threading.Thread(target=reconciler.turn_when_woken, args=(settings.cycle_s,),
                             name="loop", daemon=True)
    turns.start()
    threading.Thread(target=reconciler.rollouts.run, name="rollout", daemon=True).start()
    backups = threading.Thread(target=reconciler.backups.work, name="backups", daemon=True)
    backups.start()
    threading.Thread(target=reconciler.certificates.work, name="certificates", daemon=True).start()
    if follower is not None:
        threading.Thread(target=follower.look_when_woken, name="forge", daemon=True).start()
    log.info("reconciling %s every %.1f s", instance.data, settings.cycle_s)
    stopping.wait()
    log.info("stopping: running engines may finish")
    scheduler.shutdown(wait=False)
    if follower is not None:
        follower.stop()
    reconciler.stop()
    turns.join(5.0)
    backups.join(10.0)  # nobody is left standing still
    close_api()
    analyzer.stop()
    lock.release()
    return 0
