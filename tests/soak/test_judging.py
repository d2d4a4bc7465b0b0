"""The judge of `make soak` sees what grows, and nothing where nothing does."""

import random
from dataclasses import replace

from tests.soak.judging import judge
from tests.soak.sampling import Sample

MIB = 1 << 20


def samples(*, leak=0.0, noise=1.0, cost_growth=0.0, wal=0.0):
    chance, found, cpu = random.Random(7), [], 0.0
    for at in range(480):
        cpu += 0.1 * (1 + cost_growth * at / 480)
        figures = {
            "controller memory": 200 * MIB + leak * at + noise * chance.gauss(0, MIB),
            "controller descriptors": 40 + chance.choice((0, 1, 2)),
            "kronforce.db-wal wal": 4 * MIB + wal * at,
        }
        found.append(Sample(at=at, figures=figures, cpu_secs=cpu, runs=at * 10))
    return found


def grown(verdicts):
    return [each.name for each in verdicts if not each.flat]


def test_noise_is_flat():
    assert grown(judge(samples(noise=10))) == []


def test_a_leak_is_seen_through_the_noise():
    assert grown(judge(samples(leak=0.1 * MIB))) == ["controller memory"]


def test_a_log_that_is_never_cut_is_seen():
    assert grown(judge(samples(wal=0.1 * MIB))) == ["kronforce.db-wal wal"]


def test_runs_that_cost_more_and_more_are_seen():
    assert grown(judge(samples(cost_growth=0.3))) == ["cpu ms a run"]
    assert grown(judge(samples(cost_growth=0.05))) == []


def test_what_grows_while_it_warms_up_is_no_leak():
    warm = samples()
    cold = [replace(each, figures={**each.figures, "controller memory": 1.0}) for each in warm[:90]]
    assert grown(judge(cold + warm[90:])) == []
