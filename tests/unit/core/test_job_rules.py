"""The rules of a definition: each limit of the contract, named by the field its author wrote."""

from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf import text_format

from kronforce.core.delivery import Delivery
from kronforce.core.job_rules import effective, normalise_job, validate_job
from kronforce.core.job_settings import ConcurrencyPolicy
from kronforce.core.lifecycle import State
from kronforce.core.schedules.interval import Interval
from kronforce.core.schedules.misfire import MisfirePolicy
from kronforce.core.schedules.on_demand import OnDemand
from kronforce.v1.job_pb2 import Job, NoopTask, ShellTask, Task


def job(text: str = "", **fields: object) -> Job:
    made = Job(name="etl", task=Task(noop=NoopTask()), **fields)  # type: ignore[arg-type]
    text_format.Merge(text, made)
    return made


def problems(text: str = "", **fields: object) -> dict[str, str]:
    return dict(validate_job(job(text, **fields)))


def test_a_job_of_a_name_and_a_task_is_good() -> None:
    assert validate_job(job()) == []


def test_a_job_without_anything_names_both_required_fields() -> None:
    assert set(dict(validate_job(Job()))) == {"name", "task"}


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('group: "a/b"', "group"),
        (f'description: "{"x" * 10_001}"', "description"),
        ('run_as: "two words"', "run_as"),
        ('tags: ["ok", "a,b"]', "tags[1]"),
        ('labels { key: "fact.os" value: "x" }', "labels.fact.os"),
        ('labels { key: "os" value: "a=b" }', "labels.os"),
        ('timezone: "Europe/Berlim"', "timezone"),
        ('timezone: "../etc/passwd"', "timezone"),
        ("schedule {}", "schedule.type"),
        ('schedule { cron: "0 6 * * 1-5" }', "schedule.value"),
        ('schedule { cron: "0 0 0 30 2 *" }', "schedule.value"),
        ("schedule { interval {} }", "schedule.value.interval_secs"),
        ("schedule { interval { interval_secs: 31536001 } }", "schedule.value.interval_secs"),
        ("schedule { one_shot { seconds: -5 } }", "schedule.value"),
        ("target {}", "target.type"),
        ("target { agent {} }", "target.agent_id"),
        ("target { tagged {} }", "target.tag"),
        ("starts_at { seconds: 20 } expires_at { seconds: 20 }", "expires_at"),
        ("starts_at { seconds: 253402300799 }", "starts_at"),
        ("expires_at { nanos: -1 }", "expires_at"),
        ("jitter_secs: 3601", "jitter_secs"),
        ("misfire_limit: 0", "misfire_limit"),
        ("starting_deadline_secs: -1", "starting_deadline_secs"),
        ("offline_timeout_secs: -1", "offline_timeout_secs"),
        ("priority: 1001", "priority"),
        ("max_concurrent: -1", "max_concurrent"),
        ("queue_limit: 0", "queue_limit"),
        ("queue_timeout_secs: -1", "queue_timeout_secs"),
        ("timeout_secs: -1", "timeout_secs"),
        ("kill_grace_secs: 3601", "kill_grace_secs"),
        ("retry_max: 101", "retry_max"),
        ("retry_delay_secs: nan", "retry_delay_secs"),
        ("retry_delay_secs: inf", "retry_delay_secs"),
        ("retry_backoff: 0.5", "retry_backoff"),
        ("retry_max_delay_secs: -1", "retry_max_delay_secs"),
        ("retry_jitter: 1.1", "retry_jitter"),
        ('retry_on: ["failed", "exit:0"]', "retry_on[1]"),
        ("lost_after_secs: 29", "lost_after_secs"),
        ("output_cap_bytes: -1", "output_cap_bytes"),
        ("max_run_history: -1", "max_run_history"),
        ("status: 9", "status"),
        ("misfire_policy: 9", "misfire_policy"),
        ("concurrency_policy: 9", "concurrency_policy"),
        ("delivery: 9", "delivery"),
        ("task { noop { sleep_ms: -1 } }", "task.sleep_ms"),
        ("task { noop { exit_code: 256 } }", "task.exit_code"),
        ("task { noop { output_bytes: 1073741825 } }", "task.output_bytes"),
        (f'task {{ noop {{ message: "{"x" * 4097}" }} }}', "task.message"),
        ('task { shell { command: " " } }', "task.command"),
        ('task { shell { command: "a\\000b" } }', "task.command"),
        ('task { shell { command: "a" working_dir: "tmp" } }', "task.working_dir"),
        ('task { shell { command: "a" env { key: "1A" value: "" } } }', "task.env.1A"),
        ('task { shell { command: "a" env { key: "KRONFORCE_X" } } }', "task.env.KRONFORCE_X"),
    ],
)
def test_each_limit_is_named_by_its_field_alone(text: str, field: str) -> None:
    assert list(problems(text)) == [field]


