"""Rules for vendors' alarms: recovery pairs, severities, what is ignored, expiry, texts."""

from __future__ import annotations

import pytest

from fleet2mqtt.devices.alarm_rules import NO_RULES, ActiveAlarm, AlarmRules, RecoveryPair
from fleet2mqtt.devices.model import Alarm, Name, Severity
from tests.sample_alarms import RAISED, alarm

PAIR = AlarmRules(recovers=(RecoveryPair(raised="33", by="34"),))


def applied(rules: AlarmRules, *alarms: Alarm, language: str = "en") -> list[Alarm]:
    return rules.apply(alarms, language)


def test_no_rules_change_nothing() -> None:
    assert applied(NO_RULES, alarm(1, code=33)) == [alarm(1, code=33)]


def test_pair_makes_an_alarm_active_until_the_other_comes_for_the_same_line() -> None:
    raised, cleared = applied(PAIR, alarm(1, code=33, line="4"), alarm(2, code=34, line="4"))
    assert (raised.active, raised.cleared, raised.alarm_key) == (True, False, "33_line_4")
    assert (cleared.active, cleared.cleared, cleared.alarm_key) == (True, True, "33_line_4")
    assert cleared.severity is Severity.CLEARED
    [other] = applied(PAIR, alarm(3, code=34, line="5"))
    assert other.alarm_key == "33_line_5"


def active(key: str, *, line: str | None = None) -> ActiveAlarm:
    return ActiveAlarm(id="hq:1", key=key, line=line, raised_at=RAISED)


@pytest.mark.parametrize(
    ("known", "line", "key"),
    [
        ([active("33")], "4", "33"),  # was listed without its line
        ([active("33", line="4")], "4", "33"),  # and was pushed afterwards
        ([active("33", line="5")], "4", "33_line_4"),
        ([active("33_line_4", line="4")], None, "33_line_4"),  # the recovery is listed without its line
        ([active("33_line_4", line="4"), active("33_line_5", line="5")], None, "33"),  # either may be meant
        ([active("33_line_4", line="4"), active("33")], "4", "33_line_4"),
        ([active("35")], "4", "33_line_4"),
        ([], None, "33"),
    ],
)
def test_recovery_ends_the_only_alarm_that_it_can_mean(known: list[ActiveAlarm], line: str | None, key: str) -> None:
    [changed] = PAIR.apply([alarm(2, code=34, line=line)], "en", lambda _: known)
    assert (changed.alarm_key, changed.cleared) == (key, True)


def test_recovery_does_not_end_an_alarm_that_is_newer() -> None:
    newer = ActiveAlarm(id="hq:9", key="33_line_4", line="4", raised_at=alarm(9).raised_at)
    [changed] = PAIR.apply([alarm(2, code=34)], "en", lambda _: [newer])
    assert changed.alarm_key == "33"


def test_recovery_in_a_list_with_its_own_alarm_ends_that_one() -> None:
    listed = [alarm(2, code=33), alarm(3, code=34)]
    _, changed = PAIR.apply(listed, "en", lambda _: [active("33_line_4", line="4")])
    assert changed.alarm_key == "33"
    again = [alarm(1, code=33), alarm(3, code=34)]  # the active one is listed, too
    _, changed = PAIR.apply(again, "en", lambda _: [active("33_line_4", line="4")])
    assert changed.alarm_key == "33_line_4"


def test_repeated_alarm_has_the_key_of_the_active_one_whose_line_was_learnt() -> None:
    [changed] = PAIR.apply([alarm(2, code=33, line="4")], "en", lambda _: [active("33", line="4")])
    assert changed.alarm_key == "33"
    [changed] = PAIR.apply([alarm(2, code=33, line="4")], "en", lambda _: [active("33")])
    assert changed.alarm_key == "33_line_4"


def test_pair_may_name_the_vendors_names() -> None:
    rules = AlarmRules(recovers=(RecoveryPair(raised="DOWN", by="UP"),))
    raised, cleared = applied(rules, alarm(1, name="DOWN"), alarm(2, name="UP"))
    assert (raised.alarm_key, cleared.alarm_key, cleared.cleared) == ("DOWN", "DOWN", True)


def test_alarm_that_its_vendor_clears_is_left_to_it() -> None:
    own = alarm(1, code=33, active=True, alarm_key="door")
    assert applied(PAIR, own) == [own]


def test_ignored_alarm_is_left_out() -> None:
    rules = AlarmRules(ignore=("33", "NAME"))
    assert applied(rules, alarm(1, code=33), alarm(2, name="NAME"), alarm(3, code=34)) == [alarm(3, code=34)]


def test_severity_and_text_of_a_code() -> None:
    rules = AlarmRules(severity={"33": Severity.MINOR}, texts={"33": Name("Offline", "离线")})
    [changed] = applied(rules, alarm(1, code=33), language="zh-Hans")
    assert (changed.severity, changed.description, changed.description_en) == (Severity.MINOR, "离线", "Offline")


def test_expiring_alarm_is_active() -> None:
    rules = AlarmRules(clear_after={"33": 60})
    [changed] = applied(rules, alarm(1, code=33))
    assert (changed.active, changed.alarm_key) == (True, "33")
    assert rules.seconds_until_clear(33, "any") == 60
    assert rules.seconds_until_clear(None, "any") is None
