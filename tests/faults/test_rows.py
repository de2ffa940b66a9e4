"""Some rows of the fault table, each for some seconds, and a short chaos. ``make faults`` and ``make chaos`` play longer."""

import pytest

from tests.faults import chaos
from tests.faults.rows import ROWS

pytestmark = pytest.mark.long(8)
SECONDS = 3


@pytest.mark.parametrize(
    "name",
    ["F1", "F7", "F34", "F36", "F13", "F40", "F42", "F59", "F66", "F66b", "F66c", "F66d", "F69", "F70", "F74"],
)
def test_no_acknowledged_job_is_lost_or_done_twice_under(name):
    verdict, passed = ROWS[name].play(SECONDS, seed=1)
    print(verdict, *verdict.violations, sep="\n")
    assert passed


@pytest.mark.long(45)
def test_nothing_is_lost_in_a_short_chaos():
    verdict, _ = chaos.run(12, seed=4)
    print(verdict, *verdict.violations, sep="\n")
    assert verdict.good
