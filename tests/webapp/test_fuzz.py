"""Schemathesis against the API: whatever its own description allows, and what it does not, gets an
answer that is no error of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.generation import GenerationMode
from sqlalchemy import delete

from state_repo.instance import Instance
from tests.pages.fake_reconciler import FakeReconciler
from webapp.models import Attempts, db

OWNER = "ann@acme.test"


@pytest.fixture
def reconciler(house: Any, tmp_path: Path) -> Any:
    made = FakeReconciler(Instance(id="0badcafe", data=tmp_path).socket)
    yield made
    made.close()


class Owner:
    """Signs in again whenever a request ended its session."""

    def __init__(self, house: Any) -> None:
        self._house, self._client = house, house.client(OWNER)

    def send(self, case: Any) -> Any:
        known = {"customer": "acme", "employee": self._house.pulse}
        case.path_parameters = {name: known.get(name, value)
                                for name, value in (case.path_parameters or {}).items()}
        answer = self._ask(case)
        if answer.status_code == 401 and case.operation.path != "/api/v1/session":
            # Who ends so many of its sessions signs in more often than a person may.
            with self._house.app.app_context():
                db.session.execute(delete(Attempts))
                db.session.commit()
            self._client = self._house.client(OWNER)
            answer = self._ask(case)
        return answer

    def _ask(self, case: Any) -> Any:
        arguments = case.as_transport_kwargs(base_url="http://localhost")
        body = arguments.get("data")
        if arguments.get("json") is not None:
            return self._client.open(case.formatted_path, method=case.method.upper(),
                                     query_string=case.query or None, headers=case.headers or {},
                                     json=arguments["json"])
        return self._client.open(case.formatted_path, method=case.method.upper(),
                                 query_string=case.query or None, headers=case.headers or {},
                                 data=body)


@pytest.mark.parametrize("examples", [3, pytest.param(150, marks=[
    pytest.mark.long, pytest.mark.timeout(3600)])])
def test_no_request_gets_an_error_of_ours(house, reconciler, examples):
    description = house.client().get("/api/v1/openapi.json").json
    schema = schemathesis.openapi.from_dict(description)
    owner, failed, tried = Owner(house), [], 0
    for found in schema.get_all_operations():
        operation = found.ok()
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            @seed(1)
            @settings(max_examples=examples, deadline=None, database=None,
                      phases=[Phase.generate], suppress_health_check=list(HealthCheck))
            @given(case=operation.as_strategy(generation_mode=mode))
            def ask(case: Any) -> None:
                nonlocal tried
                tried += 1
                answer = owner.send(case)
                if answer.status_code >= 500:
                    failed.append(f"{answer.status_code} {case.method} {case.formatted_path} "
                                  f"{case.query} {str(case.body)[:300]}: {answer.text[:200]}")
            ask()
    assert tried > 50 * examples
    assert failed == [], f"{len(failed)} of {tried}:\n" + "\n".join(failed[:20])
