"""Initial data of a simulated AC: the samples of its document, then generated items."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

from fleet2mqtt.simulators.sangfor_ac.protocol import Tree

VERSION = "AC13.0.18.046 Build20210909"
SAMPLE_USER = "a"
SAMPLE_IP = "1.1.1.1"
SAMPLE_MAC = "11-11-11-11-11-11"
NET_POLICIES = ("hello", "policy1", "policy2", "全员审计", "经理专用")
FLUX_POLICIES = ("时延敏感型应用保障", "视频会议保障", "下载限速", "默认通道")
EVERYBODYS_POLICY = "全员审计"
ONE_USERS_POLICY = "经理专用"
EVERYBODY = "所有用户"
LINES = {"1": "线路1", "2": "线路2"}
GROUPS = {
    "/": "根组",
    "/default": "默认组",
    "/hello": "",
    "/hello/world": "",
    "/研发部": "研发中心",
    "/市场部": "",
    "/访客": "来访人员",
}

_HOUSES = ("/default", "/hello/world", "/研发部", "/市场部", "/访客")
_FAMILIES = (
    ("zhang", "张"),
    ("wang", "王"),
    ("li", "李"),
    ("zhao", "赵"),
    ("chen", "陈"),
    ("liu", "刘"),
    ("zhou", "周"),
)
_GIVEN = (("wei", "伟"), ("min", "敏"), ("jing", "静"), ("lei", "磊"), ("na", "娜"), ("yong", "勇"), ("yan", "艳"))
_APPS = ("HTTP", "DNS", "微信", "网络会议", "P2P下载", "在线视频", "邮件", "SSL")
_KILO = 1_000
_MEGA = 1_000_000
_CREATED = datetime(2021, 9, 9, 8, 30, tzinfo=UTC)


def make_user(name: str, show_name: str, father_path: str) -> Tree:
    """Return a local user as `user?name=` shows it, Sangfor document chapter 2 (public sources)."""
    return {
        "name": name,
        "show_name": show_name,
        "desc": "",
        "father_path": father_path,
        "create": f"{_CREATED:%Y-%m-%d %H:%M:%S}",
        "create_flag": False,
        "policy": [],
        "expire_time": {"enable": False, "date": ""},
        "enable": True,
        "self_pass": {"enable": True, "password": "", "modify_once": False},
        "bind_cfg": [],
        "custom_cfg": {},
        "logout": True,
        "common_user": {"allow_change": False, "enable": True},
        "limit_ipmac": {"enable": False, "ipmac": []},
    }


def make_online(name: str, ip: str, mac: str, login_time: int) -> Tree:
    """Return an online user, Sangfor document 5.1, and more for ranks and filters: frozen, line, apps (B/s)."""
    return {
        "name": name,
        "show_name": name,
        "father_path": "/default",
        "ip": ip,
        "mac": mac,
        "terminal": 2,
        "authway": 1,
        "login_time": login_time,
        "frozen": False,
        "line": "1",
        "session": 12,
        "apps": {"HTTP": [1_048_576, 8_388_608]},
    }


def sample_online(now: int) -> Tree:
    """Return the user of Sangfor document 5.1, online for 8 s."""
    return make_online(SAMPLE_USER, SAMPLE_IP, SAMPLE_MAC, now - 8)


def generate_online(index: int, rng: Random, now: int) -> Tree:
    """Return the `index`-th generated online user; no two have a name or an address in common."""
    family, given = _FAMILIES[index % len(_FAMILIES)], _GIVEN[index // len(_FAMILIES) % len(_GIVEN)]
    number = index // (len(_FAMILIES) * len(_GIVEN))
    third, fourth = divmod(index, 250)
    ip = f"10.{1 + third // 250}.{third % 250}.{fourth + 2}"
    mac = "-".join(f"{byte:02X}" for byte in (0x3C, *rng.randbytes(2), *index.to_bytes(3, "big")))
    item = make_online(f"{family[0]}{given[0]}{number or ''}", ip, mac, now - rng.randrange(60, 36_000))
    return item | {
        "show_name": f"{family[1]}{given[1]}{number or ''}",
        "father_path": rng.choice(_HOUSES),
        "terminal": rng.choice((0, 1, 1, 2, 2, 2, 3)),
        "authway": rng.choice((0, 1, 1, 2, 3, 4)),
        "frozen": rng.random() < 0.05,
        "line": rng.choice(("1", "2")),
        "session": rng.randrange(2, 180),
        "apps": {app: [rng.randrange(_KILO, _MEGA), rng.randrange(_KILO, 9 * _MEGA)] for app in rng.sample(_APPS, 3)},
    }


def sample_net_policies() -> list[Tree]:
    """Return the policy of Sangfor document 3.1, those that 2.14 names, one for all users and one for a single user."""
    policies = [_net_policy(name) for name in NET_POLICIES]
    policies[2]["policy_info"] |= {"status": False, "depict": "已停用"}
    policies[3]["policy_info"] |= {"type": "上网审计策略"}
    policies[3]["user_info"] |= {"local": EVERYBODY}
    policies[4]["policy_info"] |= {"founder": "auditor", "expire": "2099-12-31"}
    policies[4]["user_info"] |= {"local": SAMPLE_USER, "terminal": ["PC"]}
    return policies


def _net_policy(name: str) -> Tree:
    nobody = ("ou", "aduser", "adgroup", "exc_aduser", "attribute", "user_attr_grp", "sourceip")
    return {
        "policy_info": {
            "name": name,
            "type": "上网权限策略",
            "founder": "admin",
            "expire": "永久生效",
            "status": True,
            "depict": "",
        },
        "user_info": {
            **{field: [] for field in nobody},
            "location": ["所有位置"],
            "terminal": ["所有终端"],
            "target_area": ["全部"],
            "local": "",
        },
    }


def sample_flux_policies() -> list[Tree]:
    """Return the channels of Sangfor document 3.2 and generated ones, nested; bit/s up and down, "-1" for unlimited."""
    first = _channel(
        FLUX_POLICIES[0], "DNS,游戏,金融行情,金融交易,网络会议,ICMP,远程登录,网上银行", (20, 20), (100, 100)
    )
    inner = _channel(FLUX_POLICIES[1], "网络会议", (10, 10), (50, 50)) | {"single_user_limit": ["4000000", "8000000"]}
    first["children"] = [inner]
    second = _channel(FLUX_POLICIES[2], "P2P下载,在线视频", (None, None), (10, 30))
    second |= {"priority": "Low", "is_low_speed": True, "policy_enable": False, "line": "线路2"}
    last = _channel(FLUX_POLICIES[3], "所有应用", (None, None), (100, 100)) | {"priority": "Medium"}
    second["children"] = [last | {"is_default_child": True, "line": "线路2"}]
    return [first, second]


def _channel(
    name: str, applications: str, assured: tuple[int | None, int | None], most: tuple[int | None, int | None]
) -> Tree:
    def rates(megabits: tuple[int | None, int | None]) -> list[str]:
        return ["-1" if rate is None else str(rate * _MEGA) for rate in megabits]

    return {
        "name": name,
        "target_applications": applications,
        "target_users": EVERYBODY,
        "ip_group": "全部",
        "active_time": "全天",
        "line": "线路1",
        "assured_bandwidth": rates(assured),
        "max_bandwidth": rates(most),
        "single_user_limit": ["-1", "-1"],
        "priority": "High",
        "policy_enable": True,
        "is_default_child": False,
        "is_low_speed": False,
        "children": [],
    }


def sample_bindings() -> list[Tree]:
    """Return the three items of Sangfor document 4.1."""
    items = (("1.1.1.2", "ip", True), (SAMPLE_MAC, "mac", False), (f"{SAMPLE_IP}+{SAMPLE_MAC}", "ipmac", False))
    return [
        {
            "enable": True,
            "desc": "",
            "name": SAMPLE_USER,
            "addr": addr,
            "addr_type": kind,
            "time": "2018-05-14",
            "limitlogon": True,
            "noauth": {"enable": noauth, "indate": 0},
        }
        for addr, kind, noauth in items
    ]


def sample_status() -> Tree:
    """Return the data of chapter 1 (public sources); interfaces carry bytes a second."""
    return {
        "version": VERSION,
        "session-num": 1280,
        "log": {"block": 1024, "record": 58_231},
        "cpu-usage": 12,
        "mem-usage": 41,
        "disk-usage": 23,
        "bandwidth-usage": 35,
        "insidelib": [
            _library("病毒库", "kav", "2021-09-01", "2021-09-08"),
            _library("URL库", "url", "2021-09-06", "2021-09-06"),
            _library("网关补丁", "up", "2021-08-30", "2021-08-30"),
            _library("应用识别规则库", "contchk", "2021-09-03", "2021-09-07")
            | {"expire": "2021-08-31", "is_expired": 1},
            _library("审计规则库", "trace", "2021-09-02", "2021-09-02") | {"enable": False},
        ],
        "interfaces": {"eth0": {"send": 1_250_000, "recv": 6_400_000}, "eth2": {"send": 310_000, "recv": 905_000}},
    }


def _library(name: str, kind: str, current: str, new: str) -> Tree:
    dates = {"current": current, "new": new, "expire": "2099-12-31"}
    return {"name": name, "type": kind, **dates, "enable": True, "is_expired": 0}
