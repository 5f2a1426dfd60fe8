"""Import through the one way in, on the real adapters."""

import shutil
import zipfile
from pathlib import Path

import pydicom.data
import pytest

from hounsfield.domain.errors import StorageFullError
from hounsfield.services.importing import Import
from hounsfield.services.reading import Reader
from support_services import build, close_store, open_store, part10


@pytest.fixture
def house(tmp_path):
    house = build(tmp_path / "data")
    yield house
    house.close()


@pytest.fixture
def store(house):
    store = open_store(house, "import")
    yield store
    close_store(store)


@pytest.fixture
def importing(house, store):
    def run(*paths, **options):
        return Import(store, house.database, house.clock, state=house.root / "imports", **options).run(paths)

    return run


def write_series(folder: Path, count: int, **keys) -> dict[str, bytes]:
    folder.mkdir(parents=True, exist_ok=True)
    files = {f"1.2.3.1.{n}": part10(f"1.2.3.1.{n}", number=n, **keys) for n in range(1, count + 1)}
    for uid, data in files.items():
        (folder / f"{uid}.dcm").write_bytes(data)
    return files


def kept(house):
    reader = Reader(house.database, house.blobs)
    return {i.sop_instance_uid: bytes(reader.part10(i)) for i in house.instances()}


def test_files_are_kept_byte_for_byte_and_counted(house, importing, tmp_path):
    files = write_series(tmp_path / "disk" / "a", 20)
    (tmp_path / "disk" / "README.TXT").write_text("no image")
    (tmp_path / "disk" / "empty").touch()
    report = importing(tmp_path / "disk")
    assert (report.new, report.skipped, report.refused, report.complete) == (20, 2, 0, True)
    assert report.files == 22
    assert report.bytes == sum(map(len, files.values()))
    assert kept(house) == files
    (event,) = house.events("import.ended")
    assert (event.payload["new"], event.payload["complete"]) == (20, True)


def test_again_is_identical_and_other_content_conflicts(house, importing, tmp_path):
    files = write_series(tmp_path / "disk", 3)
    importing(tmp_path / "disk")
    (tmp_path / "disk" / "1.2.3.1.2.dcm").write_bytes(part10("1.2.3.1.2", number=2, pixels=b"othrbyte"))
    report = importing(tmp_path / "disk")
    assert (report.new, report.identical, report.conflicting) == (0, 2, 1)
    assert kept(house) == files
    with house.database.read() as tx:
        assert [held.arrival.keys.instance.sop_instance_uid for held in tx.index.quarantine()] == [
            "1.2.3.1.2"
        ]


def test_what_cannot_be_taken_is_named_with_its_reason(house, importing, tmp_path):
    write_series(tmp_path / "disk", 1)
    good = part10("1.2.3.1.9")
    (tmp_path / "disk" / "cut").write_bytes(good[:300])
    (tmp_path / "disk" / "no-study").write_bytes(part10("1.2.3.1.8", StudyInstanceUID="../../x"))
    report = importing(tmp_path / "disk")
    assert (report.new, report.refused) == (1, 2)
    reasons = {Path(name).name: why for name, kind, why in report.notes if kind == "refused"}
    assert reasons.keys() == {"cut", "no-study"} and all(reasons.values())
    refused = house.events("instance.refused")
    assert sorted(Path(str(event.payload["file"])).name for event in refused) == ["cut", "no-study"]
    assert list(kept(house)) == ["1.2.3.1.1"]


