"""Initial data of a simulated IG200 system: the gateways and rules of the document's samples, then generated ones."""

from __future__ import annotations

from random import Random

from fleet2mqtt.simulators.smart_gateway.protocol import Tree

FIRST_SN = "172DE6AC9832DE"
SECOND_SN = "ABCD21DCF318BA"
FIRST_RULE = "ebfa83fe9b9aa6a83fe"
SECOND_RULE = "3c1d90a7be5f42e8d61"
FREE_RULE = "7fa20c64d9b83e15a07"
NOT_SET = "0.0.0.0"  # noqa: S104 - as the document spells it

_SAMPLE_PORTS = "1935,22000-22010,22222,22048-22058"
_CITIES = ("北京", "广州", "深圳", "成都", "杭州", "武汉", "西安", "南京", "重庆", "青岛")
_SITES = ("转播车", "泵站", "门店", "仓库", "配电房", "船舶")
_OPERATORS = (("CMCC", "cmnet", "n41", 2565), ("CUCC", "3gnet", "n78", 3450), ("CTCC", "ctnet", "n78", 3350))
_HOME = (31.2304, 121.4737)


def make_sn(rng: Random) -> str:
    """Return fourteen hexadecimal digits, as in the document's samples."""
    return f"{rng.getrandbits(56):014X}"


def make_alias(index: int) -> str:
    """Return the alias of the `index`-th generated gateway; no two are equal."""
    return f"{_CITIES[index % len(_CITIES)]}{_SITES[index // len(_CITIES) % len(_SITES)]}{index + 1}"


def make_uuid(rng: Random) -> str:
    """Return nineteen hexadecimal digits, as in the document's samples."""
    return f"{rng.getrandbits(76):019x}"


def make_gateway(sn: str, alias: str, rng: Random) -> Tree:
    """Return a running gateway with two 5G SIMs, a 4G SIM, an empty slot, a Wi-Fi stick and an ethernet port."""
    subnet = f"192.168.{rng.randrange(4, 250)}"
    return {
        "base": _base(sn, alias, rng),
        "network": _network(subnet, alias, rng),
        "channel": {
            "0": _sim_5g("SIM1", rng),
            "1": {},
            "2": _sim_5g("SIM3", rng),
            "3": _sim_4g("SIM4", rng),
            "4": _wifi(rng),
            "8": _ethernet(rng),
        },
        "parameters": {"top": 0, "lock": 0},
    }


def make_registered(sn: str, alias: str) -> Tree:
    """Return a gateway that is registered and was never online: the placeholders of document 1.1."""
    base = {"sn": sn, "alias": alias, "state": "offline", "type": "IG200", "version": "", "runtime": "", "remark": ""}
    rest = {"rateup": 0, "ratedown": 0, "qos": "", "mapping": [], "record": "", "gps": {"lat": 0, "lon": 0}}
    return {
        "base": base | rest,
        "network": {"lan": {}, "hotspot": {}},
        "channel": {},
        "parameters": {"top": 0, "lock": 0},
    }


def make_rule(uuid: str, name: str, port: str, protocol: int) -> Tree:
    """Return a port mapping rule that is assigned to no gateway."""
    rule = {"uuid": uuid, "name": name, "ip": "192.168.16.56", "port": port, "protocol": protocol}
    return rule | {"devName": "", "sn": "", "devType": "", "mark": ""}


def sample_rules() -> tuple[Tree, ...]:
    """Return the sample's two rules, with different uuids and names (2.1 repeats them), and an unassigned one."""
    return (
        make_rule(FIRST_RULE, "NMS_UDPPort", _SAMPLE_PORTS, 1),
        make_rule(SECOND_RULE, "NMS_TCPPort", _SAMPLE_PORTS, 0),
        make_rule(FREE_RULE, "Web_TCPPort", "8080", 0),
    )


def sample_gateways(rng: Random) -> tuple[Tree, Tree]:
    """Return the gateway of document 1.1 and the one of document 2.3."""
    first, second = make_gateway(FIRST_SN, "上海1", rng), make_gateway(SECOND_SN, "上海一", rng)
    first["base"] |= {
        "version": "V1.1.2",
        "runtime": 156482,
        "remark": "这是备注",
        "rateup": 58640,
        "ratedown": 58640,
        "record": {"time": 16589465828, "speed": {"up": 56482, "down": 65824}},
    }
    first["network"] = {
        "lan": {"ip": "192.168.4.1", "mask": "255.255.255.0", "start": "192.168.4.100", "end": "192.168.4.199"},
        "hotspot": {"enable": 1, "name": "我的Wi-Fi", "passwd": "4564187", "encrymode": 0}
        | {"ap": 1, "chain": 16, "bandwidth": 2, "hidden": 0},
    }
    first["channel"]["0"] |= {"name": "SIM1", "enable": 0, "state": 0, "signal": -30, "operator": "CMCC"}
    first["channel"]["0"] |= {"type": "5G SA", "rateup": 8546, "ratedown": 6426, "rtt": 100}
    first["channel"]["0"] |= {"used": 522681, "remain": 5658654, "total": 100000000}
    first["channel"]["0"] |= {"innerip": "192.168.4.6", "outerip": "10.10.15.16"}
    first["channel"]["0"] |= {"net": "auto", "slot": 0, "apn": "cmnet", "initFlow": 100, "remainFlow": 0}
    first["parameters"] = {"top": 1, "lock": 0}
    return first, second


