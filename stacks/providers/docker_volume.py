"""docker:index/volume:Volume over Docker's API. Absence is not deletion: see `delete`."""

from __future__ import annotations

import gzip
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from stacks import StackError
from stacks.providers.docker_api import NotFound, client, is_ours, labels_of, speaking
from stacks.providers.servicer import Inputs, Kind

log = logging.getLogger(__name__)


class Volume(Kind):
    """`may_remove(name)`: whether the volume's owner is retired and its grace is over.
    `backups`: where its last backup goes, as <volume>.tar.gz."""

    token = "docker:index/volume:Volume"
    properties = frozenset({"name", "driver", "labels"})

    def __init__(self, may_remove: Callable[[str], bool], backups: Path) -> None:
        self._may_remove, self._backups = may_remove, backups

    def create(self, inputs: Inputs) -> str:
        with speaking():
            # Docker answers with the existing volume where there is one of that name.
            made = client().create_volume(inputs["name"], driver=inputs.get("driver", "local"),
                                          labels=labels_of(inputs))
        if not is_ours(made.get("Labels") or {}, labels_of(inputs)):
            raise StackError(f"a volume {inputs['name']} exists that this instance did not make "
                             "for this customer; rename or remove it, it is not touched")
        return made["Name"]

    def read(self, id: str, inputs: Inputs) -> Inputs | None:
        with speaking():
            try:
                real = client().inspect_volume(id)
            except NotFound:
                return None
        if is_ours(real.get("Labels") or {}, labels_of(inputs)):
            return inputs
        return inputs | {"labels": [{"label": k, "value": v}
                                    for k, v in sorted((real.get("Labels") or {}).items())]}

    def delete(self, id: str, inputs: Inputs) -> None:
        """Keeps the volume, unless it may go; then after a last backup."""
        if not self._may_remove(id):
            log.warning("volume %s is kept: nobody retired its owner, or the grace period lasts",
                        id)
            return
        with speaking():
            try:
                mountpoint = Path(client().inspect_volume(id)["Mountpoint"])
            except NotFound:
                return
            self._back_up(id, mountpoint)
            client().remove_volume(id)

    def _back_up(self, name: str, folder: Path) -> None:
        self._backups.mkdir(parents=True, exist_ok=True, mode=0o700)
        made = shutil.make_archive(str(self._backups / f"{name}.new"), "tar", folder)
        with open(made, "rb") as source, gzip.open(self._backups / f"{name}.tar.gz", "wb") as to:
            shutil.copyfileobj(source, to)
        Path(made).unlink()
