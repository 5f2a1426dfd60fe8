"""Settings: where a value comes from, and what is said about one that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from hounsfield.domain.admit import UnknownDevices
from hounsfield.domain.errors import ConfigurationError
from hounsfield.settings import PREFIX, Settings, load, masked_url, unknown_variables


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(PREFIX + name.upper(), raising=False)
    monkeypatch.delenv("HOUNSFIELD_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_defaults(tmp_path: Path) -> None:
    settings = load()
    assert settings.data == tmp_path / "share" / "hounsfield"
    assert settings.database_url == f"sqlite:///{settings.data}/hounsfield.sqlite"
    assert (settings.host, settings.dicom_port, settings.ae_title) == ("127.0.0.1", 11112, "HOUNSFIELD")
    assert settings.loopback and not settings.tls


def test_flag_over_environment_over_file_over_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "h.toml", 'dicom_port = 1\nae_title = "FILE"\nmax_pdu = 16384\nhost = "::1"\n')
    monkeypatch.setenv("HOUNSFIELD_DICOM_PORT", "2")
    monkeypatch.setenv("HOUNSFIELD_AE_TITLE", "ENVIRONMENT")
    settings = load(file, {"dicom_port": 3, "host": None})
    assert settings.dicom_port == 3
    assert settings.ae_title == "ENVIRONMENT"
    assert settings.max_pdu == 16384
    assert settings.host == "::1", "a flag that was not given decides nothing"
    assert settings.artim_seconds == 30


def test_file_of_the_configuration_home_is_read(tmp_path: Path) -> None:
    write(tmp_path / "config" / "hounsfield" / "config.toml", 'ae_title = "HOME"')
    assert load().ae_title == "HOME"


def test_file_named_by_the_environment_wins_over_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "config" / "hounsfield" / "config.toml", 'ae_title = "HOME"')
    monkeypatch.setenv("HOUNSFIELD_CONFIG", str(write(tmp_path / "other.toml", 'ae_title = "OTHER"')))
    assert load().ae_title == "OTHER"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"ae_title": "x" * 17}, "ae_title (from the command line)"),
        ({"dicom_port": 70000}, "dicom_port"),
        ({"database": "mysql://x"}, "sqlite:/// or postgresql://"),
        ({"tls_key": "/k"}, "need a tls_certificate"),
        ({"tls_certificate": "/c", "tls_require_client": True}, "tls_client_ca"),
        ({"tls_certificate": "/c", "dicom_tls_port": 11112}, "must differ"),
        ({"unknown_devices": "perhaps"}, "unknown_devices"),
    ],
)
def test_a_value_that_cannot_be_is_named(flags: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        load(None, flags)
    assert said in raised.value.what
    assert raised.value.todo


def test_an_unknown_name_in_the_file_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="dicom_prot") as raised:
        load(write(tmp_path / "h.toml", "dicom_prot = 104"))
    assert "'dicom_port'" in raised.value.todo


@pytest.mark.parametrize("text", ["= 1", "\x00"])
def test_a_file_that_is_not_toml(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match="not TOML"):
        load(write(tmp_path / "h.toml", text))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load(tmp_path / "none.toml")


def test_misspelled_variables_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOUNSFIELD_DICOMPORT", "104")
    monkeypatch.setenv("HOUNSFIELD_SAMPLES", "/somewhere")
    assert "HOUNSFIELD_DICOMPORT" in unknown_variables()
    assert "HOUNSFIELD_SAMPLES" not in unknown_variables()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "localhost", "::1"])
def test_loopback(host: str) -> None:
    assert Settings(host=host).loopback


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "1.127.0.0"])
def test_not_loopback(host: str) -> None:
    assert not Settings(host=host).loopback


def test_secrets_are_not_shown() -> None:
    settings = Settings(database="postgresql://me:hush@db/x", admin_password="quiet")
    shown = f"{settings.public()} {settings!r}"
    assert "hush" not in str(settings.public())
    assert "quiet" not in shown
    assert settings.public()["database"] == "postgresql://me:***@db/x"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:hush@db/x", "postgresql://me:***@db/x"),
        ("postgresql://me:hu@sh:1/2@db/x", "postgresql://me:***@db/x"),
        ("postgresql://db/x?user=me&password=hush&a=b", "postgresql://db/x?user=me&password=***&a=b"),
        ("postgresql://me@db:5433/x", "postgresql://me@db:5433/x"),
        ("sqlite:////data/hounsfield.sqlite", "sqlite:////data/hounsfield.sqlite"),
    ],
)
def test_a_database_url_without_its_password(url: str, shown: str) -> None:
    assert masked_url(url) == shown


def test_a_child_loads_the_same_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "config" / "hounsfield" / "config.toml", 'ae_title = "HOME"\nmin_free = 7\n')
    settings = load(
        write(
            tmp_path / "own.toml", "tls_client_ca = '/ca'\ntls_certificate = '/c'\ntls_require_client = true"
        ),
        {
            "data": tmp_path,
            "unknown_devices": "refuse",
            "shutdown_seconds": 1.5,
            "database": "postgresql://a:b@c/d",
        },
    )
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert load() == settings
    assert load().unknown_devices is UnknownDevices.REFUSE


def test_the_admin_password_is_not_handed_on() -> None:
    assert "quiet" not in str(Settings(admin_password="quiet").environment())