def test_a_zip_and_a_dicomdir(house, importing, tmp_path):
    files = {f"1.2.3.1.{n}": part10(f"1.2.3.1.{n}", number=n) for n in range(1, 6)}
    with zipfile.ZipFile(tmp_path / "study.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for uid, data in files.items():
            archive.writestr(f"../../{uid}/IM", data)
    assert importing(tmp_path / "study.zip").new == 5
    assert kept(house) == files
    media = Path(pydicom.data.get_testdata_file("dicomdirtests/DICOMDIR") or "")
    if not media.is_file():
        media = Path(pydicom.data.get_testdata_file("DICOMDIR"))
    report = importing(media)
    assert report.new == 31 and report.refused == 0


def test_large_objects_stream_into_files_of_their_own(house, importing, tmp_path):
    (tmp_path / "disk").mkdir()
    data = part10("1.2.3.1.1", pixels=bytes(range(256)) * 8192)
    (tmp_path / "disk" / "large").write_bytes(data)
    assert importing(tmp_path / "disk").new == 1
    (instance,) = house.instances()
    assert instance.location.key.startswith("large/")
    assert kept(house) == {"1.2.3.1.1": data}


def test_in_place_the_index_points_at_the_file(house, importing, tmp_path):
    files = write_series(tmp_path / "disk", 3)
    bare = part10("1.2.3.1.77", number=77)
    start = bare.index(b"\x08\x00\x16\x00")
    (tmp_path / "disk" / "bare").write_bytes(bare[start:])
    with zipfile.ZipFile(tmp_path / "disk" / "x.zip", "w") as archive:
        archive.writestr("x", bare)
    before = {p: p.read_bytes() for p in (tmp_path / "disk").iterdir()}
    report = importing(tmp_path / "disk", in_place=True)
    assert (report.new, report.refused) == (4, 1)
    assert {i.location.key for i in house.instances()} == {
        f"file:{tmp_path / 'disk' / name}" for name in (*(f"{uid}.dcm" for uid in files), "bare")
    }
    assert kept(house) == files | {"1.2.3.1.77": bare[start:]}
    assert all(Reader(house.database, house.blobs).matches_hash(i) for i in house.instances())
    assert {p: p.read_bytes() for p in (tmp_path / "disk").iterdir()} == before
    assert importing(tmp_path / "disk", in_place=True).identical == 4


def test_a_stopped_import_goes_on_where_it_was(house, importing, tmp_path):
    files = write_series(tmp_path / "disk", 40)
    first = importing(tmp_path / "disk", stop=iter([False] * 25 + [True] * 99).__next__)
    assert not first.complete and 5 <= first.new < 40
    assert [e.payload["complete"] for e in house.events("import.ended")] == [False]
    second = importing(tmp_path / "disk")
    assert (second.resumed, second.new, second.identical) == (first.new, 40 - first.new, 0)
    assert second.complete and kept(house) == files
    assert list((house.root / "imports").iterdir()) == []
    assert importing(tmp_path / "disk").resumed == 0


def test_a_changed_file_is_read_again_when_an_import_goes_on(house, importing, tmp_path):
    write_series(tmp_path / "disk", 20)
    first = importing(tmp_path / "disk", stop=iter([False] * 19 + [True] * 99).__next__)
    assert not first.complete and first.new
    (tmp_path / "disk" / "1.2.3.1.1.dcm").write_bytes(part10("1.2.3.1.1", pixels=b"othrbyte"))
    assert importing(tmp_path / "disk").conflicting == 1


def test_a_full_disk_ends_the_import_and_it_goes_on_later(house, store, importing, tmp_path, monkeypatch):
    files = write_series(tmp_path / "disk", 4)

    def full(objects):
        raise StorageFullError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(store.log, "append", full)
        with pytest.raises(StorageFullError, match="full"):
            importing(tmp_path / "disk")
    assert store.budget.used == 0
    assert importing(tmp_path / "disk").new == 4
    assert kept(house) == files


def test_every_file_that_pydicom_carries_is_kept_or_refused_with_a_reason(house, importing, tmp_path):
    source = Path(pydicom.data.__file__).parent / "test_files"
    shutil.copytree(source, tmp_path / "files", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    count = sum(1 for path in (tmp_path / "files").rglob("*") if path.is_file())
    report = importing(tmp_path / "files")
    assert report.complete and report.files >= count  # members of ZIPs count on their own
    assert report.new > 100
    assert all(why for _, _, why in report.notes)
    reader = Reader(house.database, house.blobs)
    assert all(reader.matches_hash(instance) for instance in house.instances())
