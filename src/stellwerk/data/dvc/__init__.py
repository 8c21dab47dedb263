"""What DVC writes, read into values and written back. Nothing here touches a disk or runs anything."""
