"""Readers of the places where rows live: folders, web servers, object stores, databases, table formats."""
