"""Sealing and sandboxed work. Chosen by the composition root; no other room imports from here."""
