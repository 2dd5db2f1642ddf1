"""Rules for vendors' alarms: recovery pairs, severities, what is ignored, expiry, texts."""

from __future__ import annotations

from fleet2mqtt.devices.alarm_rules import NO_RULES, AlarmRules, RecoveryPair
from fleet2mqtt.devices.model import Alarm, Name, Severity
from tests.sample_alarms import alarm

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
