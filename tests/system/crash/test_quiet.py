"""The mixed load on processes that nobody kills: what every other test here is held against.

It comes by every registered failpoint of all processes, so that each kill elsewhere is certain to
happen: a point that is registered and never hit fails here.
"""

from dataclasses import replace

from tests.system.checker.rules import judge
from tests.system.rig.cluster import Cluster
from tests.system.rig.failpoint_round import points
from tests.system.rig.load import Load
from tests.system.rig.recording import Recorder
from tests.system.rig.tasks import Notes


async def test_a_mixed_load_keeps_every_promise_when_nothing_breaks(made: Cluster) -> None:
    notes = Notes(made.folder / "notes")
    recorder = Recorder(made, notes)
    await made.start_controller()
    await made.start_agent()
    load = Load(made, recorder, notes)
    await load.define()
    await recorder.follow()
    await load.fire()
    await load.stop_ticking()
    await recorder.settled()
    history = await recorder.history()
    assert judge(replace(history, killed=())) == []
    assert made.complaints() == []
    assert {point.name for point in points()} - made.hits() == set()
    assert [await each.stop() for each in (made.agents["one"], made.controller) if each] == [0, 0]