def _base(sn: str, alias: str, rng: Random) -> Tree:
    return {
        "sn": sn,
        "alias": alias,
        "state": "running",
        "type": "IG200",
        "version": rng.choice(("V1.1.2", "V1.1.4", "V1.2.0")),
        "runtime": rng.randrange(600, 3_000_000),
        "remark": "",
        "rateup": rng.randrange(500, 90_000),
        "ratedown": rng.randrange(500, 90_000),
        "qos": "standard",
        "mapping": [],
        "record": {
            "time": 1_658_946_582_800 + rng.randrange(10_000_000),
            "speed": {"up": rng.randrange(1_000, 90_000), "down": rng.randrange(1_000, 90_000)},
        },
        "gps": {"lat": round(_HOME[0] + rng.uniform(-8, 8), 6), "lon": round(_HOME[1] - rng.uniform(0, 15), 6)},
    }


def _network(subnet: str, alias: str, rng: Random) -> Tree:
    return {
        "lan": {
            "ip": f"{subnet}.1",
            "mask": "255.255.255.0",
            "start": f"{subnet}.100",
            "end": f"{subnet}.199",
        },
        "hotspot": {
            "enable": 1,
            "name": f"IG200-{alias}",
            "passwd": f"{rng.randrange(10**7, 10**8)}",
            "encrymode": 0,
            "ap": 1,
            "chain": 16,
            "bandwidth": 2,
            "hidden": 0,
        },
    }


def _line(name: str, operator: str, technology: str, rng: Random) -> Tree:
    """Return the fields that every channel has."""
    total, used = 100_000_000, rng.randrange(1_000_000, 40_000_000)
    return {
        "name": name,
        "enable": 1,
        "state": 1,
        "signal": -rng.randrange(50, 110),
        "operator": operator,
        "type": technology,
        "rateup": rng.randrange(100, 20_000),
        "ratedown": rng.randrange(100, 40_000),
        "rtt": rng.randrange(8, 120),
        "used": used,
        "remain": total - used,
        "total": total,
        "innerip": f"10.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(1, 255)}",
        "outerip": f"112.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(1, 255)}",
        "ip": NOT_SET,
        "mask": NOT_SET,
        "gateway": NOT_SET,
    }


def _sim(name: str, technology: str, rng: Random) -> Tree:
    operator, apn, band, frequency = rng.choice(_OPERATORS)
    return _line(name, operator, technology, rng) | {
        "apn": apn,
        "initFlow": 100,
        "ICCID": f"8986{rng.randrange(10**16):016d}",
        "frequency": frequency,
        "frequencyRange": band,
        "rssi": -rng.randrange(50, 90),
        "rssp": -rng.randrange(70, 115),
        "rssq": -rng.randrange(5, 18),
        "sinru": rng.randrange(-2, 28),
        "todayUsedFlow": rng.randrange(100, 5_000),
        "remainFlow": rng.randrange(1_000, 90_000),
    }


def _sim_5g(name: str, rng: Random) -> Tree:
    return _sim(name, "5G SA", rng) | {"net": "auto", "slot": 0}


def _sim_4g(name: str, rng: Random) -> Tree:
    return _sim(name, "4G LTE", rng) | {"frequency": 1850, "frequencyRange": "B3"}


def _wifi(rng: Random) -> Tree:
    return _line("USB", "", "USB", rng) | {
        "usb_type": 1,
        "ssid": "Depot-5G",
        "ssidList": ["Depot-5G", "Depot-2G", "Guest"],
        "wifiKey": f"depot{rng.randrange(10**6):06d}",
        "wifiEncryMode": "WPA2-PSK",
        "wifiMode": "802.11ac",
        "wifiSignal": -rng.randrange(35, 80),
        "wifiFrequencyRange": "5GHz",
        "is_dhcp": True,
    }


def _ethernet(rng: Random) -> Tree:
    return _line("WAN", "", "ETH", rng) | {
        "signal": 0,
        "is_dhcp": False,
        "ip": f"192.168.100.{rng.randrange(2, 255)}",
        "mask": "255.255.255.0",
        "gateway": "192.168.100.1",
    }
