"""Callbacks of training frameworks. Each module imports its framework; nothing imports them but `integrating`."""
