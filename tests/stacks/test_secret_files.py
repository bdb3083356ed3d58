"""A secret is whole or not there; looking never makes one; an empty one is none."""

from __future__ import annotations

import hashlib
import os
import threading

import pytest

from stacks import StackError
from stacks.host_files import is_current
from stacks.identity import key_name
from stacks.model_keys import grant, is_registered
from stacks.secret_files import existing, resolved, secret
from state_repo.documents import Customer
from state_repo.files import SecretError, read_secret, write_secret
from state_repo.instance import Instance
from tests.reconciler.examples import employee


@pytest.fixture
def instance(tmp_path):
    return Instance(id="0badcafe", data=tmp_path)


def test_a_secret_is_made_once_and_private(instance):
    made = secret(instance, "a")
    assert len(made) > 30 and secret(instance, "a") == made
    path = instance.secrets_path / "a"
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700


def test_a_crash_at_any_moment_leaves_no_half_secret(instance, monkeypatch):
    for step in ("fsync", "link"):
        with monkeypatch.context() as patch:
            patch.setattr(os, step, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                secret(instance, "a")
        assert list(instance.secrets_path.iterdir()) == []
    assert secret(instance, "a")


def test_whoever_asks_at_once_gets_the_same(instance):
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(secret(instance, "a")))
               for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16 and len(set(found)) == 1


def test_an_empty_secret_is_refused_everywhere(instance):
    instance.secrets_path.mkdir()
    path = instance.secrets_path / "a"
    path.write_text(" \n")
    for ask in (secret, existing):
        with pytest.raises(StackError, match="is empty"):
            ask(instance, "a")
    with pytest.raises(SecretError):
        read_secret(path)
    with pytest.raises(StackError):
        resolved(instance, "key=@secret:a@")
    write_secret(path, "better")
    assert secret(instance, "a") == "better"


def test_looking_makes_none(instance):
    company = Customer("acme", "Acme", 3, "10.0.0.0/25")
    wanted = grant(company, employee())
    assert not is_registered(instance, wanted)
    file = instance.data / "config" / "x"
    file.parent.mkdir()
    file.write_text("key=")
    assert not is_current(instance, {"path": "config/x", "content": "key=@secret:b@"})
    with pytest.raises(StackError, match="can't be read"):
        existing(instance, "c")
    assert not instance.secrets_path.exists()


def test_a_registration_is_read_again_when_it_was_touched(instance):
    company = Customer("acme", "Acme", 3, "10.0.0.0/25")
    wanted = grant(company, employee())
    from stacks.model_keys import FOLDER, _registered
    key = secret(instance, key_name(employee().id, 1))
    path = instance.data / FOLDER / f"{hashlib.sha256(key.encode()).hexdigest()}.json"
    path.parent.mkdir(parents=True)
    path.write_text(_registered(wanted))
    assert is_registered(instance, wanted) and is_registered(instance, wanted)
    path.write_text(_registered(wanted | {"requestsPerMinute": 1}))
    assert not is_registered(instance, wanted)
    path.unlink()
    assert not is_registered(instance, wanted)
