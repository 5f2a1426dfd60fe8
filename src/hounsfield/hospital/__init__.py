"""The emulated hospital: synthetic studies, modalities and peers. No person is behind any of it."""
