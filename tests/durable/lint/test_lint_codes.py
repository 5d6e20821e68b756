"""Every code has its two examples, and they are what they say."""

import pytest

from durable.lint import CODES, check_sources
from durable.lint.code import GROUPS, PRELUDE


@pytest.mark.parametrize("code", CODES.values(), ids=CODES)
def test_bad_example_has_it_and_nothing_else(code):
    assert [finding.code for finding in check_sources({"app.py": PRELUDE + code.bad}).findings] == [code.code]


@pytest.mark.parametrize("code", CODES.values(), ids=CODES)
def test_good_example_has_nothing(code):
    assert check_sources({"app.py": PRELUDE + code.good}).ok


def test_codes_are_grouped_by_their_first_digit():
    assert {code[4] for code in CODES} == set(GROUPS)
    assert all(key == code.code for key, code in CODES.items())


@pytest.mark.parametrize("code", CODES.values(), ids=CODES)
def test_remedy_is_one_line(code):
    assert code.remedy
    assert "\n" not in code.title + code.why + code.remedy
