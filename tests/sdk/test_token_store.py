"""The token store: one account's content, set aside where it cannot be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleet2mqtt.sdk.token_store import TokenStore

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_load_same_account_returns_the_content(tmp_path: Path) -> None:
    store = TokenStore(tmp_path / "token.json")
    assert store.load("a") is None
    store.save("a", {"token": "t"})
    assert store.load("a") == {"token": "t"}
    assert store.path.stat().st_mode & 0o777 == 0o600
    assert b'"a"' not in store.path.read_bytes()


def test_load_other_account_returns_none(tmp_path: Path) -> None:
    store = TokenStore(tmp_path / "token.json")
    store.save("a", {"token": "t"})
    assert store.load("b") is None


def test_load_damaged_file_sets_it_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = TokenStore(tmp_path / "token.json")
    for damage in (b"{", b"[]", b'{"account": 1, "salt": 2}'):
        store.path.write_bytes(damage)
        assert store.load("a") is None
        assert not store.path.exists()
    assert "set aside" in caplog.text
