"""Data set modules of synthetic objects, and Part 10 bytes of them.

Everything says that it is synthetic: name, patient id, comments, institution, manufacturer.
"""

from __future__ import annotations

import uuid
from io import BytesIO

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, ExplicitVRLittleEndian

from hounsfield import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, __version__

CT_IMAGE_STORAGE = UID("1.2.840.10008.5.1.4.1.1.2")
MR_IMAGE_STORAGE = UID("1.2.840.10008.5.1.4.1.1.4")

INSTITUTION = "Hounsfield synthetic"
COMMENT = "Synthetic data, not a person"

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:hounsfield:synthetic")


def uid(name: str) -> UID:
    """The UID of `name`: the same for the same name, on every machine (PS3.5 B.2, a UUID as an integer)."""
    return UID(f"2.25.{uuid.uuid5(_NAMESPACE, name).int}")


def person(name: str, patient_id: str, birth_date: str, sex: str) -> Dataset:
    """Patient module (PS3.3 C.7.1.1)."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.PatientName = f"SYNTHETIC^{name}"
    ds.PatientID = f"SYN-{patient_id}"
    ds.IssuerOfPatientID = "HOUNSFIELD-SYNTHETIC"
    ds.PatientBirthDate = birth_date
    ds.PatientSex = sex
    ds.PatientComments = COMMENT
    return ds


def study(patient: Dataset, *, key: str, date: str, time: str, accession: str, description: str) -> Dataset:
    """Patient module with General Study and Patient Study (PS3.3 C.7.2)."""
    ds = Dataset()
    ds.update(patient)
    ds.StudyInstanceUID = uid(key)
    ds.StudyDate, ds.StudyTime = date, time
    ds.AccessionNumber = accession
    ds.StudyID = accession[-6:]
    ds.StudyDescription = description
    ds.ReferringPhysicianName = "SYNTHETIC^REFERRER"
    ds.PatientAge = f"{int(date[:4]) - int(patient.PatientBirthDate[:4]):03d}Y"
    ds.PatientSize, ds.PatientWeight = "1.74", "72"
    return ds


def series(
    study: Dataset, *, key: str, modality: str, number: int, description: str, body_part: str, station: str
) -> Dataset:
    """The study's modules with General Series, General Equipment and Frame of Reference."""
    ds = Dataset()
    ds.update(study)
    ds.SeriesInstanceUID = uid(key)
    ds.Modality = modality
    ds.SeriesNumber = number
    ds.SeriesDescription = description
    ds.SeriesDate, ds.SeriesTime = study.StudyDate, study.StudyTime
    ds.BodyPartExamined = body_part
    ds.ProtocolName = study.StudyDescription
    ds.PatientPosition = "HFS"
    ds.PerformedProcedureStepStartDate = study.StudyDate
    ds.PerformedProcedureStepStartTime = study.StudyTime
    ds.PerformedProcedureStepID = f"PPS{study.StudyID}"
    ds.OperatorsName = "SYNTHETIC^OPERATOR"
    request = Dataset()
    request.ScheduledProcedureStepDescription = study.StudyDescription
    request.ScheduledProcedureStepID = f"SPS{study.StudyID}"
    request.RequestedProcedureID = f"RP{study.StudyID}"
    request.RequestedProcedureDescription = study.StudyDescription
    ds.RequestAttributesSequence = [request]

    ds.FrameOfReferenceUID = uid(f"{study.StudyInstanceUID}/frame of reference")
    ds.PositionReferenceIndicator = ""

    ds.Manufacturer = "Hounsfield"
    ds.ManufacturerModelName = f"Synthetic {modality}"
    ds.InstitutionName = INSTITUTION
    ds.InstitutionalDepartmentName = "Emulated hospital"
    ds.StationName = station
    ds.DeviceSerialNumber = "SYN-0001"
    ds.SoftwareVersions = __version__

    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
    ds.PixelRepresentation = 0
    ds.BurnedInAnnotation = "NO"
    ds.LossyImageCompression = "00"
    ds.ImageComments = COMMENT
    return ds


