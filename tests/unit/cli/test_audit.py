"""`kronforce audit …`: who changed what, and whether the log holds."""

import json

import pytest

from kronforce.v1.audit_pb2 import AuditEntry
from kronforce.v1.audit_service_pb2 import AuditFault, VerifyAuditResponse


@pytest.fixture
def log(fake):
    changed = AuditEntry(
        chain_id=2, sequence=7, actor="ci", operation="job.updated", resource_type="job",
        resource_name="backup", group="ops", peer="10.0.0.7", surface="grpc",
    )  # fmt: skip
    changed.at.FromJsonString("2026-11-20T14:03:20Z")
    changed.before.update({"retry_max": 0, "timezone": "UTC", "version": 1})
    changed.after.update({"retry_max": 3, "version": 2})
    refused = AuditEntry(
        chain_id=2, sequence=8, actor="reader", operation="call.refused", resource_type="method",
        resource_name="KeyService/CreateKey", refused=True,
    )  # fmt: skip
    refused.details.update({"role": "viewer"})
    fake.audit.entries += [changed, refused]
    return fake.audit


def test_a_change_is_shown_with_the_names_of_what_changed(cli, log):
    [refused, changed] = cli("audit", "list", "--utc").out.splitlines()
    assert changed.split("\t")[:6] == [
        "2026-11-20 14:03:20Z", "ci", "job.updated", "job backup", "ops", "retry_max, timezone",
    ]  # fmt: skip
    assert refused.split("\t")[5] == "refused: not for viewer"


def test_entries_are_filtered_and_given_as_json(cli, log):
    found = json.loads(cli("audit", "list", "--operation", "job.*", "-o", "json").out)
    [entry] = found["data"]
    assert (entry["before"]["retry_max"], entry["after"]["retry_max"]) == (0, 3)
    assert cli("audit", "list", "--refused", "-o", "name").out == "2-8\n"


def test_instants_go_with_their_zone(cli, log):
    done = cli("audit", "list", "--since", "2026-11-20T06:00:00+01:00")
    assert done.code == 0, done.err
    assert log.asked[-1].since.ToJsonString() == "2026-11-20T05:00:00Z"


def test_a_log_that_holds_is_fine(cli, log):
    log.parts = [
        VerifyAuditResponse(ok=True, checked=4, chains=1),
        VerifyAuditResponse(ok=True, checked=2, chains=1, cut=1_000),
    ]
    done = cli("audit", "verify")
    assert (done.code, done.out) == (
        0,
        "the audit log holds: 6 entries in 2 chains; 1,000 older ones were cut by retention\n",
    )


def test_a_log_that_does_not_hold_ends_with_1_and_says_where(cli, log):
    fault = AuditFault(
        chain_id=1, sequence=3, fault="changed", message="entry 3 of chain 1 was changed"
    )
    log.parts = [
        VerifyAuditResponse(ok=False, checked=4, chains=1, faults=[fault]),
        VerifyAuditResponse(ok=True, checked=2, chains=1),
    ]
    done = cli("audit", "verify")
    assert done.code == 1
    assert "entry 3 of chain 1 was changed" in done.out
    as_data = cli("audit", "verify", "-o", "json")
    assert (as_data.code, json.loads(as_data.out)["ok"]) == (1, False)
