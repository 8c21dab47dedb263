"""Models: versions, signatures, pre-processing, safe file formats. Whether a model may run is decided above."""
