"""The add-on of Home Assistant: its files, and what its run script makes of options and of the Supervisor.

tests/homeassistant/test_packages.py runs it together with a real Home Assistant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from fleet2mqtt.config.models import Language
from fleet2mqtt.devices.selection import Detail
from fleet2mqtt.sdk.api import platforms
from tests.broker import HOST, Broker, free_port
from tests.packaging.addon import ADDON, definition, mistakes, run_script, supervisor
from tests.packaging.site import ROOT, open_site
from tests.process import ran, running

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS = {"language": "en", "log_level": "info", "backends": []}


def test_default_options_follow_the_schema() -> None:
    addon = definition()
    assert addon["options"] == OPTIONS
    assert mistakes(addon["schema"], addon["options"]) == []
    assert mistakes(addon["schema"], OPTIONS | {"language": "fr", "x": 1}) == [".x is unknown", "language is wrong"]


def test_schema_offers_what_the_bridge_knows() -> None:
    schema = definition()["schema"]
    (backend,) = schema["backends"]
    assert schema["language"] == f"list({'|'.join(Language)})"
    assert backend["platform"] == f"list({'|'.join(sorted(platforms()))})"
    assert backend["entities"] == f"list({'|'.join(Detail)})?"


@pytest.mark.parametrize("language", ["en", "zh-Hans"])
def test_every_option_and_port_has_a_text(language: str) -> None:
    addon = definition()
    texts = yaml.safe_load((ADDON / f"translations/{language}.yaml").read_text("utf-8"))
    assert texts["configuration"].keys() == addon["schema"].keys()
    assert all(each.keys() == {"name", "description"} for each in texts["configuration"].values())
    assert texts["network"].keys() == addon["ports"].keys()


def test_files_for_the_store_are_there() -> None:
    head = (ADDON / "icon.png").read_bytes()[:24]
    width, height = int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert width == height
    assert {"README.md", "DOCS.md", "CHANGELOG.md", "Dockerfile"} <= {path.name for path in ADDON.iterdir()}
    repository = yaml.safe_load((ROOT / "repository.yaml").read_text("utf-8"))
    assert repository.keys() == {"name", "url", "maintainer"}
    documented = (ADDON / "DOCS.md").read_text("utf-8")
    (backend,) = definition()["schema"]["backends"]
    assert [option for option in backend if f"`{option}`" not in documented] == []


async def test_addon_takes_broker_and_options_and_bridges_a_device(tmp_path: Path) -> None:
    broker = Broker(directory=tmp_path / "broker", users={"addons": "sesame"})
    async with open_site(tmp_path, broker) as site:
        service = {"host": HOST, "port": broker.port, "ssl": False, "protocol": "3.1.1"}
        service |= {"username": "addons", "password": "sesame"}
        (tmp_path / "fleet2mqtt.yaml").write_text("push: {port: 0}\nbase_topic: fleet2mqtt\n", "utf-8")
        backend = {"name": "hq", "platform": "ums", "url": site.url, "push_secret": "sesame-sesame"}
        more = '{"exclude": [{"model": "none"}], "concurrency": 1}'
        async with supervisor(service) as url:
            command = run_script(tmp_path, url, OPTIONS | {"backends": [backend | {"more": more}]})
            async with running(*command) as addon:
                await site.device()
                await addon.says("web listens on 0.0.0.0:")
        assert (tmp_path / "fleet2mqtt/outbox.sqlite").is_file()


@pytest.mark.parametrize(
    ("service", "backend", "said"),
    [
        (None, {}, "the Supervisor offers no MQTT broker"),
        ({"host": HOST, "port": 1}, {"more": "{"}, "backends: hq: more: no JSON object"),
        ({"host": HOST, "port": 1}, {"more": "[1]"}, "backends: hq: more: expected a JSON object such as"),
        (
            {"host": HOST, "port": 1},
            {"more": '{"ulr": "x"}'},
            "FLEET2MQTT__BACKENDS__HQ__ULR: backends.hq.ulr: unknown",
        ),
        ({"host": HOST, "port": 1}, {"platform": "sangfor_ac"}, "FLEET2MQTT__BACKENDS__HQ: backends.hq.key: missing"),
    ],
)
async def test_mistake_is_named(service: Any, backend: dict[str, str], said: str, tmp_path: Path) -> None:
    whole = {"name": "hq", "platform": "ums", "url": f"http://{HOST}:{free_port()}", **backend}
    async with supervisor(service) as url:
        ended = await ran(*run_script(tmp_path, url, OPTIONS | {"backends": [whole]}))
    assert ended.code in {1, 2}
    assert said in ended.errors
    assert "Traceback" not in ended.errors
