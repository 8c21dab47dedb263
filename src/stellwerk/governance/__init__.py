"""Views over the whole book: board, trace, dossier, comparison, the next step."""
