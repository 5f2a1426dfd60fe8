"""The web role: DICOMweb, the administration API, sign-in, and what monitoring asks for, over HTTP.

A module of handlers exports `routes` (Starlette routes with their full path, "/dicom-web/studies/{study}")
and `RULES` (for each of them, in `guard.Rule`, what it needs). A handler begins with `see_study` where its
path names a study, does what waits for a database or a disk with `web.of(request).beside_loop`, raises
`Problem` or a `HounsfieldError` when something is wrong, and tells `audit` what patient data it gave out.
"""