def test_an_unset_field_with_a_lower_bound_is_good() -> None:
    unset = job()
    assert not unset.HasField("queue_limit")
    assert validate_job(unset) == []


def test_five_cron_fields_are_answered_with_six() -> None:
    found = problems('schedule { cron: "0 6 * * 1-5" }')["schedule.value"]
    assert '"0 6 * * 1-5"' in found
    assert "0 0 6 * * 1-5" in found


def test_a_misspelt_zone_is_answered_with_the_right_one() -> None:
    assert "Europe/Berlin" in problems('timezone: "Europe/Berlim"')["timezone"]


def test_an_unknown_number_is_answered_with_the_words() -> None:
    assert problems("misfire_policy: 9")["misfire_policy"] == (
        "9 is not known; use run_once, skip, run_all"
    )


def test_too_many_tags_labels_and_variables_are_counted() -> None:
    many = {f"k{n}": "" for n in range(257)}
    crowded = job(tags=[f"t{n}" for n in range(65)], labels=dict.fromkeys(list(many)[:65], ""))
    crowded.task.shell.CopyFrom(ShellTask(command="true", env=many))
    assert set(dict(validate_job(crowded))) == {"tags", "labels", "task.env"}


def test_a_command_of_more_than_128_kib_is_refused() -> None:
    big = job()
    big.task.shell.command = "é" * (64 << 10) + "x"
    assert "131,073 bytes" in dict(validate_job(big))["task.command"]


def test_a_definition_is_stored_without_what_the_server_makes() -> None:
    written = job('id: "x" etag: "1" version: 3 status: JOB_STATUS_PAUSED priority: 5')
    stored = normalise_job(written)
    assert stored == job(priority=5)
    assert written.etag == "1"


def test_settings_have_every_default_of_the_contract() -> None:
    found = effective(job())
    assert found.group == "Default"
    assert found.task_type == "noop"
    assert found.schedule == OnDemand()
    assert found.zone is UTC
    assert (found.misfire.policy, found.misfire.limit) == (MisfirePolicy.RUN_ONCE, 100)
    assert found.misfire.starting_deadline is None
    assert (found.offline_timeout_secs, found.queue_timeout_secs) == (3_600, 86_400)
    assert (found.max_concurrent, found.queue_limit) == (0, 1_000)
    assert (found.timeout_secs, found.kill_grace_secs) == (0, 10)
    assert found.retry.states == {State.FAILED, State.TIMED_OUT}
    assert (found.retry.backoff, found.retry.max_delay_secs) == (1.0, 3_600.0)
    assert (found.delivery, found.lost_after_secs) == (Delivery.AT_MOST_ONCE, 300)
    assert found.output_cap_bytes == 64 << 20


def test_a_zero_that_is_written_is_kept() -> None:
    found = effective(job("queue_timeout_secs: 0 kill_grace_secs: 0 output_cap_bytes: 0"))
    assert (found.queue_timeout_secs, found.kill_grace_secs, found.output_cap_bytes) == (0, 0, 0)


@pytest.mark.parametrize("policy", [ConcurrencyPolicy.FORBID, ConcurrencyPolicy.REPLACE])
def test_forbid_and_replace_without_a_number_mean_one(policy: ConcurrencyPolicy) -> None:
    assert effective(job(f"concurrency_policy: {policy.value}")).max_concurrent == 1


def test_jitter_is_the_same_for_a_job_and_within_its_bound() -> None:
    def jitter(name: str) -> timedelta:
        return effective(Job(name=name, jitter_secs=60)).jitter

    spreads = {jitter(f"job-{n}") for n in range(50)}

    assert len(spreads) > 40
    assert all(timedelta() <= spread <= timedelta(seconds=60) for spread in spreads)
    assert jitter("job-7") == jitter("job-7")


def test_an_interval_has_no_jitter() -> None:
    found = effective(job("jitter_secs: 60 schedule { interval { interval_secs: 5 } }"))
    assert found.schedule == Interval(delay=timedelta(seconds=5))
    assert found.jitter == timedelta()


def test_the_gate_joins_the_window_of_the_definition_with_the_pause_of_the_row() -> None:
    until = datetime(2026, 1, 2, tzinfo=UTC)
    gate = effective(job("starts_at { seconds: 10 }")).gate(status=2, paused_until=until)
    assert gate.starts_at == datetime(1970, 1, 1, 0, 0, 10, tzinfo=UTC)
    assert gate.paused
    assert gate.paused_until == until