def ct_acquisition(ds: Dataset) -> None:
    """CT Image module (PS3.3 C.8.2.1): stored value - 1024 is in Hounsfield units."""
    ds.SOPClassUID = CT_IMAGE_STORAGE
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "-1024", "1", "HU"
    ds.KVP = "120"
    ds.AcquisitionNumber = 1
    ds.ScanOptions = "HELICAL MODE"
    ds.DataCollectionDiameter = ds.ReconstructionDiameter = "380"
    ds.DistanceSourceToDetector, ds.DistanceSourceToPatient = "1040", "570"
    ds.GantryDetectorTilt = "0"
    ds.TableHeight = "160"
    ds.RotationDirection = "CW"
    ds.ExposureTime, ds.XRayTubeCurrent, ds.Exposure = "500", "220", "110"
    ds.FilterType = "BODY"
    ds.GeneratorPower = "26"
    ds.FocalSpots = "1.2"
    ds.ConvolutionKernel = "STANDARD"
    ds.RevolutionTime = 0.5
    ds.SingleCollimationWidth, ds.TotalCollimationWidth = 0.625, 40.0
    ds.SpiralPitchFactor = 0.984
    ds.TableSpeed, ds.TableFeedPerRotation = 78.7, 39.36


def mr_acquisition(ds: Dataset, *, sequence: str, repetition: str, echo: str, inversion: str) -> None:
    """MR Image module (PS3.3 C.8.3.1). `inversion` is empty unless the sequence inverts."""
    ds.SOPClassUID = MR_IMAGE_STORAGE
    ds.ScanningSequence = sequence.split("\\")
    ds.SequenceVariant = "SK"
    ds.ScanOptions = ""
    ds.MRAcquisitionType = "2D"
    ds.RepetitionTime, ds.EchoTime = repetition, echo
    ds.EchoTrainLength = 8
    if inversion:
        ds.InversionTime = inversion
    ds.AcquisitionNumber = 1
    ds.MagneticFieldStrength = "1.5"
    ds.ImagingFrequency = "63.87"
    ds.ImagedNucleus = "1H"
    ds.EchoNumbers = 1
    ds.NumberOfAverages = "1"
    ds.FlipAngle = "90"
    ds.PixelBandwidth = "130"


def plane(
    ds: Dataset,
    *,
    number: int,
    position: tuple[float, float, float],
    orientation: tuple[float, ...],
    spacing: tuple[float, float],
    thickness: float,
) -> None:
    """Image Plane module (PS3.3 C.7.6.2) and what differs from image to image. Millimetres."""
    ds.SOPInstanceUID = uid(f"{ds.SeriesInstanceUID}/{number}")
    ds.InstanceNumber = number
    seconds = 1 + number // 2
    clock = ds.StudyTime
    ds.ContentDate = ds.AcquisitionDate = ds.InstanceCreationDate = ds.StudyDate
    minute = int(clock[2:4]) + seconds // 60
    moment = f"{clock[:2]}{minute:02d}{seconds % 60:02d}"
    ds.ContentTime = ds.AcquisitionTime = ds.InstanceCreationTime = moment
    ds.ImagePositionPatient = [f"{value:.4f}" for value in position]
    ds.ImageOrientationPatient = [f"{value:g}" for value in orientation]
    ds.PixelSpacing = [f"{value:.6f}" for value in spacing]
    ds.SliceThickness = f"{thickness:g}"
    ds.SliceLocation = f"{position[2]:.4f}"


def part10(ds: Dataset) -> bytes:
    """Part 10 bytes, Explicit VR Little Endian (PS3.10 7.1)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    ds.file_meta = meta
    out = BytesIO()
    dcmwrite(out, ds, enforce_file_format=True)
    return out.getvalue()
