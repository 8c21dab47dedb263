"""Model file formats. Chosen by the composition root and by sandboxed tasks, never by another room."""
