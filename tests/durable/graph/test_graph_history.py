"""Pictures of runs: what was done, with what became of it."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from replay.corpus import SHAPES, record

from durable.graph import draw_history, to_mermaid, to_svg
from durable.graph.shape import Group, operations


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_of_run_is_drawn(name: str):
    for recording in record(name):
        picture = draw_history(recording.history, name)
        ET.fromstring(to_svg(picture))
        assert to_mermaid(picture).startswith("flowchart TD")
        assert all(node.status for node in operations(picture.nodes))


def test_steps_of_one_batch_stand_side_by_side():
    [recording] = record("parallel_gather")
    picture = draw_history(recording.history, "x")
    assert isinstance(picture.nodes[0], Group)
    assert picture.nodes[0].kind == "parallel"
    assert {node.status for node in operations(picture.nodes)} == {"done"}
    assert picture.nodes[-1].label == "completed"


def test_open_operations_are_open_and_failed_ones_failed():
    [recording] = record("waiting_for_a_person")
    cut = [event for event in recording.history if event.batch == 1]
    assert {node.status for node in operations(draw_history(cut, "x").nodes)} == {"open"}
    failed = record("failing_group")[0]
    assert "failed" in {node.status for node in operations(draw_history(failed.history, "x").nodes)}


def test_what_is_undone_is_told():
    nodes = [node for one in record("compensation") for node in operations(draw_history(one.history, "x").nodes)]
    assert any(node.kind == "undo" and node.note.startswith("undoes ") for node in nodes)
    assert any(node.kind == "rollback" for node in nodes)
