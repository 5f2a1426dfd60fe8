"""The sites of a study: those of the devices that sent its series, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hounsfield.adapters.sql.database import SqlDatabase
from hounsfield.domain.access import Scope
from hounsfield.domain.device import Device
from hounsfield.domain.stored import Origin, QuarantineReason
from support_sql import arrival, rows

NORTH, SOUTH = Device("ct-north", "CT1", site="North"), Device("mr-south", "MR1", site="South")
NOWHERE = Device("xa", "XA1")


def sites(database: SqlDatabase) -> dict[str, str]:
    return dict(rows(database, "SELECT uid, sites FROM study ORDER BY uid"))


def write_down(database: SqlDatabase, *devices: Device) -> None:
    with database.write() as tx:
        for device in devices:
            tx.devices.save(device)


def test_a_study_has_the_sites_of_its_devices(database: SqlDatabase) -> None:
    write_down(database, NORTH, SOUTH, NOWHERE)
    with database.write(synced=False) as tx:
        tx.index.enter(
            [
                arrival("1.1", study="1", series="1.a", device="ct-north"),
                arrival("1.2", study="1", series="1.a", device="mr-south"),  # not its first object
                arrival("2.1", study="2", series="2.a", device="xa"),
                arrival("3.1", study="3", series="3.a", device="mr-south"),
                arrival("3.2", study="3", series="3.b", device="ct-north"),
                arrival("3.3", study="3", series="3.c", device="ct-north"),
                arrival("4.1", study="4", series="4.a", device="nobody knows"),
                arrival("5.1", study="5", series="5.a", device=""),
            ]
        )
    assert sites(database) == {"1": "North", "2": "", "3": "North\\South", "4": "", "5": ""}
    with database.write(synced=False) as tx:
        tx.index.enter([arrival("1.3", study="1", series="1.b", device="mr-south")])
        tx.index.enter([arrival("2.2", study="2", series="2.a", device="mr-south")])
    assert sites(database)["1"] == "North\\South"
    assert sites(database)["2"] == ""  # the series was there already


def test_a_device_that_moves_leaves_its_studies_where_they_are(
    database: SqlDatabase, open_another: Callable[[str], SqlDatabase]
) -> None:
    write_down(database, NORTH)
    with database.write() as tx:
        tx.index.enter([arrival("1.1", study="1", series="1.a", device="ct-north")])
    write_down(open_another("other"), replace(NORTH, site="East"))
    with database.write() as tx:  # seen at once, though it is another process that changed it
        tx.index.enter([arrival("1.2", study="1", series="1.b", device="ct-north")])
        tx.index.enter([arrival("2.1", study="2", series="2.a", device="ct-north")])
    assert sites(database) == {"1": "North\\East", "2": "East"}


def test_who_sent_it_counts_where_no_device_does(database: SqlDatabase) -> None:
    write_down(database, NORTH, NOWHERE)

    def of(sop: str, study: str, device: str, site: str, source: str = "dimse") -> object:
        return replace(
            arrival(sop, study=study, series=f"{study}.a"), origin=Origin(source, device, "a", "h", site)
        )

    with database.write() as tx:
        tx.index.enter([of("1.1", "1", "", "West"), of("2.1", "2", "ct-north", "West")])  # type: ignore[list-item]
        tx.index.enter([of("3.1", "3", "xa", "West"), of("4.1", "4", "", "a\\b")])  # type: ignore[list-item]
    assert sites(database) == {"1": "West", "2": "North", "3": "West", "4": "a/b"}
    with database.write() as tx:  # a user who is called like a device
        tx.index.enter([of("5.1", "5", "ct-north", "West", "stow"), of("6.1", "6", "ct-north", "", "stow")])  # type: ignore[list-item]
    assert {uid: sites(database)[uid] for uid in ("5", "6")} == {"5": "West", "6": ""}


def test_what_is_released_from_quarantine_has_its_device_s_site(database: SqlDatabase) -> None:
    held = arrival("1.1", study="1", series="1.a", device="CT1", quarantine=QuarantineReason.UNKNOWN_DEVICE)
    write_down(database, NORTH)
    with database.write() as tx:
        [entered] = tx.index.enter([replace(held, origin=replace(held.origin, device="ct-north", site="W"))])
    assert sites(database) == {}
    with database.write() as tx:
        tx.index.release([entered.quarantine_id])
    assert sites(database) == {"1": "North"}


def test_two_processes_add_sites_to_one_study(
    database: SqlDatabase, open_another: Callable[[str], SqlDatabase]
) -> None:
    write_down(database, NORTH, SOUTH)
    other = open_another("other")
    for n, (at, device) in enumerate([(database, "ct-north"), (other, "mr-south"), (database, "mr-south")]):
        with at.write() as tx:
            tx.index.enter([arrival(f"1.{n}", study="1", series=f"1.s{n}", device=device)])
    assert sites(database) == {"1": "North\\South"}
    with other.read() as tx:
        assert tx.index.study_seen("1", Scope(frozenset({"South"})))
        assert not tx.index.study_seen("1", Scope(frozenset({"Sou"})))


def test_no_question_about_devices_for_objects_of_known_series(database: SqlDatabase) -> None:
    """The store path is hot: only a new series asks, once for each device of a round."""
    write_down(database, NORTH)
    with database.write(synced=False) as tx:
        tx.index.enter([arrival("1.0", study="1", series="1.a", device="ct-north")])
    asked = _questions(database, [arrival(f"1.{n}", study="1", series="1.a") for n in range(1, 9)])
    assert not [sql for sql in asked if "device" in sql]
    many = [arrival(f"2.{n}", study="2", series=f"2.{n}", device="ct-north") for n in range(8)]
    assert len([sql for sql in _questions(database, many) if "FROM device" in sql]) == 1


def _questions(database: SqlDatabase, arrivals: list[object]) -> list[str]:
    asked: list[str] = []
    with database.write(synced=False) as tx:
        real = tx.connection

        class Listening:
            def __getattr__(self, name: str) -> object:
                return getattr(real, name)

            def execute(self, sql: str, parameters: object = ()) -> object:
                asked.append(sql)
                return real.execute(sql, parameters)  # type: ignore[arg-type]

        tx.connection = Listening()  # type: ignore[assignment]
        tx.index.enter(arrivals)  # type: ignore[arg-type]
    return asked
