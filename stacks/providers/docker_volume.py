"""docker:index/volume:Volume over Docker's API. Absence is not deletion: see `delete`; nor is it a
reason to make a volume anew: see `create`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from stacks import StackError
from stacks.employee_files import volume_folder
from stacks.providers.docker_api import NotFound, client, is_ours, labels_of, speaking
from stacks.providers.servicer import Inputs, Kind
from stacks.volumes import VolumeLostError, Volumes, back_up

log = logging.getLogger(__name__)


class Volume(Kind):
    """`may_remove(name)`: whether the volume's owner is retired and its grace is over.
    `backups`: where its last backup goes, as <volume>.tar.gz."""

    token = "docker:index/volume:Volume"
    properties = frozenset({"name", "driver", "labels"})

    def __init__(self, volumes: Volumes, may_remove: Callable[[str], bool], backups: Path) -> None:
        self._volumes, self._may_remove, self._backups = volumes, may_remove, backups

    def create(self, inputs: Inputs) -> str:
        name = inputs["name"]
        with speaking():
            try:
                made = client().inspect_volume(name)
            except NotFound:
                if self._volumes.was_made(name):
                    raise VolumeLostError(
                        f"the volume {name} was made before and is gone; it is not made anew by "
                        "itself. `iw status` says what can be done") from None
                made = client().create_volume(name, driver=inputs.get("driver", "local"),
                                              driver_opts=self._volumes.disks.options(name),
                                              labels=labels_of(inputs))
        if not is_ours(made.get("Labels") or {}, labels_of(inputs)):
            raise StackError(f"a volume {name} exists that this instance did not make "
                             "for this customer; rename or remove it, it is not touched")
        self._volumes.note([name])
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
                client().inspect_volume(id)
            except NotFound:
                return
            back_up(volume_folder(id), self._backups / f"{id}.tar.gz")
            client().remove_volume(id)
            self._volumes.disks.remove(id)
            self._volumes.forget(id)
