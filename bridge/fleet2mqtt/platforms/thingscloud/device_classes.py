"""Home Assistant's unit, device class and state class of a number, from its unit and its names.

A unit alone is not enough: dB is a signal's or a noise's, mm a distance or rain, m³ water, gas or a tank's content.
Only units that Home Assistant accepts for a device class are listed with it.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Any, Final

from fleet2mqtt.sdk import vendor_json

_ALIASES: Final = MappingProxyType(
    {
        alias: unit
        for unit, aliases in {
            "%": "％ %RH 百分比",
            "°": "deg",
            "°C": "℃ 摄氏度 度C °c",
            "°F": "℉ 华氏度",
            "A": "a 安 安培",
            "GB": "gb",
            "Hz": "hz HZ 赫兹",
            "L": "l 升",
            "MB": "mb Mb",
            "V": "v 伏 伏特",
            "W": "w 瓦 瓦特",
            "W/m²": "W/m2 w/m2 W/㎡ w/㎡ W/M2",
            "dB": "db DB 分贝",
            "dBA": "dB(A) db(A) dba dB(a)",
            "dBm": "dbm DBM dBM",
            "g": "克",
            "h": "小时 hour hours",
            "hPa": "hpa 百帕",
            "kPa": "kpa KPa KPA 千帕",
            "kW": "kw KW 千瓦",
            "kWh": "KWh KWH kwh kW·h kW.h 千瓦时",
            "kg": "KG Kg 千克 公斤",
            "km/h": "公里/小时 kmh",
            "lx": "lux Lux LUX 勒克斯",
            "m/s": "米/秒 m/S",
            "mA": "ma 毫安",
            "min": "分钟 分",
            "mm": "毫米 MM",
            "mm/h": "mm/hr 毫米/小时",
            "m³": "m3 M3 m^3 立方米 立方",
            "m³/h": "m3/h m^3/h 立方米/小时",
            "ppm": "PPM",
            "s": "秒",
            "µS/cm": "us/cm uS/cm μS/cm",
            "µg/m³": "ug/m3 ug/m³ μg/m3 μg/m³ µg/m3 微克/立方米",
        }.items()
        for alias in aliases.split()
    }
)
_NO_UNIT = frozenset(("pH", "PH", "ph", "AQI", "aqi"))
"""Unit texts of vendors for values that have none in Home Assistant."""
_CAMEL_CASE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

_ANY = ""
_WIND = r"(?<![a-z])wind(?!ow)|风"
_RAIN = r"(?<![a-z])rain|precip|(?<![a-z])snow|雨|降水|降雪|雪"
_VOC = r"voc"
_CUMULATIVE = r"total|cumul|accum|daily|today|累计|累积|总量|今日|当日|本月"

_SPEED = ((_WIND, "wind_speed"), (_ANY, "speed"))
_LENGTH = ((_RAIN, "precipitation"), (_ANY, "distance"))
_PRESSURE = ((r"atmos|baro|气压|大气", "atmospheric_pressure"), (_ANY, "pressure"))
_ENERGY = ((r"remain|capacity|stored|剩余|容量", "energy_storage"), (_ANY, "energy"))
_WATER = (r"water|水", "water")
_GAS = (r"(?<![a-z])gas(?![a-z])|燃气|天然气|煤气", "gas")
_VOLUME = ((_CUMULATIVE, "volume"), (_ANY, "volume_storage"))

_BY_UNIT: Final = MappingProxyType(
    {
        "%": (
            (r"soil|moisture|土壤|墒|含水", "moisture"),
            (r"humi|(?<![a-z])rh(?![a-z])|湿度", "humidity"),
            (r"batt|(?<![a-z])soc(?![a-z])|电量|电池", "battery"),
            (r"power_?factor|功率因数", "power_factor"),
        ),
        "dB": (
            (r"noise|sound|(?<![a-z])spl(?![a-z])|噪|声", "sound_pressure"),
            (r"rssi|rsrp|rsrq|snr|sinr|signal|信号|信噪", "signal_strength"),
        ),
        "dBA": ((_ANY, "sound_pressure"),),
        "dBm": ((_ANY, "signal_strength"),),
        "°": ((_WIND, "wind_direction"),),
        "ppm": (
            (r"co_?2(?!\d)|carbon_?dioxide|二氧化碳", "carbon_dioxide"),
            (r"(?<![a-z])co(?![a-z0-9])|carbon_?monoxide|一氧化碳", "carbon_monoxide"),
            (_VOC, "volatile_organic_compounds_parts"),
        ),
        "ppb": ((_VOC, "volatile_organic_compounds_parts"),),
        "µg/m³": (
            (r"pm_?2[._]?5", "pm25"),
            (r"pm_?10(?!\d)", "pm10"),
            (r"pm_?1(?!\d)", "pm1"),
            (r"no2|二氧化氮", "nitrogen_dioxide"),
            (r"so2|二氧化硫", "sulphur_dioxide"),
            (r"ozone|(?<![a-z])o3|臭氧", "ozone"),
            (_VOC, "volatile_organic_compounds"),
        ),
        "m³": (_WATER, _GAS, *_VOLUME),
        "ft³": (_WATER, _GAS, *_VOLUME),
        "L": (_WATER, *_VOLUME),
        "gal": (_WATER, *_VOLUME),
        "mL": _VOLUME,
        **dict.fromkeys(("m/s", "km/h", "mph", "kn", "ft/s"), _SPEED),
        **dict.fromkeys(("mm", "cm", "in"), _LENGTH),
        **dict.fromkeys(("mm/h", "mm/d", "in/h", "in/d"), ((_ANY, "precipitation_intensity"),)),
        **dict.fromkeys(("m", "km", "ft", "mi"), ((_ANY, "distance"),)),
        **dict.fromkeys(("Pa", "hPa", "kPa", "mbar", "bar", "psi", "mmHg"), _PRESSURE),
        **dict.fromkeys(("Wh", "kWh", "MWh", "GWh", "J", "kJ", "MJ"), _ENERGY),
        **dict.fromkeys(("°C", "°F", "K"), ((_ANY, "temperature"),)),
        **dict.fromkeys(("V", "mV", "kV"), ((_ANY, "voltage"),)),
        **dict.fromkeys(("A", "mA"), ((_ANY, "current"),)),
        **dict.fromkeys(("W", "kW", "MW"), ((_ANY, "power"),)),
        **dict.fromkeys(("Hz", "kHz", "MHz", "GHz"), ((_ANY, "frequency"),)),
        **dict.fromkeys(("g", "kg", "mg"), ((_ANY, "weight"),)),
        **dict.fromkeys(("ms", "s", "min", "h", "d"), ((_ANY, "duration"),)),
        **dict.fromkeys(("S/cm", "mS/cm", "µS/cm"), ((_ANY, "conductivity"),)),
        **dict.fromkeys(("m³/h", "L/min"), ((_ANY, "volume_flow_rate"),)),
        **dict.fromkeys(("B", "kB", "MB", "GB", "TB"), ((_ANY, "data_size"),)),
        **dict.fromkeys(("bit/s", "kbit/s", "Mbit/s", "B/s", "kB/s", "MB/s"), ((_ANY, "data_rate"),)),
        "W/m²": ((_ANY, "irradiance"),),
        "lx": ((_ANY, "illuminance"),),
        "VA": ((_ANY, "apparent_power"),),
        "var": ((_ANY, "reactive_power"),),
        None: (
            (r"(?<![a-z])ph(?![a-z])|酸碱", "ph"),
            (r"(?<![a-z])aqi(?![a-z])", "aqi"),
            (r"power_?factor|功率因数", "power_factor"),
        ),
    }
)
_DU = (
    (r"energy|electric|kwh|电", "kWh"),
    (r"temp|温", "°C"),
    (rf"{_WIND}|direction|angle|角|方位|倾", "°"),
)
"""度 is a kilowatt-hour, a degree Celsius or an angle."""

_STATE_CLASSES: Final = MappingProxyType(
    {
        **dict.fromkeys(("energy", "gas", "water", "volume"), "total_increasing"),
        **dict.fromkeys(("date", "enum", "timestamp"), ""),
        "wind_direction": "measurement_angle",
    }
)
"""State classes of device classes for which Home Assistant does not allow `measurement`; "" is none."""


def parse_unit(text: Any, *names: str | None) -> str | None:
    """Return a unit in Home Assistant's spelling; names of the attribute tell which 度 it is."""
    unit = vendor_json.text(text)
    if unit is None or unit in _NO_UNIT:
        return None
    if unit == "度":
        return _first_match(_DU, names) or unit
    return _ALIASES.get(unit, unit)


def guess_device_class(unit: str | None, *names: str | None) -> str | None:
    """Return the device class of a unit; names of the attribute decide where a unit has several."""
    return _first_match(_BY_UNIT.get(unit, ()), names)


def guess_state_class(device_class: str | None, *names: str | None) -> str:
    """Return a state class that Home Assistant allows for a device class."""
    if device_class == "precipitation" and _first_match(((_CUMULATIVE, "yes"),), names):
        return "total_increasing"
    return _STATE_CLASSES.get(device_class or "", "measurement")


def _first_match(rules: tuple[tuple[str, str], ...], names: tuple[str | None, ...]) -> str | None:
    text = " ".join(_CAMEL_CASE.sub("_", name).lower() for name in names if name)
    return next((result for pattern, result in rules if re.search(pattern, text)), None)
